use std::vec::Vec;

use super::*;
use crate::accounting::participation::patterns;

/// The inverse of the matrix of coefficients, entry by entry.
fn inverse(correlation: &Correlation, steps: usize) -> Vec<f64> {
    let d: Vec<f64> = correlation.values().collect();
    let mut c = vec![0.0; steps];
    for t in 0..steps {
        let unit = if t == 0 { 1.0 } else { 0.0 };
        let others: f64 = (1..d.len().min(t + 1)).map(|i| d[i] * c[t - i]).sum();
        c[t] = unit - others;
    }
    c
}

/// Length of what contributions of length 1, all in one direction, shift.
fn shift(c: &[f64], set: u32) -> f64 {
    let column = |t: usize| (0..=t).filter(|j| set >> j & 1 == 1).map(|j| c[t - j]).sum::<f64>();
    sqrt((0..c.len()).map(column).map(|sum| sum * sum).sum())
}

fn mean_variance(correlation: &Correlation, steps: u32) -> f64 {
    correlation.prefix_variances(steps).sum::<f64>() / f64::from(steps)
}

#[test]
fn coefficients_are_those_of_the_power_series() {
    let exact = |exponent, band| {
        let found = Correlation::fractional(band, exponent);
        found.values().collect::<Vec<f64>>()
    };
    assert_eq!(exact(50, 5), [1.0, -0.5, -0.125, -0.0625, -0.0390625]);
    assert_eq!(exact(100, 4), [1.0, -1.0, 0.0, 0.0]);
    assert_eq!(exact(0, 3), [1.0, 0.0, 0.0]);
    assert_eq!(exact(50, 1), [1.0]);
}

/// Every set of participations, by brute force: the sensitivity is that of the worst, and
/// not more.
#[test]
fn sensitivity_is_that_of_the_worst_pattern() {
    for (band, exponent) in [(1, 50), (2, 50), (2, 100), (3, 86), (4, 72), (11, 44), (11, 50)] {
        let correlation = Correlation::fractional(band, exponent);
        for steps in [1, 2, 7, 11] {
            let c = inverse(&correlation, steps as usize);
            for separation in 1..=5 {
                for participations in 0..=steps {
                    let limits = Participation { steps, participations, separation };
                    let worst = patterns(limits).map(|set| shift(&c, set)).fold(0.0, f64::max);
                    let found = correlation.sensitivity(limits, 1.0, 0);
                    assert!(
                        worst <= found && found <= worst * (1.0 + 1e-8),
                        "band {band}, exponent {exponent}, {limits:?}: {found} {worst}"
                    );
                }
            }
        }
    }
}

/// Computed with numpy from the power series and its inverse, without rounding of the
/// coefficients.
#[test]
fn sensitivity_and_variance_agree_with_another_program() {
    for (steps, participations, separation, band, exponent, sensitivity, rms) in [
        (100, 1, 1, 4, 72, 1.840407, 2.59666),
        (1000, 1, 1, 1000, 50, 1.806932, 3.10224),
        (1000, 1, 1, 16, 70, 2.479672, 3.86357),
        (200, 5, 1, 16, 52, 6.402174, 11.59796),
        (200, 5, 40, 8, 64, 4.180244, 6.62571),
        (1000, 10, 100, 16, 68, 7.633870, 12.77348),
        (2000, 20, 100, 16, 70, 11.737428, 22.48904),
        (1000, 5, 50, 2, 94, 6.795589, 11.36754),
    ] {
        let correlation = Correlation::fractional(band, exponent);
        let limits = Participation { steps, participations, separation };
        let found = correlation.sensitivity(limits, 1.0, 0);
        assert!((found / sensitivity - 1.0).abs() < 1e-3, "{limits:?}: {found}");
        let found = found * sqrt(mean_variance(&correlation, steps));
        assert!((found / rms - 1.0).abs() < 1e-3, "{limits:?}: {found}");
    }
}

#[test]
fn without_correlation_the_noise_is_fresh() {
    let fresh = Correlation::fractional(8, 0);
    let limits = Participation { steps: 100, participations: 9, separation: 10 };
    assert!((fresh.sensitivity(limits, 1.0, 0) - 3.0).abs() < 1e-8);
    assert!((mean_variance(&fresh, 100) - 50.5).abs() < 1e-9);
}

#[test]
fn the_longer_a_contribution_the_longer_its_shift_and_rounding_adds_a_little() {
    let correlation = Correlation::fractional(4, 75);
    let limits = Participation { steps: 50, participations: 2, separation: 20 };
    let of = |norm, coordinates| correlation.sensitivity(limits, norm, coordinates);
    assert!((of(1000.0, 0) / of(1.0, 0) - 1000.0).abs() < 1e-9);
    let total: f64 = inverse(&correlation, 50).iter().sum();
    let added = of(1e6, 100) - of(1e6, 0);
    assert!((added / (total * sqrt(5000.0)) - 1.0).abs() < 1e-6, "{added}");
}

#[test]
fn a_correlation_whose_inverse_grows_has_no_finite_cost() {
    let grows = Correlation { coefficients: vec![1 << 16, -(1 << 17)] };
    let alternates = Correlation { coefficients: vec![1 << 16, 1 << 15] };
    for correlation in [grows, alternates] {
        let found = correlation.sensitivity(Participation::once(5), 1.0, 0);
        assert!(found.is_infinite(), "{correlation:?}");
    }
}

/// All bands and exponents that a policy can have.
#[test]
fn every_exponent_has_a_finite_cost() {
    for band in [1, 2, 3, 5, 8, 16, 33, 64] {
        for exponent in 0..=100 {
            let limits = Participation { steps: 300, participations: 7, separation: 40 };
            let found = Correlation::fractional(band, exponent).sensitivity(limits, 1.0, 0);
            assert!(found.is_finite(), "band {band}, exponent {exponent}");
        }
    }
}

#[test]
fn the_best_exponent_is_better_than_its_neighbours() {
    let error = |band, exponent, limits: Participation| {
        let correlation = Correlation::fractional(band, exponent);
        let sensitivity = correlation.sensitivity(limits, 1.0, 0);
        sensitivity * sensitivity * mean_variance(&correlation, limits.steps)
    };
    for (steps, participations, separation) in [(100, 1, 1), (200, 5, 40), (1000, 10, 100)] {
        let limits = Participation { steps, participations, separation };
        for band in [2, 8, 16] {
            let best = Correlation::best_exponent(band, limits);
            for other in 0..=100 {
                assert!(error(band, best, limits) <= error(band, other, limits), "{other}");
            }
        }
    }
    // Everyone in every round: nothing is better than fresh noise.
    let all = Participation { steps: 100, participations: 100, separation: 1 };
    assert_eq!(Correlation::best_exponent(8, all), 0);
}
