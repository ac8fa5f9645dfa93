//! Algorithms of a step beside their formulas, and the length of a plan.

use std::sync::Arc;

use differential_privacy::{ClippingNorm, Delta, NoiseMultiplier};
use fedra_data::Dataset;
use fedra_protocol::{ClientAlgorithm, Layer, LocalTraining, Loss, ModelSpec, RawLocalTraining};
use proptest::prelude::*;

use super::{Linear, Tanh, changed, close, line, some_data, train, values};
use crate::{ExamplePrivacy, LearningError, LocalTrainer, init_parameters};

const ADAM: ClientAlgorithm = ClientAlgorithm::Adam { beta1: 0.8, beta2: 0.9, epsilon: 1e-3 };

/// Three examples of [`line`]: inputs and targets.
const INPUTS: [[f64; 2]; 3] = [[2.0, 3.0], [-1.0, 0.5], [0.25, -4.0]];
const TARGETS: [f64; 3] = [1.0, -2.0, 0.5];
const START: [f32; 3] = [1.0, -1.0, 0.5];

fn points() -> Dataset {
    let inputs: Vec<f32> = INPUTS.as_flattened().iter().map(|&x| x as f32).collect();
    values(&inputs, 2, &TARGETS.map(|y| y as f32))
}

/// A plan of 7 steps, each on all three points.
fn seven(change: impl FnOnce(&mut RawLocalTraining)) -> LocalTraining {
    changed(7, 3, 0.05, change)
}

/// Gradient of the mean squared error of `w x + b` over the points.
fn slope(w: &[f64]) -> [f64; 3] {
    let mut sum = [0.0; 3];
    for (x, y) in INPUTS.iter().zip(TARGETS) {
        let error = w[0] * x[0] + w[1] * x[1] + w[2] - y;
        for (sum, x) in sum.iter_mut().zip([x[0], x[1], 1.0]) {
            *sum += 2.0 * error * x / 3.0;
        }
    }
    sum
}

/// The weights after the steps of a plan on all three points, in double precision.
fn expected(plan: &LocalTraining) -> Vec<f32> {
    let start = START.map(f64::from);
    let (rate, decay) = (f64::from(plan.learning_rate()), f64::from(plan.weight_decay()));
    let (mut w, mut first, mut second) = (start, [0.0; 3], [0.0; 3]);
    for step in 1..=plan.epochs() as i32 {
        let mut gradient = slope(&w);
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        let most = plan.clip_gradient_norm().map_or(f64::INFINITY, f64::from);
        for i in 0..3 {
            gradient[i] *= (most / norm).min(1.0);
            gradient[i] += f64::from(plan.proximal()) * (w[i] - start[i]);
        }
        for i in 0..3 {
            let g = gradient[i];
            match plan.algorithm() {
                ClientAlgorithm::Sgd | ClientAlgorithm::Nesterov | ClientAlgorithm::Scaffold => {
                    let momentum = f64::from(plan.momentum());
                    let g = g + decay * w[i];
                    first[i] = momentum * first[i] + g;
                    w[i] -= match plan.algorithm() {
                        ClientAlgorithm::Nesterov => rate * (g + momentum * first[i]),
                        _ => rate * first[i],
                    };
                }
                ClientAlgorithm::Adam { beta1, beta2, epsilon } => {
                    let (beta1, beta2) = (f64::from(beta1), f64::from(beta2));
                    first[i] = beta1 * first[i] + (1.0 - beta1) * g;
                    second[i] = beta2 * second[i] + (1.0 - beta2) * g * g;
                    let mean = first[i] / (1.0 - beta1.powi(step));
                    let square = second[i] / (1.0 - beta2.powi(step));
                    let along = mean / (square.sqrt() + f64::from(epsilon));
                    w[i] -= rate * (along + decay * w[i]);
                }
            }
        }
    }
    w.map(|w| w as f32).to_vec()
}

#[test]
fn every_algorithm_follows_its_formula_with_every_setting() {
    let momentum = |algorithm| if algorithm == ADAM { 0.0 } else { 0.5 };
    for algorithm in [ClientAlgorithm::Sgd, ClientAlgorithm::Nesterov, ADAM] {
        for (weight_decay, proximal, clip) in [
            (0.0, 0.0, None),
            (0.1, 0.0, None),
            (0.0, 0.5, None),
            (0.0, 0.0, Some(1.5)),
            (0.1, 0.5, Some(1.5)),
        ] {
            let plan = seven(|raw| {
                raw.algorithm = algorithm;
                raw.momentum = momentum(algorithm);
                raw.weight_decay = weight_decay;
                raw.proximal = proximal;
                raw.clip_gradient_norm = clip;
            });
            close(&train(&line(), &START, &points(), &plan), &expected(&plan));
        }
    }
}

fn hidden_layer() -> ModelSpec {
    let layers =
        [Layer::Linear(Linear { outputs: 5 }), Layer::Tanh(Tanh), Linear { outputs: 3 }.into()];
    ModelSpec::new(&[4], layers.into(), Loss::SoftmaxCrossEntropy).unwrap()
}

