//! The Gaussian mechanism, exactly (Balle and Wang 2018).

use libm::{erfc, exp, log, log1p};

use crate::{Delta, Epsilon, NoiseMultiplier};

/// The least δ for which `count` Gaussian mechanisms of this noise multiplier are
/// together (ε, δ)-private: δ = Φ(μ/2 - ε/μ) - exp(ε) Φ(-μ/2 - ε/μ) with
/// μ = √count / z (Balle and Wang 2018, Theorem 8).
///
/// Exact up to rounding. For the scales used here, the discrete Gaussian's δ differs
/// from it by less than that; for the discrete Gaussian claim [`crate::Rho`], whose
/// bound is proven.
#[must_use]
pub fn gaussian_delta(noise: NoiseMultiplier, count: u32, epsilon: Epsilon) -> f64 {
    let mu = libm::sqrt(f64::from(count)) / noise.value();
    let epsilon = epsilon.value();
    if mu == 0.0 || epsilon.is_infinite() {
        return 0.0;
    }
    let (near, far) = (mu / 2.0 - epsilon / mu, -mu / 2.0 - epsilon / mu);
    // exp(ε) φ(far) = φ(near): so exp(ε) never meets a number as small as it is
    // large.
    let lower = log_normal_density(near) + log_mills_ratio(far);
    (exp(log_normal_cdf(near)) - exp(lower)).clamp(0.0, 1.0)
}

/// The least ε for which `count` Gaussian mechanisms of this noise multiplier are
/// together (ε, `delta`)-private, rounded up. See [`gaussian_delta`].
#[must_use]
pub fn gaussian_epsilon(noise: NoiseMultiplier, count: u32, delta: Delta) -> Epsilon {
    let is_enough =
        |epsilon: f64| gaussian_delta(noise, count, Epsilon::from_raw(epsilon)) <= delta.value();
    if is_enough(0.0) {
        return Epsilon::from_raw(0.0);
    }
    let mut high = 1.0;
    while !is_enough(high) {
        high *= 2.0;
    }
    let mut low = 0.0;
    while high - low > 1e-12 * high {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if is_enough(middle) { high = middle } else { low = middle }
    }
    Epsilon::from_raw(high * (1.0 + 1e-9))
}

/// ln Φ(x), also where Φ(x) itself is too small for a double.
pub(super) fn log_normal_cdf(x: f64) -> f64 {
    if x < -20.0 {
        return log_normal_density(x) + log_mills_ratio(x);
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

/// ln(Φ(x) / φ(x)) for a negative x.
fn log_mills_ratio(x: f64) -> f64 {
    if x > -20.0 {
        return log_normal_cdf(x) - log_normal_density(x);
    }
    // (1 - 1/x² + 3/x⁴ - ...) / |x| (Abramowitz and Stegun 26.2.12). Seven terms
    // leave less than 10^-13 here.
    let inverse = 1.0 / (x * x);
    let series = (1..8).rev().fold(1.0, |sum, k| 1.0 - f64::from(2 * k - 1) * inverse * sum);
    log(series) - log(-x)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn delta_and_epsilon_undo_each_other() {
        for z in [0.05, 0.5, 1.0, 4.0, 100.0] {
            for count in [1, 7, 1000] {
                let noise = NoiseMultiplier::new(z).expect("positive");
                let delta = Delta::new(1e-6).expect("a delta");
                let epsilon = gaussian_epsilon(noise, count, delta);
                let back = gaussian_delta(noise, count, epsilon);
                assert!(back <= 1e-6, "{z} {count}: {back}");
                if epsilon.value() > 0.0 {
                    assert!(back > 0.999e-6, "{z} {count}: {back}");
                }
            }
        }
    }
}
