//! Amplification by sampling without replacement (Wang, Balle and
//! Kasiviswanathan 2019, "Subsampled Rényi Differential Privacy and Analytical
//! Moments Accountant", Theorem 27).

use alloc::vec::Vec;

use libm::{ceil, expm1, log, sqrt};

use super::rdp::{LogBinomials, log_sum};

/// Up to this order the terms take the better of two bounds; beyond it, where
/// terms are plenty and no order is ever the best, the simpler one.
const LARGEST_EXACT: u32 = 128;

/// The trapezoidal rule's step, in standard deviations.
const STEP: f64 = 0.05;

/// Below this noise the two bounds are as good as equal, and the integrals long.
const LEAST_NOISE: f64 = 0.05;

/// The Gaussian mechanism of standard deviation `noise` times its replace-one
/// sensitivity on a fixed fraction of the records.
pub(super) struct Amplified {
    log_rate: f64,
    /// 1 / (2 σ²): the divergence of order α is α times this.
    rho: f64,
    /// ln of the even Pearson-Vajda divergences 2, 4, ... of the Gaussian:
    /// E_Q (P/Q - 1)^l. None of them below [`LEAST_NOISE`].
    even: Vec<f64>,
    binomials: LogBinomials,
}

impl Amplified {
    pub(super) fn new(rate: f64, noise: f64) -> Self {
        let halves = if noise < LEAST_NOISE { 0 } else { LARGEST_EXACT / 2 };
        let integrand = Integrand::new(noise, 2 * halves);
        let even = (1..=halves).map(|half| integrand.log_vajda(2 * half)).collect();
        let rho = 1.0 / (2.0 * noise * noise);
        Self { log_rate: log(rate), rho, even, binomials: LogBinomials::new() }
    }

    /// The bound on (α - 1) times the divergence at order α = `order`:
    /// ln(1 + Σ C(α, i) q^i b_i), i from 2.
    pub(super) fn log_moment(&self, order: u32) -> f64 {
        let exact = order <= LARGEST_EXACT && !self.even.is_empty();
        let terms = (2..=order).map(|i| {
            self.binomials.of(order, i) + f64::from(i) * self.log_rate + self.log_term(i, exact)
        });
        log_sum(terms.chain([0.0]))
    }

    /// ln b_i: the least of the theorem's bounds on the i-th ternary divergence.
    fn log_term(&self, i: u32, exact: bool) -> f64 {
        // ln 2 + (i - 1) times the divergence of order i.
        let simple = log(2.0) + f64::from(i) * f64::from(i - 1) * self.rho;
        if i == 2 {
            // 4 (exp(ε(2)) - 1).
            return simple.min(log(4.0) + log(expm1(2.0 * self.rho)));
        }
        if !exact {
            return simple;
        }
        // 4 √(B(2⌊i/2⌋) B(2⌈i/2⌉)).
        let even = |l: u32| self.even[(l / 2 - 1) as usize];
        let vajda = log(4.0) + 0.5 * (even(i & !1) + even((i + 1) & !1));
        simple.min(vajda)
    }
}

/// P/Q - 1 for P = N(1, σ²), Q = N(0, σ²), at points of Q in units of σ.
struct Integrand {
    /// (ln |P/Q - 1|, -z²/2).
    points: Vec<(f64, f64)>,
}

impl Integrand {
    /// For powers up to `largest`.
    fn new(noise: f64, largest: u32) -> Self {
        // The mass lies about z = l / σ, or about ±√l where the power is sharper.
        let (l, slope) = (f64::from(largest), 1.0 / noise);
        let reach = sqrt(l) + 12.0;
        let count = ceil((2.0 * reach + l * slope) / STEP) as u32;
        let points = (0..=count).map(|k| -reach + f64::from(k) * STEP).map(|z| {
            let y = z * slope - 0.5 * slope * slope;
            // For large y, exp(y) - 1 is exp(y).
            let log_base = if y > 40.0 { y } else { log(expm1(y).abs()) };
            (log_base, -0.5 * z * z)
        });
        Self { points: points.collect() }
    }

    /// ln E_Q (P/Q - 1)^l for an even l, by the trapezoidal rule.
    ///
    /// The published sum of binomials alternates and loses all its digits for
    /// large σ; this integrand is never negative. It is analytic and its humps are
    /// about one standard deviation wide, so that with 20 points to the deviation
    /// the rule's error is far below that of the arithmetic.
    fn log_vajda(&self, l: u32) -> f64 {
        const LOG_ROOT_TWO_PI: f64 = 0.918_938_533_204_672_8;
        let l = f64::from(l);
        let sum = log_sum(self.points.iter().map(|(base, weight)| l * base + weight));
        // A little upwards, for the rounding.
        sum + log(STEP) - LOG_ROOT_TWO_PI + 1e-12
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: the sum of binomials Σ (-1)^(l-k) C(l, k) exp(k (k - 1) /
    /// (2 σ²)) at 120 digits.
    #[test]
    fn integral_matches_the_binomial_sum() {
        for (l, noise, expected) in [
            (10, 100.0, -39.188_970_040_249_85),
            (64, 30.0, -108.007_154_902_613),
            (128, 4.0, 507.954_349_975_949_5),
            (126, 20.0, -96.205_171_732_131_38),
        ] {
            let found = Integrand::new(noise, 128).log_vajda(l);
            assert!((found - expected).abs() < 1e-9, "{l} {noise}: {found} {expected}");
        }
        // And by hand: E (P/Q - 1)² = exp(1/σ²) - 1.
        for noise in [0.1, 1.0, 50.0] {
            let found = Integrand::new(noise, 128).log_vajda(2);
            let expected = log(expm1(1.0 / (noise * noise)));
            assert!((found - expected).abs() < 1e-9, "{noise}: {found} {expected}");
        }
    }
}
