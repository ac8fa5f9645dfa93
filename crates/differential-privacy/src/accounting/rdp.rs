//! Rényi differential privacy at integer orders: the account for sampled
//! mechanisms.

use alloc::vec::Vec;

use libm::{exp, expm1, lgamma, log, log1p};

use super::without_replacement;
use crate::{Delta, Epsilon, NoiseMultiplier, Rho, SamplingRate};

/// The orders of every curve: 2 to 128, 256 and 512. At integer orders the sums
/// below are finite and stable; fractional orders need series that fail to
/// converge at high sampling rates.
pub const ORDERS: [u32; 129] = {
    let mut orders = [0; 129];
    let mut i = 0;
    while i < 127 {
        orders[i] = i as u32 + 2;
        i += 1;
    }
    orders[127] = 256;
    orders[128] = 512;
    orders
};

/// An upper bound on a mechanism's Rényi divergence at each of [`ORDERS`].
///
/// ```
/// use differential_privacy::{Delta, NoiseMultiplier, SamplingRate, accounting::RdpCurve};
///
/// let step = RdpCurve::poisson_gaussian(SamplingRate::new(0.01)?, NoiseMultiplier::new(4.0)?);
/// let epsilon = step.times(10_000).epsilon(Delta::new(1e-5)?);
/// assert!((epsilon.value() - 1.0355).abs() < 1e-4);
/// # Ok::<(), differential_privacy::QuantityError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RdpCurve {
    /// In the order of [`ORDERS`].
    divergences: Vec<f64>,
}

impl RdpCurve {
    /// Zero cost.
    #[must_use]
    pub fn nothing() -> Self {
        Self::at_orders(|_| 0.0)
    }

    /// ρα at every order.
    #[must_use]
    pub fn of(rho: Rho) -> Self {
        Self::at_orders(|order| rho.value() * f64::from(order))
    }

    /// The Gaussian mechanism: α / (2 z²).
    #[must_use]
    pub fn gaussian(noise: NoiseMultiplier) -> Self {
        Self::of(Rho::of_gaussian(noise))
    }

    /// The Gaussian mechanism on a Poisson sample, each record in it with
    /// probability `rate` by itself; adjacency: one record more or less (Mironov,
    /// Talwar and Zhang 2019, section 3.3).
    #[must_use]
    pub fn poisson_gaussian(rate: SamplingRate, noise: NoiseMultiplier) -> Self {
        if rate.value() == 1.0 {
            return Self::gaussian(noise);
        }
        let (rho, binomials) = (Rho::of_gaussian(noise).value(), LogBinomials::new());
        let exponent = |i: u32| f64::from(i) * f64::from(i.saturating_sub(1)) * rho;
        Self::at_orders(|order| {
            log_mixture(&binomials, rate.value(), order, exponent) / f64::from(order - 1)
        })
    }

    /// Any mechanism of cost `rho` on a Poisson sample; adjacency: one record more
    /// or less (Zhu and Wang 2019, Theorem 5). Weaker than
    /// [`Self::poisson_gaussian`] by up to a factor 3 in the higher terms, which
    /// sums of discrete Gaussian shares need.
    #[must_use]
    pub fn poisson(rate: SamplingRate, rho: Rho) -> Self {
        if rate.value() == 1.0 {
            return Self::of(rho);
        }
        let (unsampled, rho, binomials) = (Self::of(rho), rho.value(), LogBinomials::new());
        let exponent = |i: u32| match i {
            0 | 1 => 0.0,
            2 => 2.0 * rho,
            _ => f64::from(i) * f64::from(i - 1) * rho + log(3.0),
        };
        let sampled = Self::at_orders(|order| {
            log_mixture(&binomials, rate.value(), order, exponent) / f64::from(order - 1)
        });
        sampled.at_most(&unsampled)
    }

    /// The Gaussian mechanism on a sample of fixed size, drawn without replacement
    /// as the fraction `rate` of all records; adjacency: one record replaced
    /// (Wang, Balle and Kasiviswanathan 2019, Theorem 27).
    ///
    /// Replacing moves a sum of clipped records by up to 2 C: `noise` is the
    /// standard deviation over that, half of what other accounts take.
    #[must_use]
    pub fn gaussian_without_replacement(rate: SamplingRate, noise: NoiseMultiplier) -> Self {
        let curve = without_replacement::Amplified::new(rate.value(), noise.value());
        Self::at_orders(|order| curve.log_moment(order) / f64::from(order - 1))
            .at_most(&Self::gaussian(noise))
    }

    /// The divergence at `order`, if it is one of [`ORDERS`].
    #[must_use]
    pub fn at(&self, order: u32) -> Option<f64> {
        ORDERS.iter().position(|&o| o == order).map(|i| self.divergences[i])
    }