/// Length of the way from `start`.
fn distance(start: &[f32], end: &[f32]) -> f64 {
    let pairs = start.iter().zip(end);
    pairs.map(|(a, b)| f64::from(b - a).powi(2)).sum::<f64>().sqrt()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn fedprox_holds_the_model_nearer_to_the_global_one(
        seed: u64, mu in 0.1f32..2.0, adam: bool, epochs in 2u32..10,
    ) {
        let (spec, data) = (hidden_layer(), some_data(&hidden_layer(), 12));
        let start = init_parameters(&spec, seed);
        let moved = |proximal| {
            let plan = changed(epochs, 5, 0.05, |raw| {
                raw.seed = seed;
                raw.proximal = proximal;
                if adam {
                    raw.algorithm = ADAM;
                }
            });
            distance(&start, &train(&spec, &start, &data, &plan))
        };
        let [free, held, tight] = [0.0, mu, 4.0 * mu].map(moved);
        prop_assert!(tight < held && held < free, "{tight} {held} {free}");
    }

    #[test]
    fn a_clipped_gradient_is_no_longer_than_it_may_be_and_keeps_its_direction(
        seed: u64, norm in 0.001f32..10.0,
    ) {
        let (spec, data) = (hidden_layer(), some_data(&hidden_layer(), 6));
        let start = init_parameters(&spec, seed);
        let step = |norm| {
            let plan = changed(1, 6, 1.0, |raw| raw.clip_gradient_norm = norm);
            train(&spec, &start, &data, &plan)
        };
        let (free, clipped) = (step(None), step(Some(norm)));
        let whole = distance(&start, &free);
        let share = (f64::from(norm) / whole).min(1.0);
        let length = distance(&start, &clipped);
        prop_assert!((length - share * whole).abs() < 1e-5, "{length} of {whole} for {norm}");
        for ((start, free), clipped) in start.iter().zip(&free).zip(&clipped) {
            let wanted = f64::from(free - start) * share;
            prop_assert!((f64::from(clipped - start) - wanted).abs() < 1e-5);
        }
    }
}

/// Whole gradients take the steps of factors.
#[test]
fn a_norm_that_no_gradient_has_changes_nothing() {
    let (spec, data) = (hidden_layer(), some_data(&hidden_layer(), 12));
    let start = init_parameters(&spec, 1);
    for momentum in [0.0, 0.5] {
        let plan = |norm| {
            changed(3, 5, 0.5, |raw| {
                raw.momentum = momentum;
                raw.clip_gradient_norm = norm;
            })
        };
        let trained = |norm| train(&spec, &start, &data, &plan(norm));
        assert!(trained(None) == trained(Some(1e6)), "momentum {momentum}");
    }
}

#[test]
fn clipping_does_not_hide_that_training_diverges() {
    let data = Arc::new(values(&[1e30, 0.0], 2, &[0.0]));
    let plan = changed(1, 1, 0.1, |raw| raw.clip_gradient_norm = Some(1.0));
    let mut trainer = LocalTrainer::new(&line(), &START[..], data, &plan).unwrap();
    while trainer.step().is_some() {}
    assert_eq!(trainer.parameters(), Err(LearningError::Diverged));
}

/// Adam's first step has the length of the rate in every value, whatever the gradient: here
/// that of a noised sum.
#[test]
fn adam_takes_the_noised_gradient_of_example_privacy_for_the_gradient() {
    let (spec, data) = (hidden_layer(), Arc::new(some_data(&hidden_layer(), 12)));
    let start = init_parameters(&spec, 1);
    let plan = changed(1, 12, 0.25, |raw| {
        raw.algorithm = ClientAlgorithm::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-12 };
        raw.clip_gradient_norm = Some(0.5);
        raw.proximal = 0.5;
    });
    let privacy = ExamplePrivacy {
        clipping_norm: ClippingNorm::new(1.0).unwrap(),
        noise_multiplier: NoiseMultiplier::new(1.0).unwrap(),
        delta: Delta::new(1e-5).unwrap(),
    };
    let trainer = LocalTrainer::with_example_privacy(&spec, &start, data, &plan, privacy, [7; 32]);
    let mut trainer = trainer.unwrap();
    while trainer.step().is_some() {}
    for (start, end) in start.iter().zip(trainer.parameters().unwrap()) {
        assert!(((end - start).abs() - 0.25).abs() < 1e-4, "{start} {end}");
    }
}

/// A number of steps of SCAFFOLD on all three points, at a rate of 0.05.
fn scaffold(steps: u32, change: impl FnOnce(&mut RawLocalTraining)) -> LocalTraining {
    changed(0, 3, 0.05, |raw| {
        raw.algorithm = ClientAlgorithm::Scaffold;
        raw.steps = steps;
        change(raw);
    })
}

