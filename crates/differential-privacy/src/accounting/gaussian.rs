//! Exact conversion of Gaussian costs to (ε, δ) (Balle and Wang 2018).
//!
//! It must never come out below the truth: every rounding error is paid for upwards.

use libm::{erfc, exp, log, log1p, sqrt};

use super::discrete::SLACK;
use crate::{Delta, Epsilon, Rho};

/// Relative error of [`mills_ratio`] and of the normal density, generously: 5e-13 at
/// most.
const ERROR: f64 = 1e-12;

/// Relative error of a few operations.
const FEW: f64 = 8.0 * f64::EPSILON;

/// Positions x = μ/2 - ε/μ beyond which δ is 0 or 1 to the last digit.
const LEAST: f64 = -40.0;
const MOST: f64 = 9.0;

impl Rho {
    /// The least δ for which this cost is (`epsilon`, δ)-private, rounded up: for
    /// μ = √(2ρ), δ = Φ(μ/2 - ε/μ) - exp(ε) Φ(-μ/2 - ε/μ) (Balle and Wang 2018,
    /// Theorem 8). That of discrete noise, too: see
    /// [`accounting::discrete`](crate::accounting::discrete).
    #[must_use]
    pub fn delta(self, epsilon: Epsilon) -> f64 {
        if self == Self::ZERO || epsilon.value().is_infinite() {
            return 0.0;
        }
        let Some(pair) = NormalPair::of(self) else { return 1.0 };
        let shift = (epsilon.value() - 2.0 * SLACK) / pair.mu;
        let position = pair.mu / 2.0 - shift + FEW * (pair.mu + shift.abs());
        if position > MOST { 1.0 } else { pair.delta_at(position.max(LEAST)) }
    }

    /// The least ε for which this cost is (ε, `delta`)-private, rounded up. See
    /// [`Self::delta`].
    #[must_use]
    pub fn epsilon(self, delta: Delta) -> Epsilon {
        let delta = delta.value();
        if self.delta(Epsilon::from_raw(0.0)) <= delta {
            return Epsilon::from_raw(0.0);
        }
        let (mut low, mut high) = (LEAST, MOST);
        let pair = NormalPair::of(self).filter(|pair| pair.delta_at(low) <= delta);
        let Some(pair) = pair else { return Epsilon::from_raw(f64::INFINITY) };
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if pair.delta_at(middle) <= delta { low = middle } else { high = middle }
        }
        let (half, mu) = (pair.mu / 2.0, pair.mu);
        let exact = mu * (half - low) + FEW * mu * (half + low.abs());
        Epsilon::from_raw(exact + 2.0 * SLACK)
    }
}

/// The laws N(0, 1) and N(μ, 1).
#[derive(Clone, Copy)]
struct NormalPair {
    mu: f64,
}

impl NormalPair {
    /// `None` for a cost that no number says.
    fn of(rho: Rho) -> Option<Self> {
        let mu = sqrt(2.0 * rho.value()) * (1.0 + FEW);
        mu.is_finite().then_some(Self { mu })
    }

    /// Bound on δ where x = μ/2 - ε/μ is `position`: with the Mills ratio M = Φ/φ,
    /// Φ(x) - exp(ε) Φ(x - μ) = φ(x) (M(x) - M(x - μ)), since exp(ε) φ(x - μ) = φ(x). So
    /// exp(ε) never meets a number as small as it is large.
    fn delta_at(self, position: f64) -> f64 {
        let (near, far) = (mills_ratio(position), mills_ratio(position - self.mu));
        let difference = near * (1.0 + ERROR) - far * (1.0 - ERROR);
        let delta = exp(log_normal_density(position)) * difference * (1.0 + ERROR + 2.0 * SLACK);
        // Below the least normal number digits are lost.
        (delta + f64::MIN_POSITIVE).min(1.0)
    }
}

/// Mills ratio Φ(x) / φ(x), for x up to 9.
fn mills_ratio(x: f64) -> f64 {
    if x < -20.0 {
        // (1 - 1/x² + 3/x⁴ - ...) / |x| (Abramowitz and Stegun 26.2.12). Seven terms
        // leave less than 10^-14 here.
        let inverse = 1.0 / (x * x);
        let series = (1..8).rev().fold(1.0, |sum, k| 1.0 - f64::from(2 * k - 1) * inverse * sum);
        return series / -x;
    }
    const ROOT_HALF_PI: f64 = 1.253_314_137_315_500_3;
    ROOT_HALF_PI * erfc(-x * core::f64::consts::FRAC_1_SQRT_2) * exp(0.5 * x * x)
}