    /// Both mechanisms on the same data, chosen adaptively or not.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let sum = self.divergences.iter().zip(&other.divergences).map(|(a, b)| a + b);
        Self { divergences: sum.collect() }
    }

    /// The mechanism `count` times over.
    #[must_use]
    pub fn times(&self, count: u32) -> Self {
        if count == 0 {
            return Self::nothing();
        }
        let divergences = self.divergences.iter().map(|d| d * f64::from(count)).collect();
        Self { divergences }
    }

    /// ε at `delta`: the least over [`ORDERS`].
    #[must_use]
    pub fn epsilon(&self, delta: Delta) -> Epsilon {
        let least = ORDERS
            .iter()
            .zip(&self.divergences)
            .map(|(&order, &divergence)| epsilon_at(f64::from(order), divergence, delta))
            .fold(f64::INFINITY, f64::min);
        Epsilon::from_raw(least)
    }

    /// ε at `delta`: the least over all orders from 1 to 512, in steps of a
    /// hundredth of the way between neighbours of [`ORDERS`]. For large costs the
    /// best order lies near 1, and this is noticeably less than [`Self::epsilon`].
    ///
    /// Sound because (α - 1) times the divergence, zero at α = 1, is convex in α:
    /// the straight line between bounds at two orders bounds it in between (Wang,
    /// Balle and Kasiviswanathan 2019, Corollary 10).
    #[must_use]
    pub fn epsilon_between_orders(&self, delta: Delta) -> Epsilon {
        const STEPS: u32 = 100;
        let mut least = self.epsilon(delta).value();
        let mut left = (1.0, 0.0);
        for (&order, &divergence) in ORDERS.iter().zip(&self.divergences) {
            let order = f64::from(order);
            let right = (order, (order - 1.0) * divergence);
            for step in 1..STEPS {
                let t = f64::from(step) / f64::from(STEPS);
                let between = |a: f64, b: f64| a * (1.0 - t) + b * t;
                let (order, moment) = (between(left.0, right.0), between(left.1, right.1));
                least = least.min(epsilon_at(order, moment / (order - 1.0), delta));
            }
            left = right;
        }
        Epsilon::from_raw(least)
    }

    /// The less of both: sampling never makes a mechanism less private (the
    /// divergence of a mixture is at most that of its worst part), while bounds on
    /// what it gains can lie above.
    fn at_most(mut self, other: &Self) -> Self {
        for (bound, other) in self.divergences.iter_mut().zip(&other.divergences) {
            *bound = bound.min(*other);
        }
        self
    }

    fn at_orders(divergence: impl Fn(u32) -> f64) -> Self {
        // A rounding error must not make a cost negative, and what went wrong must
        // not pass for one.
        let bound = |order: &u32| match divergence(*order) {
            d if d > -1e-9 => d.max(0.0),
            _ => f64::INFINITY,
        };
        Self { divergences: ORDERS.iter().map(bound).collect() }
    }
}

/// ε at `delta` of a mechanism whose Rényi divergence of order `order` > 1 is at
/// most `divergence` (Canonne, Kamath and Steinke 2020, Proposition 12):
/// ε = divergence + ln(1 - 1/α) - ln(δ α) / (α - 1).
fn epsilon_at(order: f64, divergence: f64, delta: Delta) -> f64 {
    let delta = delta.value();
    // δ <= √(1 - exp(-KL)), and the KL divergence is at most that of any order.
    if delta * delta + expm1(-divergence) > 0.0 {
        return 0.0;
    }
    let epsilon = divergence + log1p(-1.0 / order) - log(delta * order) / (order - 1.0);
    if epsilon.is_nan() { f64::INFINITY } else { epsilon.max(0.0) }
}

/// ln Σ C(α, i) q^i (1 - q)^(α - i) exp(`exponent(i)`), i from 0 to α.
fn log_mixture(binomials: &LogBinomials, q: f64, order: u32, exponent: impl Fn(u32) -> f64) -> f64 {
    let (log_q, log_rest) = (log(q), log1p(-q));
    log_sum((0..=order).map(|i| {
        let others = f64::from(order - i);
        binomials.of(order, i) + f64::from(i) * log_q + others * log_rest + exponent(i)
    }))
}

/// ln C(n, k) up to the largest of [`ORDERS`].
pub(super) struct LogBinomials {
    /// ln 0!, ln 1!, ...
    log_factorials: Vec<f64>,
}

impl LogBinomials {
    pub(super) fn new() -> Self {
        let largest = ORDERS[ORDERS.len() - 1];
        Self { log_factorials: (0..=largest).map(|n| lgamma(f64::from(n) + 1.0)).collect() }
    }

