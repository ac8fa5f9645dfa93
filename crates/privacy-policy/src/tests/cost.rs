//! Costs of participations, and of policies compared.

use super::*;
use crate::banded_noise;

/// Ten participations at noise multiplier 4 and delta 1e-6 cost epsilon 3.747218.
#[test]
fn independent_central_noise_costs_what_a_gaussian_does() {
    let policy = PrivacyPolicy {
        noise_multiplier: 4.0,
        delta: 1e-6,
        max_participations: 10,
        ..policy(Mechanism::Central(CentralNoise::Independent))
    };
    let epsilon = DerivedPolicy::new(policy, SMALL).unwrap().epsilon_after(10);
    assert!((3.747_217..=3.747_23).contains(&epsilon), "{epsilon}");
}

#[test]
fn what_is_distributed_costs_hardly_more_than_what_is_central() {
    let central = privacy(Mechanism::Central(CentralNoise::Independent)).epsilon_after(8);
    for mechanism in [Mechanism::Distributed, Mechanism::Local] {
        let epsilon = privacy(mechanism).epsilon_after(8);
        assert!((central * 0.999..central * 1.02).contains(&epsilon), "{epsilon} {central}");
    }
}

#[test]
fn nothing_costs_nothing_and_every_participation_costs_more() {
    for mechanism in MECHANISMS {
        let privacy = privacy(mechanism);
        let costs: Vec<f64> = (0..=8).map(|count| privacy.epsilon_after(count)).collect();
        assert_eq!(costs[0], 0.0);
        assert!(costs.is_sorted_by(|a, b| a < b), "{mechanism:?}: {costs:?}");
    }
}

/// A tree of 8 rounds has 4 levels, and a subject's one participation is in a
/// node of each. Independent noise is dearer from there on if it counts for
/// every round.
#[test]
fn a_tree_costs_a_level_each_for_one_participation() {
    let tree = privacy(Mechanism::Central(CentralNoise::Tree { rounds: 8 }));
    let independent = privacy(Mechanism::Central(CentralNoise::Independent));
    let ratio = |count| tree.cost(count).value() / independent.cost(1).value();
    assert!((ratio(1) - 4.0).abs() < 1e-12, "{}", ratio(1));
    // All rounds: 8 x (1 + 2 + 4 + 8) by the bound min(node, participations).
    assert!((ratio(8) - 120.0).abs() < 1e-9, "{}", ratio(8));
    assert_eq!(independent.cost(8).value(), 8.0 * independent.cost(1).value());
}

/// By hand for a band of 2 and an exponent of 1/2. The inverse is 1, 1/2, 1/4, ..., and the
/// worst pattern of two participations in four rounds, two apart, is in rounds 1 and 3.
#[test]
fn banded_noise_costs_the_worst_pattern_of_participations() {
    let noise = BandedNoise { rounds: 4, separation: 2, band: 2, exponent: 50 };
    let mechanism = Mechanism::Central(CentralNoise::Banded(noise));
    let policy = PrivacyPolicy { max_participations: 2, ..policy(mechanism) };
    let banded = DerivedPolicy::new(policy, SMALL).unwrap();
    let fresh = privacy(Mechanism::Central(CentralNoise::Independent));
    for (count, shift) in [(1, vec![1.0, 0.5, 0.25, 0.125]), (2, vec![1.0, 0.5, 1.25, 0.625])] {
        let squares: f64 = shift.iter().map(|s| s * s).sum();
        let ratio = banded.cost(count).value() / fresh.cost(1).value();
        assert!((ratio / squares - 1.0).abs() < 1e-6, "{count}: {ratio} {squares}");
    }
    assert_eq!((banded.separation(), fresh.separation()), (2, 1));
}

/// Computed apart from this code: the worst pattern's shift, and ε of N(0, 1) and N(μ, 1).
#[test]
fn banded_noise_costs_what_a_direct_computation_says() {
    for (noise, participations, noise_multiplier, delta, expected) in [
        (
            BandedNoise { rounds: 1000, separation: 100, band: 16, exponent: 68 },
            10,
            20.0,
            1e-6,
            1.677_105,
        ),
        (
            BandedNoise { rounds: 1000, separation: 100, band: 16, exponent: 68 },
            1,
            4.0,
            1e-6,
            2.649_391,
        ),
        (
            BandedNoise { rounds: 200, separation: 40, band: 4, exponent: 76 },
            5,
            10.0,
            1e-5,
            1.825_222,
        ),
    ] {
        let policy = PrivacyPolicy {
            noise_multiplier,
            delta,
            max_participations: participations,
            ..policy(Mechanism::Central(CentralNoise::Banded(noise)))
        };
        let privacy = DerivedPolicy::new(policy, SMALL).unwrap();
        let epsilon = privacy.epsilon_after(participations);
        assert!(
            (expected - 1e-6..expected + 1e-4).contains(&epsilon),
            "{noise:?}: {epsilon} {expected}"
        );
    }
}

/// The figures of docs/PRIVACY.md.
#[test]
fn a_separation_and_a_wider_band_leave_less_noise() {
    let needed = |separation, band| {
        let noise = banded_noise(200, 5, separation, band);
        let policy = PrivacyPolicy {
            epsilon: 2.0,
            delta: 1e-6,
            max_participations: 5,
            ..policy(Mechanism::Central(CentralNoise::Banded(noise)))
        };
        DerivedPolicy::with_least_noise(policy, 7_850).unwrap().policy().clone()
    };
    let found = [(1, 16), (20, 16), (40, 16), (40, 4)].map(|(separation, band)| {
        let policy = needed(separation, band);
        let Mechanism::Central(CentralNoise::Banded(noise)) = policy.mechanism else {
            return (0, 0.0);
        };
        (noise.exponent, policy.noise_multiplier)
    });
    assert_eq!(found, [(52, 14.28), (50, 8.641), (54, 8.505), (76, 10.31)]);
}

proptest! {
    #[test]
    fn more_noise_or_more_honest_survivors_never_cost_more(
        mechanism in prop::sample::select(&MECHANISMS[..]),
        noise in 0.3_f64..20.0,
        factor in 1.0_f64..3.0,
        survivors in 10_u32..=100,
        colluders in 0_u32..8,
    ) {
        let with = |noise_multiplier, colluders| {
            let policy = PrivacyPolicy {
                noise_multiplier,
                minimum_survivors: survivors,
                colluders,
                epsilon: 1e9,
                ..policy(mechanism)
            };
            DerivedPolicy::new(policy, SMALL).unwrap().epsilon_after(3)
        };
        let cost = with(noise, colluders);
        prop_assert!(cost > 0.0 && cost.is_finite());
        prop_assert!(with(noise * factor, colluders) <= cost * 1.000_001);
        // The noise is shared out among the honest: fewer of them, bigger shares.
        let fewer = with(noise, colluders + 1);
        prop_assert!((fewer / cost - 1.0).abs() < 0.01, "{fewer} {cost}");
    }
}