fn corrected(
    spec: &ModelSpec,
    start: &[f32],
    data: &Dataset,
    plan: &LocalTraining,
    correction: &[f32],
) -> Vec<f32> {
    let trainer = LocalTrainer::new(spec, start, Arc::new(data.clone()), plan).unwrap();
    let mut trainer = trainer.with_correction(correction).unwrap();
    while trainer.step().is_some() {}
    trainer.parameters().unwrap()
}

#[test]
fn scaffold_adds_its_correction_to_each_gradient_after_the_clipping() {
    const CORRECTION: [f64; 3] = [0.5, -2.0, 1.25];
    for (clip, decay) in [(None, 0.0), (Some(1.5), 0.0), (None, 0.1)] {
        let plan = scaffold(7, |raw| {
            raw.clip_gradient_norm = clip;
            raw.weight_decay = decay;
        });
        let mut w = START.map(f64::from);
        for _ in 0..7 {
            let gradient = slope(&w);
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            let scale = clip.map_or(1.0, |most| (f64::from(most) / norm).min(1.0));
            for i in 0..3 {
                w[i] -= 0.05 * (scale * gradient[i] + CORRECTION[i] + f64::from(decay) * w[i]);
            }
        }
        let correction = CORRECTION.map(|term| term as f32);
        let found = corrected(&line(), &START, &points(), &plan, &correction);
        close(&found, &w.map(|w| w as f32));
    }
}

#[test]
fn a_correction_belongs_to_the_values_of_the_flat_vector_in_their_order() {
    let (spec, data) = (hidden_layer(), some_data(&hidden_layer(), 12));
    let start = init_parameters(&spec, 1);
    let plan = scaffold(1, |raw| raw.batch_size = 12);
    let correction: Vec<f32> = (0..spec.parameters()).map(|i| i as f32 / 8.0 - 2.0).collect();
    let plain = corrected(&spec, &start, &data, &plan, &[]);
    let found = corrected(&spec, &start, &data, &plan, &correction);
    for ((found, plain), term) in found.iter().zip(plain).zip(&correction) {
        assert!((found - (plain - 0.05 * term)).abs() < 1e-6, "{found} {plain} {term}");
    }
    let trainer = LocalTrainer::new(&spec, &start, Arc::new(data), &plan).unwrap();
    let error = trainer.with_correction(&correction[1..]).err();
    let (expected, actual) = (spec.parameters(), spec.parameters() - 1);
    assert_eq!(error, Some(LearningError::ParameterCount { expected, actual }));
}

/// Without variates SCAFFOLD is plain SGD, to the bit.
#[test]
fn scaffold_begins_as_plain_sgd() {
    let (spec, data) = (hidden_layer(), some_data(&hidden_layer(), 12));
    let start = init_parameters(&spec, 1);
    let sgd = changed(0, 3, 0.05, |raw| raw.steps = 9);
    let plain = train(&spec, &start, &data, &sgd);
    assert!(corrected(&spec, &start, &data, &scaffold(9, |_| ()), &[]) == plain);
}

#[test]
fn scaffold_does_not_train_with_example_privacy() {
    let (spec, data) = (hidden_layer(), Arc::new(some_data(&hidden_layer(), 12)));
    let privacy = ExamplePrivacy {
        clipping_norm: ClippingNorm::new(1.0).unwrap(),
        noise_multiplier: NoiseMultiplier::new(1.0).unwrap(),
        delta: Delta::new(1e-5).unwrap(),
    };
    let (start, plan) = (init_parameters(&spec, 1), scaffold(3, |_| ()));
    let trainer = LocalTrainer::with_example_privacy(&spec, &start, data, &plan, privacy, [7; 32]);
    assert_eq!(trainer.err(), Some(LearningError::ExamplePrivacyVariates));
}

#[test]
fn a_number_of_steps_goes_round_the_examples_and_may_end_amid_an_epoch() {
    let (spec, data) = (hidden_layer(), some_data(&hidden_layer(), 7));
    let start = init_parameters(&spec, 1);
    let by_steps = |steps| {
        changed(0, 3, 0.5, |raw| {
            raw.steps = steps;
            raw.momentum = 0.5;
        })
    };
    // Three steps an epoch.
    for (steps, epochs) in [(1, 1), (3, 1), (4, 2), (8, 3)] {
        let data = Arc::new(data.clone());
        let trainer =
            |plan: &LocalTraining| LocalTrainer::new(&spec, &start, data.clone(), plan).unwrap();
        let mut trained = trainer(&by_steps(steps));
        assert_eq!(
            (trained.steps(), trained.epochs(), trained.examples()),
            (steps.into(), epochs, 7)
        );
        while trained.step().is_some() {}
        assert_eq!((trained.step_count(), trained.epoch()), (steps.into(), epochs));
        let whole = changed(epochs, 3, 0.5, |raw| raw.momentum = 0.5);
        let mut longer = trainer(&whole);
        for _ in 0..steps {
            longer.step().unwrap();
        }
        assert!(trained.parameters() == longer.parameters(), "{steps} steps");
    }
}
