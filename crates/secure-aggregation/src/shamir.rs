//! Shamir's secret sharing over the scalar field of Curve25519: `t` shares
//! give the secret, `t - 1` say nothing about it.
//!
//! A secret is the value at 0 of a random polynomial of degree `t - 1`; the
//! share of client `i` is its value at `i + 1`. Arithmetic on shares is
//! constant-time; who holds one is public.

use curve25519_dalek::Scalar;
use rand::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use crate::message::{Index, Share};

/// A uniform scalar: 512 random bits modulo the order.
pub(crate) fn random_scalar<R: CryptoRng + ?Sized>(rng: &mut R) -> Scalar {
    let mut wide = Zeroizing::new([0; 64]);
    rng.fill_bytes(wide.as_mut());
    Scalar::from_bytes_mod_order_wide(&wide)
}

/// A secret on its way to being shared.
pub(crate) struct Polynomial(Zeroizing<Vec<Scalar>>);

impl Polynomial {
    /// A random polynomial through the secret that `threshold` shares determine.
    pub(crate) fn through<R: CryptoRng + ?Sized>(
        secret: &Scalar,
        threshold: u32,
        rng: &mut R,
    ) -> Self {
        let mut coefficients = Zeroizing::new(Vec::with_capacity(threshold as usize));
        coefficients.push(*secret);
        coefficients.extend((1..threshold).map(|_| random_scalar(rng)));
        Self(coefficients)
    }

    pub(crate) fn share_for(&self, holder: Index) -> Share {
        let x = abscissa(holder);
        let mut value = Zeroizing::new(Scalar::ZERO);
        for coefficient in self.0.iter().rev() {
            *value = *value * x + coefficient;
        }
        Share::new(*value)
    }
}

/// A secret that came back, and who handed in a share that does not belong to it.
pub(crate) struct Recovered<S> {
    pub(crate) secret: S,
    pub(crate) wrong: Vec<Index>,
}

/// Reconstructs a secret that can be told from any other, by `recognise`.
///
/// With more shares than the threshold, wrong ones among them do no harm as
/// long as `threshold` right ones stand next to each other in the (circular)
/// list: a share is tried with those that follow it, not with all others.
pub(crate) fn recover_known<S>(
    shares: &[(Index, Share)],
    threshold: u32,
    recognise: impl Fn(&Scalar) -> Option<S>,
) -> Option<Recovered<S>> {
    candidates(shares, threshold).find_map(|candidate| {
        let secret = recognise(&candidate.at(Scalar::ZERO))?;
        Some(Recovered { secret, wrong: candidate.disagreeing(shares) })
    })
}

/// Reconstructs a secret about which nothing is known. Of `m` shares at most
/// `(m - t) / 2` may be wrong: then only one polynomial comes into question.
/// With exactly `t` shares a wrong one cannot be noticed.
pub(crate) fn recover(
    shares: &[(Index, Share)],
    threshold: u32,
) -> Option<Recovered<Zeroizing<Scalar>>> {
    let spare = shares.len().checked_sub(threshold as usize)?;
    candidates(shares, threshold).find_map(|candidate| {
        let wrong = candidate.disagreeing(shares);
        let secret = candidate.at(Scalar::ZERO);
        (2 * wrong.len() <= spare).then_some(Recovered { secret, wrong })
    })
}

/// The polynomials through `threshold` shares in a row, for every beginning. The
/// first is right unless a share is wrong.
fn candidates(
    shares: &[(Index, Share)],
    threshold: u32,
) -> impl Iterator<Item = Interpolation<'_>> {
    let threshold = threshold as usize;
    let beginnings = if shares.len() < threshold { 0 } else { shares.len() };
    (0..beginnings)
        .map(move |first| Interpolation::new(shares.iter().cycle().skip(first).take(threshold)))
}

/// A polynomial given by as many values as it has coefficients.
struct Interpolation<'a> {
    xs: Vec<Scalar>,
    ys: Vec<&'a Share>,
    /// 1 / prod_{j != i} (x_i - x_j).
    weights: Vec<Scalar>,
}

impl<'a> Interpolation<'a> {
    /// The holders must be distinct.
    fn new(shares: impl Iterator<Item = &'a (Index, Share)>) -> Self {
        let (xs, ys): (Vec<_>, Vec<_>) =
            shares.map(|(holder, share)| (abscissa(*holder), share)).unzip();
        let mut weights: Vec<Scalar> = xs
            .iter()
            .map(|x| xs.iter().filter(|other| *other != x).map(|other| x - other).product())
            .collect();
        Scalar::invert_batch_alloc(&mut weights);
        Self { xs, ys, weights }
    }

    /// The value at `x`, by Lagrange's formula.
    fn at(&self, x: Scalar) -> Zeroizing<Scalar> {
        let count = self.xs.len();
        // after[i] = prod_{j > i} (x - x_j)
        let mut after = vec![Scalar::ONE; count];
        for i in (1..count).rev() {
            after[i - 1] = after[i] * (x - self.xs[i]);
        }
        let mut before = Scalar::ONE;
        let mut value = Zeroizing::new(Scalar::ZERO);
        let points = self.xs.iter().zip(&self.ys).zip(self.weights.iter().zip(&after));
        for ((at, share), (weight, after)) in points {
            let mut term = before * after * weight * *share.0;
            *value += term;
            term.zeroize();
            before *= x - at;
        }
        value
    }

    /// Holders of shares that do not lie on the polynomial.
    fn disagreeing(&self, shares: &[(Index, Share)]) -> Vec<Index> {
        let agrees = |holder: Index, share: &Share| {
            let x = abscissa(holder);
            self.xs.contains(&x) || *self.at(x) == *share.0
        };
        shares
            .iter()
            .filter(|(holder, share)| !agrees(*holder, share))
            .map(|(holder, _)| *holder)
            .collect()
    }
}

/// Point at which a client's share is taken: never 0, where the secret is.
fn abscissa(holder: Index) -> Scalar {
    Scalar::from(u64::from(holder) + 1)
}

#[cfg(test)]
mod tests;