/// ln Φ(x), also where Φ(x) itself is too small for a double.
pub(super) fn log_normal_cdf(x: f64) -> f64 {
    if x < -20.0 {
        return log_normal_density(x) + log(mills_ratio(x));
    }
    let tail = 0.5 * erfc(x.abs() / core::f64::consts::SQRT_2);
    if x > 0.0 { log1p(-tail) } else { log(tail) }
}

/// Φ(`to`) - Φ(`from`), from the nearer tail so that it keeps its digits.
pub(super) fn normal_interval(from: f64, to: f64) -> f64 {
    let upper_tail = |x: f64| 0.5 * erfc(x / core::f64::consts::SQRT_2);
    let mass = if from + to > 0.0 {
        upper_tail(from) - upper_tail(to)
    } else {
        upper_tail(-to) - upper_tail(-from)
    };
    mass.max(0.0)
}

/// ln φ(x).
fn log_normal_density(x: f64) -> f64 {
    const LOG_ROOT_TWO_PI: f64 = 0.918_938_533_204_672_8;
    -0.5 * x * x - LOG_ROOT_TWO_PI
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoiseMultiplier;

    fn cost(noise: f64, count: u32) -> Rho {
        Rho::of_gaussian(NoiseMultiplier::new(noise).expect("positive")).times(count)
    }

    #[test]
    fn log_of_the_normal_law_is_right_far_out() {
        // From mpmath.
        for (x, expected) in [
            (0.0, -core::f64::consts::LN_2),
            (3.0, -0.001_350_809_964_748_202_3),
            (-5.0, -15.064_998_393_988_73),
            (-19.9, -201.917_167_707_332_6),
            (-20.1, -205.927_118_401_948_25),
            (-40.0, -804.608_442_013_754),
        ] {
            let found = log_normal_cdf(x);
            assert!((found - expected).abs() < 1e-11 * expected.abs(), "{x}: {found}");
        }
        let (left, right) = (log_normal_cdf(-19.999_999_99), log_normal_cdf(-20.000_000_01));
        assert!((left - right - 2e-8 * 20.05).abs() < 1e-9, "{left} {right}");
    }

    #[test]
    fn mills_ratio_is_right_on_both_sides_of_its_seam() {
        // From mpmath.
        for (x, expected) in [
            (-1000000000.0, 1e-09),
            (-300.0, 0.0033332962975307955),
            (-40.0, 0.02498440420572057),
            (-20.1, 0.04962900347133051),
            (-20.0, 0.04987592598183679),
            (-19.9, 0.050125311739745354),
            (-7.3, 0.1345483871591707),
            (-1.0, 0.6556795424187984),
            (0.0, 1.2533141373155003),
            (0.5, 1.9640174953579939),
            (5.0, 672621.6367228793),
            (9.0, 9.727840725558419e+17),
        ] {
            let found = mills_ratio(x);
            assert!((found / expected - 1.0).abs() < 0.5 * ERROR, "{x}: {found}");
        }
    }

    #[test]
    fn delta_and_epsilon_undo_each_other() {
        for z in [0.05, 0.5, 1.0, 4.0, 100.0] {
            for count in [1, 7, 1000] {
                let cost = cost(z, count);
                let epsilon = cost.epsilon(Delta::new(1e-6).expect("a delta"));
                let back = cost.delta(epsilon);
                assert!((back / 1e-6 - 1.0).abs() < 1e-6, "{z} {count}: {back}");
            }
        }
    }

    #[test]
    fn ends_are_kept() {
        let delta = |value| Delta::new(value).expect("a delta");
        let epsilon = |value| Epsilon::new(value).expect("an epsilon");
        assert_eq!(Rho::ZERO.epsilon(delta(1e-5)).value(), 0.0);
        assert_eq!(Rho::ZERO.delta(epsilon(0.0)), 0.0);
        let everything = Rho::new(f64::INFINITY).expect("a cost");
        assert_eq!(everything.epsilon(delta(1e-5)).value(), f64::INFINITY);
        assert_eq!(everything.delta(epsilon(1e300)), 1.0);
        assert_eq!(cost(1.0, 1).delta(epsilon(f64::INFINITY)), 0.0);
        // No number says how little is left of it.
        assert_eq!(cost(1.0, 1).epsilon(delta(1e-310)).value(), f64::INFINITY);
        // A cost that leaves nothing to tell.
        let least = Rho::new(1e-300).expect("a cost").epsilon(delta(1e-5)).value();
        assert!(least <= 2.0 * SLACK + 1e-15, "{least}");
        // And one that tells everything: ε is about ρ.
        let most = cost(1e-6, u32::MAX);
        let found = most.epsilon(delta(1e-5)).value();
        assert!(found >= most.value() && found < most.value() * 1.001, "{found}");
    }
}