    pub(super) fn of(&self, n: u32, k: u32) -> f64 {
        let log_factorial = |m: u32| self.log_factorials[m as usize];
        log_factorial(n) - log_factorial(k) - log_factorial(n - k)
    }
}

/// ln Σ exp(term).
pub(super) fn log_sum(terms: impl Iterator<Item = f64> + Clone) -> f64 {
    // Not `f64::max`, which would drop a NaN.
    let largest =
        terms.clone().fold(f64::NEG_INFINITY, |a, b| if a > b || a.is_nan() { a } else { b });
    if !largest.is_finite() {
        return largest;
    }
    largest + log(terms.map(|term| exp(term - largest)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(value: f64) -> SamplingRate {
        SamplingRate::new(value).expect("a rate")
    }

    fn noise(value: f64) -> NoiseMultiplier {
        NoiseMultiplier::new(value).expect("positive")
    }

    /// At order 2: ln(1 + q² (exp(1/z²) - 1)).
    #[test]
    fn second_order_has_a_closed_form() {
        for (q, z) in [(0.01, 1.0), (0.3, 2.0), (0.9, 0.8)] {
            let expected = log1p(q * q * expm1(1.0 / (z * z)));
            let found = RdpCurve::poisson_gaussian(rate(q), noise(z)).at(2).expect("an order");
            assert!((found - expected).abs() < 1e-11, "{q} {z}: {found} {expected}");
        }
    }

    #[test]
    fn full_sampling_is_no_sampling() {
        let plain = RdpCurve::gaussian(noise(1.3));
        assert_eq!(RdpCurve::poisson_gaussian(rate(1.0), noise(1.3)), plain);
        assert_eq!(RdpCurve::gaussian_without_replacement(rate(1.0), noise(1.3)), plain);
        assert_eq!(RdpCurve::poisson(rate(1.0), Rho::of_gaussian(noise(1.3))), plain);
        for (i, order) in ORDERS.into_iter().enumerate() {
            let expected = f64::from(order) / (2.0 * 1.3 * 1.3);
            assert!((plain.divergences[i] / expected - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn the_general_bound_is_never_below_the_special_one() {
        for (q, z) in [(0.001, 0.7), (0.01, 1.0), (0.1, 2.0), (0.5, 5.0)] {
            let special = RdpCurve::poisson_gaussian(rate(q), noise(z));
            let general = RdpCurve::poisson(rate(q), Rho::of_gaussian(noise(z)));
            for (a, b) in special.divergences.iter().zip(&general.divergences) {
                assert!(a <= &(b * (1.0 + 1e-9)), "{q} {z}: {a} {b}");
            }
        }
    }

    #[test]
    fn sums_keep_what_went_wrong() {
        assert!(log_sum([f64::NAN, 1.0].into_iter()).is_nan());
        assert!(log_sum([1.0, f64::NAN].into_iter()).is_nan());
        assert_eq!(log_sum([1.0, f64::INFINITY].into_iter()), f64::INFINITY);
        assert_eq!(log_sum([f64::NEG_INFINITY].into_iter()), f64::NEG_INFINITY);
        assert_eq!(log_sum([0.0, 0.0].into_iter()), core::f64::consts::LN_2);
        let broken = RdpCurve::at_orders(|_| f64::NEG_INFINITY);
        assert_eq!(broken.at(2), Some(f64::INFINITY));
    }

    #[test]
    fn composition_adds() {
        let (a, b) = (RdpCurve::gaussian(noise(1.0)), RdpCurve::gaussian(noise(2.0)));
        assert_eq!(a.and(&b).at(4), Some(2.0 + 0.5));
        assert_eq!(a.times(3), a.and(&a).and(&a));
        assert_eq!(a.times(0), RdpCurve::nothing());
        assert_eq!(a.at(200), None);
    }

    #[test]
    fn what_overflows_costs_everything() {
        let curve = RdpCurve::poisson_gaussian(rate(0.5), noise(1e-6));
        let epsilon = curve.times(u32::MAX).epsilon(Delta::new(1e-6).expect("a delta"));
        assert!(epsilon.value() > 1e9);
        let nothing = RdpCurve::nothing().epsilon(Delta::new(1e-6).expect("a delta"));
        assert_eq!(nothing.value(), 0.0);
    }

    #[test]
    fn between_orders_is_tighter_and_above_the_truth() {
        let delta = Delta::new(1e-5).expect("a delta");
        for z in [0.2, 0.5, 2.0] {
            let curve = RdpCurve::gaussian(noise(z));
            let exact = Rho::of_gaussian(noise(z)).epsilon(delta).value();
            let (coarse, fine) =
                (curve.epsilon(delta).value(), curve.epsilon_between_orders(delta).value());
            assert!(exact < fine && fine <= coarse, "{z}: {exact} {fine} {coarse}");
        }
    }
}
