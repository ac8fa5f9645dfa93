use alloc::{vec, vec::Vec};

use super::*;
use crate::Delta;

fn settings() -> CentralGaussianSettings {
    CentralGaussianSettings {
        parameters: 1000,
        clients: 100,
        fraction_bits: 30,
        noise_multiplier: NoiseMultiplier::new(1.0).expect("positive"),
        clip_indicator: false,
    }
}

fn derive(settings: &CentralGaussianSettings) -> CentralGaussian {
    CentralGaussian::derive(settings).expect("good settings")
}

fn clip(value: f64) -> ClippingNorm {
    ClippingNorm::new(value).expect("positive")
}

fn secret() -> NoiseSecret {
    NoiseSecret::new([7; 32])
}

fn deviation(values: &[i64]) -> f64 {
    let square: f64 = values.iter().map(|&x| x as f64 * x as f64).sum();
    sqrt(square / values.len() as f64)
}

#[test]
fn noise_is_as_large_as_it_costs() {
    for z in [0.5, 1.0, 4.0] {
        let noise_multiplier = NoiseMultiplier::new(z).expect("positive");
        let mechanism = derive(&CentralGaussianSettings { noise_multiplier, ..settings() });
        let expected = Rho::of_gaussian(noise_multiplier).value();
        let cost = mechanism.cost().value();
        assert!(cost <= expected && cost > 0.999 * expected, "{z}: {cost} {expected}");
        let mut noise = vec![0; 200_000];
        mechanism.add_noise(&secret(), 1, 0, &mut noise);
        let wanted = z * ldexp(1.0, 30);
        assert!((deviation(&noise) / wanted - 1.0).abs() < 0.01, "{z}");
    }
}

#[test]
fn noise_is_the_secrets_the_rounds_and_the_attempts() {
    let mechanism = derive(&settings());
    let noise = |bytes: u8, round, attempt| {
        let mut sum = vec![0; 50];
        mechanism.add_noise(&NoiseSecret::new([bytes; 32]), round, attempt, &mut sum);
        sum
    };
    let one = noise(1, 1, 0);
    assert_eq!(one, noise(1, 1, 0));
    for other in [noise(2, 1, 0), noise(1, 2, 0), noise(1, 1, 1), noise(1, 65_536, 0)] {
        assert!(one.iter().zip(&other).filter(|(a, b)| a == b).count() < 3);
    }
}

#[test]
fn prefixes_hold_the_noise_of_their_nodes_alone() {
    let mechanism = derive(&CentralGaussianSettings { fraction_bits: 10, ..settings() });
    let s = mechanism.scale().to_f64();
    let tree = TreeAggregation::new(mechanism.clone(), secret(), 64);
    let mut total = vec![0_i64; 20_000];
    for step in 1..=64_u32 {
        // A server that starts anew at every step.
        let tree = TreeAggregation::new(mechanism.clone(), secret(), 64);
        tree.add_increment(step, &mut total).expect("a step of the tree");
        let nodes = f64::from(step.count_ones());
        let ratio = deviation(&total) / (s * sqrt(nodes));
        assert!((ratio - 1.0).abs() < 0.03, "step {step}: {ratio}");
    }
    assert_eq!(
        tree.add_increment(65, &mut total),
        Err(StepError { step: 65, steps: 64 }),
        "the cost was planned for 64"
    );
    assert!(tree.add_increment(0, &mut total).is_err());
}

#[test]
fn nodes_are_never_shared_between_levels_or_positions() {
    let mut seen = alloc::collections::BTreeSet::new();
    for level in 0..10 {
        for step in (1_u32 << level..=1024).step_by(1 << level) {
            assert!(seen.insert(node_ending_at(level, step)), "{level} {step}");
        }
    }
    assert!(seen.iter().all(|stream| stream & INDEPENDENT == 0));
}

#[test]
fn contributions_are_admitted_up_to_the_bound() {
    let mechanism = derive(&settings());
    let long: Vec<f32> = (0..1000).map(|i| libm::sinf(i as f32) * 100.0).collect();
    for c in [1e-3, 1.0, 50.0, 1e5] {
        let contribution = mechanism.encode(&long, clip(c)).expect("the right length");
        assert!(mechanism.admits(&contribution), "{c}");
        assert!(contribution.iter().any(|&x| x != 0));
    }
    let mut contribution = vec![0; 1000];
    contribution[3] = (1 << 30) + 15;
    assert!(mechanism.admits(&contribution));
    contribution[3] = (1 << 30) + 17;
    assert!(!mechanism.admits(&contribution));
    contribution[3] = i64::MIN;
    assert!(!mechanism.admits(&contribution));
    assert!(!mechanism.admits(&vec![i64::MIN; 1000]));
    assert!(!mechanism.admits(&[0; 999]));
}

