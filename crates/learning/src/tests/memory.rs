//! Layers that look at more than one position: beside plain loops in double precision, and
//! learning what needs memory.

mod loops;

use std::sync::Arc;

use fedra_data::{Dataset, Targets};
use fedra_protocol::layers::{
    CausalSelfAttention, Embedding, Gru, LastStep, Linear, Lstm, PositionEmbedding, Tanh,
    TransformerBlock,
};
use fedra_protocol::{Layer, Loss, ModelSpec};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::example_privacy::privacy;
use super::predict::outputs;
use super::{changed, check_gradient, close, some_data, train};
use crate::{LearningError, LocalTrainer, evaluate, init_parameters, safetensors};

fn embedding(width: u32) -> Layer {
    Embedding { width }.into()
}

fn linear(outputs: u32) -> Layer {
    Linear { outputs }.into()
}

fn attention(heads: u32) -> Layer {
    CausalSelfAttention { heads }.into()
}

fn block(heads: u32, hidden: Option<u32>) -> Layer {
    TransformerBlock { heads, hidden }.into()
}

fn gru(units: u32) -> Layer {
    Gru { units }.into()
}

fn lstm(units: u32) -> Layer {
    Lstm { units }.into()
}

/// Values at each of 5 positions, from tokens of 7 with a vector of 6 values each.
fn behind_tokens(layers: &[Layer]) -> ModelSpec {
    let layers = [&[embedding(6)], layers].concat();
    ModelSpec::of_tokens(5, 7, layers, Loss::MeanSquaredError).unwrap()
}

/// Every layer with memory, in more than one size.
fn each_layer() -> [Vec<Layer>; 9] {
    [
        vec![attention(1)],
        vec![attention(3)],
        vec![attention(6)],
        vec![block(2, None)],
        vec![block(3, Some(5)), block(1, Some(20))],
        vec![gru(4)],
        vec![gru(9), gru(3)],
        vec![lstm(4)],
        vec![lstm(9), lstm(3)],
    ]
}

#[test]
fn gradients_match_finite_differences() {
    for layers in each_layer() {
        for last in [vec![], vec![LastStep.into()]] {
            let layers = [
                &[embedding(6), PositionEmbedding.into()],
                &layers[..],
                &[Tanh.into()],
                &last,
                &[linear(4)],
            ]
            .concat();
            check_gradient(&ModelSpec::of_tokens(5, 4, layers, Loss::SoftmaxCrossEntropy).unwrap());
        }
    }
}

#[test]
fn outputs_are_those_of_plain_loops() {
    for layers in each_layer() {
        let spec = behind_tokens(&layers);
        // Larger than they start, so that no function is in its linear part alone.
        let parameters: Vec<f32> = init_parameters(&spec, 5).iter().map(|x| 1.5 * x).collect();
        let ids = [0u32, 6, 3, 3, 1, 5, 2, 4, 0, 6];
        let expected: Vec<f32> =
            ids.chunks(5).flat_map(|ids| loops::outputs(&spec, &parameters, ids)).collect();
        close(&outputs(&spec, &parameters, ids.to_vec()), &expected);
    }
}

#[test]
fn a_later_token_changes_nothing_before_it() {
    for layers in each_layer() {
        let spec = behind_tokens(&layers);
        let (parameters, width) = (init_parameters(&spec, 5), spec.output_width());
        let ids = [0u32, 6, 3, 2, 1];
        let before = outputs(&spec, &parameters, ids.to_vec());
        for position in 0..5 {
            let mut ids = ids;
            ids[position] = 4;
            let after = outputs(&spec, &parameters, ids.to_vec());
            let (past, now) = (position * width, (position + 1) * width);
            assert_eq!(after[..past], before[..past], "{layers:?} at {position}");
            assert_ne!(after[past..now], before[past..now], "{layers:?} at {position}");
            // Every later position remembers it.
            for later in now..after.len() {
                assert_ne!(after[later], before[later], "{layers:?} at {position}");
            }
        }
    }
}

#[test]
fn an_attention_without_preferences_is_a_running_mean() {
    // One head of width 1: queries and keys are zero, values are doubled, the projection
    // adds 0.5.
    let spec = ModelSpec::of_tokens(4, 3, vec![embedding(1), attention(1)], Loss::MeanSquaredError)
        .unwrap();
    let parameters = [1.0, 4.0, 7.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 1.0, 0.5];
    close(&outputs(&spec, &parameters, vec![0u32, 1, 2, 0]), &[2.5, 5.5, 8.5, 7.0]);
}

