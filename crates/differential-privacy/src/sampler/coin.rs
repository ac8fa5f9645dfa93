//! Exact coins.

use rand_core::Rng;

use super::Ratio;

/// Heads with probability exp(-`exponent`), exactly (Canonne, Kamath and Steinke
/// 2020, Algorithm 1).
///
/// For x of at most 1: coins of probability x/1, x/2, x/3, ... are thrown until
/// one shows tails; the number of throws is odd with probability
/// 1 - x + x²/2! - x³/3! ... = exp(-x). A larger x is split into ones and a rest.
pub fn bernoulli_exp(exponent: Ratio, rng: &mut (impl Rng + ?Sized)) -> bool {
    let (numerator, denominator) = (exponent.numerator(), exponent.denominator());
    (0..numerator / denominator).all(|_| exp_of_at_most_one(1, 1, rng))
        && exp_of_at_most_one(numerator % denominator, denominator, rng)
}

fn exp_of_at_most_one(numerator: u64, denominator: u64, rng: &mut (impl Rng + ?Sized)) -> bool {
    let mut throws = 1_u64;
    // numerator <= denominator < 2^53: the product would overflow after 2^11
    // heads in a row, which has probability below 1 / 2048!.
    while below(denominator.saturating_mul(throws), rng) < numerator {
        throws += 1;
    }
    throws % 2 == 1
}

/// A uniform integer in 0..`bound`; a `bound` of zero is taken for one.
pub(super) fn below(bound: u64, rng: &mut (impl Rng + ?Sized)) -> u64 {
    let mask = u64::MAX >> (bound.max(1) - 1).leading_zeros().min(63);
    loop {
        let value = rng.next_u64() & mask;
        if value < bound.max(1) {
            return value;
        }
    }
}
