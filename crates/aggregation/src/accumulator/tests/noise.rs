//! Noise of the server from round to round, and what server momentum makes of it.

use std::collections::BTreeMap;

use super::*;
use crate::optimizer::{OptimizerState, ServerOptimizer};

/// Enough values that their spread is known to two per cent.
const VALUES: usize = 10_000;
const ROUNDS: u32 = 13;
const TREE: CentralNoise = CentralNoise::Tree { rounds: ROUNDS };
const BANDED: CentralNoise =
    CentralNoise::Banded(BandedNoise { rounds: ROUNDS, separation: 1, band: 4, exponent: 75 });
const RATE: f64 = 0.5;
const KEPT: f64 = 0.8;

/// Means of two zero updates in each round, with noise of the clipping norm 2.
fn means(noise: CentralNoise) -> Vec<Vec<f64>> {
    let mechanism = CentralGaussian::derive(&CentralGaussianSettings {
        parameters: VALUES,
        clients: 2,
        fraction_bits: 30,
        noise_multiplier: NoiseMultiplier::new(1.0).expect("in range"),
        clip_indicator: false,
    });
    let noise = Arc::new(ServerNoise::new(mechanism.expect("a mechanism"), [3; 32], noise));
    let mean = |round| {
        let round = RoundId { round, attempt: 0 };
        let mut sum = Box::new(Clipped::new(Arc::clone(&noise), clip(), round));
        for _ in 0..2 {
            add(&mut *sum, plain(&[0.0; VALUES]), Weight::of(1));
        }
        sum.finish().expect("a mean").delta
    };
    (1..=u64::from(ROUNDS)).map(mean).collect()
}

/// The model after all rounds, from zeros.
fn model(means: &[Vec<f64>]) -> Vec<f64> {
    let optimizer = ServerOptimizer::Momentum { learning_rate: RATE, momentum: KEPT };
    let (mut model, mut state) = (vec![0.0; VALUES], OptimizerState::Empty);
    for mean in means {
        (model, state) = optimizer.step(&state, &model, mean).expect("of one length");
    }
    model.into_iter().map(f64::from).collect()
}

/// Sums of the first 1, 2, ... means.
fn prefixes(means: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut sum = vec![0.0; VALUES];
    let mut next = |mean: &Vec<f64>| {
        sum.iter_mut().zip(mean).for_each(|(sum, value)| *sum += value);
        sum.clone()
    };
    means.iter().map(&mut next).collect()
}

fn deviation(values: &[f64]) -> f64 {
    (values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64).sqrt()
}

/// DP-FTRLM: the velocity is that of the noised sums of all rounds so far, and the model is
/// the first one moved along the velocity.
#[test]
fn server_momentum_is_momentum_on_the_noised_sums() {
    for noise in [TREE, BANDED] {
        let means = means(noise);
        let mut velocity = vec![0.0; VALUES];
        for prefix in prefixes(&means) {
            for (velocity, sum) in velocity.iter_mut().zip(prefix) {
                *velocity = KEPT * *velocity + sum;
            }
        }
        for (value, velocity) in model(&means).into_iter().zip(velocity) {
            assert!((value - RATE * velocity).abs() < 1e-4, "{noise:?}: {value} {velocity}");
        }
    }
}

/// The model's noise is that of the nodes of the sums, each as often as momentum has it:
/// what was added and taken away again has left no trace.
#[test]
fn momentum_on_a_tree_has_the_noise_of_the_nodes_alone() {
    let mut nodes: BTreeMap<(u32, u32), f64> = BTreeMap::new();
    for round in 1..=ROUNDS {
        for level in (0..4).filter(|level| round >> level & 1 == 1) {
            let kept = KEPT.powi((ROUNDS - round).cast_signed());
            *nodes.entry((level, round >> level)).or_default() += RATE * kept;
        }
    }
    // The noise of a sum is the clipping norm 2, and that of the mean of two updates is 1.
    let expected = nodes.values().map(|weight| weight * weight).sum::<f64>().sqrt();
    let found = deviation(&model(&means(TREE)));
    assert!((found / expected - 1.0).abs() < 0.03, "{found} {expected}");
}

#[test]
fn banded_noise_leaves_less_in_the_sums_than_it_adds() {
    let means = means(BANDED);
    let sums = prefixes(&means);
    let last = deviation(sums.last().expect("rounds"));
    // Each of the earlier rounds has 1 - 0.75 - 0.09375 - 0.0390625 left of its noise.
    let expected = [1.0, 0.25, 0.15625].map(|x: f64| x * x).iter().sum::<f64>()
        + 10.0 * 0.1171875_f64 * 0.1171875;
    assert!((last / expected.sqrt() - 1.0).abs() < 0.03, "{last}");
    assert!(means.iter().all(|mean| deviation(mean) > 0.98), "each round has all of its own");
}