#[test]
fn discounted_contributions_are_admitted_and_keep_their_indicator() {
    let mechanism = derive(&CentralGaussianSettings { clip_indicator: true, ..settings() });
    let long: Vec<f32> = (0..1000).map(|i| libm::sinf(i as f32) * 100.0).collect();
    let whole = mechanism.encode(&long, clip(1.0)).expect("the right length");
    for factor in [1.0, 0.999_999_9, 0.707, 0.5, 1e-3, 0.0, -1.0, 2.0, f64::NAN, f64::INFINITY] {
        let mut part = whole.clone();
        mechanism.discount(&mut part, factor);
        assert!(mechanism.admits(&part), "{factor}");
        assert!(part.iter().zip(&whole).all(|(part, whole)| part.abs() <= whole.abs()), "{factor}");
        assert_eq!(part.last(), whole.last(), "{factor}");
        let expected = if (0.0..=1.0).contains(&factor) { factor } else { f64::from(factor > 1.0) };
        let norms = [&part, &whole].map(|v| sqrt(squared_norm(&v[..1000]) as f64));
        assert!((norms[0] / norms[1] - expected).abs() < 1e-6, "{factor}: {norms:?}");
    }
}

#[test]
fn squares_saturate() {
    assert_eq!(squared_norm(&[3, -4]), 25);
    assert_eq!(squared_norm(&[i64::MIN; 3]), 3 << 126);
    assert_eq!(squared_norm(&[i64::MIN; 5]), u128::MAX);
}

#[test]
fn mean_comes_back() {
    for clip_indicator in [false, true] {
        let mechanism =
            derive(&CentralGaussianSettings { parameters: 3, clip_indicator, ..settings() });
        let mut sum = vec![0_i64; mechanism.len()];
        // Norms 5 and 0.5 at C = 1: the first is scaled down to 1.
        for update in [[3.0, 0.0, 4.0], [0.3, 0.0, -0.4]] {
            let contribution = mechanism.encode(&update, clip(1.0)).expect("three values");
            assert!(mechanism.admits(&contribution));
            for (sum, x) in sum.iter_mut().zip(contribution) {
                *sum += x;
            }
        }
        let decoded = mechanism.decode(&sum, 2, clip(1.0)).expect("the right length");
        for (found, expected) in decoded.mean.iter().zip([0.45, 0.0, 0.2]) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        let expected = clip_indicator.then_some(0.5);
        assert_eq!(decoded.within_clip, expected);
    }
}

#[test]
fn what_is_not_finite_counts_as_zeros() {
    let mechanism = derive(&CentralGaussianSettings { parameters: 2, ..settings() });
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(mechanism.encode(&[1.0, bad], clip(1.0)), Ok(vec![0, 0]));
    }
    assert!(mechanism.encode(&[1.0], clip(1.0)).is_err());
    assert!(mechanism.decode(&[1], 1, clip(1.0)).is_err());
}

#[test]
fn indicator_is_cheap_and_clear() {
    for clients in [5, 100, 10_000] {
        let with = derive(&CentralGaussianSettings { clients, clip_indicator: true, ..settings() });
        let without = derive(&CentralGaussianSettings { clients, ..settings() });
        let dearer = with.scale().to_f64() / without.scale().to_f64();
        assert!((1.0..1.03).contains(&dearer), "{clients}: {dearer}");
        // Noise of the mean bit.
        let noise = with.scale().to_f64() / (2.0 * with.half_step as f64 * f64::from(clients));
        assert!(noise < if clients < 50 { 0.5 } else { 0.101 }, "{clients}: {noise}");
    }
}

#[test]
fn tree_costs_its_levels() {
    let mechanism = derive(&settings());
    let cost = mechanism.tree_cost(Participation::once(1000)).value();
    assert!((cost - 5.0).abs() < 0.01, "{cost}");
    let epsilon =
        mechanism.tree_cost(Participation::once(1000)).epsilon(Delta::new(1e-5).expect("a delta"));
    assert!((epsilon.value() - 17.857).abs() < 0.001, "{epsilon:?}");
}

#[test]
fn settings_are_checked() {
    let error = |settings: CentralGaussianSettings| {
        CentralGaussian::derive(&settings).expect_err("bad settings")
    };
    assert!(matches!(
        error(CentralGaussianSettings { parameters: 0, ..settings() }),
        CentralParameterError::Parameters { parameters: 0 }
    ));
    assert!(matches!(
        error(CentralGaussianSettings { clients: 0, ..settings() }),
        CentralParameterError::NoClients
    ));
    assert!(matches!(
        error(CentralGaussianSettings { fraction_bits: 41, ..settings() }),
        CentralParameterError::FractionBits { fraction_bits: 41 }
    ));
    let noise_multiplier = NoiseMultiplier::new(1e6).expect("positive");
    assert!(matches!(
        error(CentralGaussianSettings { noise_multiplier, fraction_bits: 40, ..settings() }),
        CentralParameterError::NoiseTooLarge
    ));
}

#[test]
fn secrets_are_not_printed() {
    let shown = alloc::format!("{:?}", TreeAggregation::new(derive(&settings()), secret(), 3));
    assert!(shown.contains("NoiseSecret(..)") && !shown.contains("7, 7, 7"));
}