#[test]
fn one_step_of_each_cell_by_hand() {
    let one = |layer| {
        let layers = vec![embedding(1), layer];
        ModelSpec::of_tokens(2, 2, layers, Loss::MeanSquaredError).unwrap()
    };
    let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
    // Token 1 is worth 1: r = s(1 + 5), z = s(2 + 6), n = tanh(3 + r 7) of biases alone; the
    // state after token 0, which is worth 0, goes on by weights of 0.
    let (r, z) = (sigmoid(0.1 + 0.5), sigmoid(0.2 + 0.6));
    let first = (1.0 - z) * (0.3 + r * 0.7).tanh();
    let (r, z) = (sigmoid(1.0 + 0.1 + 0.5), sigmoid(2.0 + 0.2 + 0.6));
    let second = (1.0 - z) * (3.0 + 0.3 + r * 0.7).tanh() + z * first;
    let biases = [[1.0, 2.0, 3.0], [0.1, 0.2, 0.3], [0.0; 3], [0.5, 0.6, 0.7]].concat();
    let parameters = [&[0.0, 1.0], &biases[..]].concat();
    close(&outputs(&one(gru(1)), &parameters, vec![0u32, 1]), &[first, second]);
    let cell = sigmoid(0.1 + 0.5) * (0.3f32 + 0.7).tanh();
    let first = sigmoid(0.4 + 0.8) * cell.tanh();
    let cell = sigmoid(2.0 + 0.2 + 0.6) * cell + sigmoid(1.0 + 0.1 + 0.5) * (3.0f32 + 1.0).tanh();
    let second = sigmoid(4.0 + 0.4 + 0.8) * cell.tanh();
    let biases = [[1.0, 2.0, 3.0, 4.0], [0.1, 0.2, 0.3, 0.4], [0.0; 4], [0.5, 0.6, 0.7, 0.8]];
    let parameters = [&[0.0, 1.0], &biases.concat()[..]].concat();
    close(&outputs(&one(lstm(1)), &parameters, vec![0u32, 1]), &[first, second]);
}

#[test]
fn model_files_hold_every_tensor() {
    for layers in each_layer() {
        let spec = behind_tokens(&layers);
        let parameters = init_parameters(&spec, 1);
        let file = safetensors::write(&spec, &parameters).unwrap();
        assert_eq!(super::read_model(&file).unwrap(), (spec, parameters));
    }
}

#[test]
fn example_privacy_refuses_them_by_name() {
    for (layer, name) in [
        (attention(2), "causal_self_attention"),
        (block(2, None), "transformer_block"),
        (gru(3), "gru"),
        (lstm(3), "lstm"),
    ] {
        let layers = vec![embedding(6), PositionEmbedding.into(), layer, linear(4)];
        let spec = ModelSpec::of_tokens(5, 4, layers, Loss::SoftmaxCrossEntropy).unwrap();
        let (data, plan) = (Arc::new(some_data(&spec, 3)), changed(1, 2, 0.1, |_| {}));
        let start = init_parameters(&spec, 1);
        let privacy = privacy(1.0, 1.0);
        let refused =
            LocalTrainer::with_example_privacy(&spec, &start, data, &plan, privacy, [1; 32]);
        let expected = LearningError::ExamplePrivacyLayer { index: 2, layer: name };
        assert_eq!(refused.err(), Some(expected));
    }
}

/// Positions of an example of [`echoes`], and how far back its answer is.
const STEPS: u32 = 12;
const BACK: usize = 3;

/// Random tokens of 4; the class at each position is the token three positions before, 0 at
/// the first three.
fn echoes(examples: usize) -> Dataset {
    let mut rng = ChaCha8Rng::seed_from_u64(21);
    let (mut tokens, mut classes) = (Vec::new(), Vec::new());
    for _ in 0..examples {
        let ids: Vec<u32> = (0..STEPS).map(|_| rng.random_range(0..4)).collect();
        classes.extend((0..ids.len()).map(|at| at.checked_sub(BACK).map_or(0, |at| ids[at])));
        tokens.extend(ids);
    }
    let spec = echoing(&[linear(4)]);
    let positions = STEPS as usize;
    Dataset::new(tokens, spec.input(), Targets::PositionClasses { classes, positions }).unwrap()
}

fn echoing(layers: &[Layer]) -> ModelSpec {
    let layers = [&[embedding(8), PositionEmbedding.into()], layers].concat();
    ModelSpec::of_tokens(STEPS, 4, layers, Loss::SoftmaxCrossEntropy).unwrap()
}

/// Loss on examples that were not trained on.
fn learned(layers: &[Layer], epochs: u32, rate: f32) -> f64 {
    let (spec, data) = (echoing(layers), echoes(400));
    let part = |range| data.select(&Vec::from_iter(range));
    let plan = changed(epochs, 10, rate, |raw| raw.momentum = 0.9);
    let trained = train(&spec, &init_parameters(&spec, 1), &part(0..300), &plan);
    evaluate(&spec, &trained, &part(300..400), 1).unwrap().quality.loss
}

/// The least loss without memory: at the last nine of twelve positions, any token is as good
/// as another.
fn forgetful() -> f64 {
    f64::from(STEPS - BACK as u32) / f64::from(STEPS) * 4f64.ln()
}

#[test]
fn a_model_without_memory_does_not_learn_to_repeat() {
    let loss = learned(&[linear(16), Tanh.into(), linear(4)], 10, 0.1);
    assert!((forgetful() - 0.02..forgetful() + 0.1).contains(&loss), "{loss} {}", forgetful());
}

#[test]
fn recurrent_models_learn_to_repeat_a_token() {
    for layers in [[gru(24), linear(4)], [lstm(24), linear(4)]] {
        let loss = learned(&layers, 20, 0.2);
        assert!(loss < 0.1 * forgetful(), "{layers:?}: {loss}");
    }
}

#[test]
fn models_with_attention_learn_to_repeat_a_token() {
    for layers in [vec![attention(2), linear(4)], vec![block(2, None), linear(4)]] {
        let loss = learned(&layers, 20, 0.1);
        assert!(loss < 0.1 * forgetful(), "{layers:?}: {loss}");
    }
}
