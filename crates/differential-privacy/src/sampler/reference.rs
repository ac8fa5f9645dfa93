//! The discrete Gaussian as Canonne, Kamath and Steinke (2020) write it down,
//! Algorithms 2 and 3: slow and plain, the measure for the fast sampler.

use rand_core::Rng;

use super::{Ratio, bernoulli_exp, coin::below};

/// One draw of standard deviation parameter `scale`, whose terms have at most 20
/// bits (for the products).
pub(crate) fn discrete_gaussian(scale: Ratio, rng: &mut impl Rng) -> i64 {
    let (n, d) = (scale.numerator(), scale.denominator());
    let t = n / d + 1;
    loop {
        let candidate = discrete_laplace(t, rng);
        // (|y| - s²/t)² / (2 s²), over the common denominator 2 n² t² d².
        let distance = u128::from((candidate.unsigned_abs() * t * d * d).abs_diff(n * n));
        let below_the_line = 2 * u128::from(n * t * d).pow(2);
        if accept(distance * distance, below_the_line, rng) {
            return candidate;
        }
    }
}

fn accept(mut a: u128, mut b: u128, rng: &mut impl Rng) -> bool {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a /= x;
    b /= x;
    if a == 0 {
        return true;
    }
    let narrow = |value: u128| u64::try_from(value).expect("small terms in tests");
    bernoulli_exp(Ratio::new(narrow(a), narrow(b)).expect("small terms in tests"), rng)
}

fn discrete_laplace(t: u64, rng: &mut impl Rng) -> i64 {
    loop {
        let u = below(t, rng);
        if u != 0 && !bernoulli_exp(Ratio::new(u, t).expect("positive"), rng) {
            continue;
        }
        let mut v = 0;
        while bernoulli_exp(Ratio::new(1, 1).expect("one"), rng) {
            v += 1;
        }
        let magnitude = (u + t * v) as i64;
        let negative = rng.next_u32() & 1 == 1;
        if negative && magnitude == 0 {
            continue;
        }
        return if negative { -magnitude } else { magnitude };
    }
}
