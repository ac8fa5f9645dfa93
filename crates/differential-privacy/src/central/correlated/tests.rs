use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::NoiseMultiplier;
use crate::accounting::Participation;
use crate::central::{CentralGaussianSettings, squared_norm};

fn mechanism(noise: f64, fraction_bits: u32) -> CentralGaussian {
    CentralGaussian::derive(&CentralGaussianSettings {
        parameters: 1000,
        clients: 100,
        fraction_bits,
        noise_multiplier: NoiseMultiplier::new(noise).expect("positive"),
        clip_indicator: false,
    })
    .expect("good settings")
}

fn noise(correlation: &Correlation, steps: u32) -> CorrelatedNoise {
    let secret = NoiseSecret::new([7; 32]);
    CorrelatedNoise::new(mechanism(1.0, 10), secret, correlation.clone(), steps)
}

fn deviation(values: &[i64]) -> f64 {
    libm::sqrt(squared_norm(values) as f64 / values.len() as f64)
}

/// 20,000 sums of t steps: their noise is what the coefficients leave of it.
#[test]
fn prefixes_hold_the_noise_that_is_claimed() {
    const STEPS: u32 = 40;
    let correlation = Correlation::fractional(8, 70);
    let scale = mechanism(1.0, 10).scale().to_f64();
    let mut total = vec![0_i64; 20_000];
    for (step, claimed) in (1..=STEPS).zip(correlation.prefix_variances(STEPS)) {
        // A server that starts anew at every step.
        noise(&correlation, STEPS).add(step, &mut total).expect("a step");
        let ratio = deviation(&total) / (scale * libm::sqrt(claimed));
        assert!((ratio - 1.0).abs() < 0.03, "step {step}: {ratio}");
    }
    let noise = noise(&correlation, STEPS);
    assert_eq!(noise.add(41, &mut total), Err(StepError { step: 41, steps: 40 }));
    assert!(noise.add(0, &mut total).is_err());
}

/// Coefficients that one can check by hand: 1 and -1 leave the noise of the last step alone.
#[test]
fn noise_is_taken_back_exactly() {
    let fresh = Correlation::fractional(1, 100);
    let all_back = Correlation::fractional(2, 100);
    // Longer than a chunk.
    let mut total = vec![0_i64; CHUNK + 5];
    for step in 1..=6 {
        noise(&all_back, 6).add(step, &mut total).expect("a step");
        let mut last = vec![0_i64; CHUNK + 5];
        noise(&fresh, 6).add(step, &mut last).expect("a step");
        assert_eq!(total, last, "step {step}");
    }
}

#[test]
fn noise_is_the_secrets_and_the_steps() {
    let correlation = Correlation::fractional(4, 50);
    let drawn = |bytes: u8, step| {
        let mut sum = vec![0; 50];
        let secret = NoiseSecret::new([bytes; 32]);
        let noise = CorrelatedNoise::new(mechanism(1.0, 20), secret, correlation.clone(), 9);
        noise.add(step, &mut sum).expect("a step");
        sum
    };
    let one = drawn(1, 5);
    assert_eq!(one, drawn(1, 5));
    for other in [drawn(2, 5), drawn(1, 6), drawn(1, 4)] {
        assert!(one.iter().zip(&other).filter(|(a, b)| a == b).count() < 3);
    }
}

#[test]
fn numbers_are_rounded_to_the_nearest() {
    let unit = 1_i128 << COEFFICIENT_BITS;
    let cases = [(0, 0), (unit / 2, 1), (unit / 2 - 1, 0), (-unit / 2, 0), (-unit / 2 - 1, -1)];
    for (noise, expected) in cases {
        assert_eq!(rounded(noise), expected, "{noise}");
        assert_eq!(rounded(noise + 3 * unit), expected + 3, "{noise}");
    }
}

/// Noise of the steps that makes `releases` of `sums`, by what a step adds.
fn implied(correlation: &Correlation, releases: &[Vec<i64>], sums: &[Vec<i64>]) -> Vec<Vec<i64>> {
    let mut noise: Vec<Vec<i64>> = Vec::new();
    for (release, sum) in releases.iter().zip(sums) {
        let drawn = (0..release.len()).map(|i| {
            let earlier = noise.iter().rev().map(|z| i128::from(z[i]));
            let coefficients = correlation.coefficients().iter().skip(1);
            let taken = coefficients.zip(earlier).map(|(&d, z)| i128::from(d) * z).sum();
            release[i] - sum[i] - rounded(taken)
        });
        noise.push(drawn.collect());
    }
    noise
}

proptest! {
    /// Ground of the account: after any release, one person's contributions shift
    /// the noise that explains it by no more than the sensitivity.
    #[test]
    fn a_person_shifts_the_noise_by_the_sensitivity_at_most(
        band in 1_u32..8,
        exponent in 0_u32..=100,
        separation in 1_usize..6,
        first in 0_usize..4,
        participations in 1_usize..5,
        releases in prop::collection::vec(prop::collection::vec(-9999_i64..9999, 3), 12),
        contribution in prop::collection::vec(prop::array::uniform3(-30_i64..30), 12),
    ) {
        let correlation = Correlation::fractional(band, exponent);
        let without = vec![vec![0; 3]; releases.len()];
        let mut with = without.clone();
        let mut longest = 0_u128;
        let taken = (first..releases.len()).step_by(separation).take(participations);
        for (step, values) in taken.zip(&contribution) {
            with[step] = values.to_vec();
            longest = longest.max(squared_norm(values));
        }
        let here = implied(&correlation, &releases, &without);
        let there = implied(&correlation, &releases, &with);
        let shift: i64 = here.iter().flatten().zip(there.iter().flatten())
            .map(|(a, b)| (a - b) * (a - b))
            .sum();
        let limits = Participation {
            steps: 12,
            participations: participations as u32,
            separation: separation as u32,
        };
        let bound = correlation.sensitivity(limits, libm::sqrt(longest as f64), 3);
        prop_assert!(shift as f64 <= bound * bound, "{} {}", shift, bound * bound);
    }
}
