//! Models of token ids: a class at each position, and layers that look at one position at
//! a time.

use fedra_data::{Dataset, DatasetError, Targets};
use fedra_protocol::layers::{
    Dropout, Elu, Embedding, Flatten, LastStep, LayerNorm, Linear, PositionEmbedding, Standardize,
    Tanh,
};
use fedra_protocol::{Layer, Loss, ModelSpec, Shape};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::predict::outputs;
use super::{changed, check_gradient, close, plan, some_data, train};
use crate::{Inference, LearningError, evaluate, init_parameters, safetensors};

fn embedding(width: u32) -> Layer {
    Embedding { width }.into()
}

fn linear(outputs: u32) -> Layer {
    Linear { outputs }.into()
}

/// A class of `vocabulary` at each of `positions`.
fn next_token(positions: u32, vocabulary: u32, width: u32) -> ModelSpec {
    let layers = vec![embedding(width), linear(vocabulary)];
    ModelSpec::of_tokens(positions, vocabulary, layers, Loss::SoftmaxCrossEntropy).unwrap()
}

#[test]
fn gradients_match_finite_differences() {
    let tanh = || Layer::Tanh(Tanh);
    let norm = || Layer::LayerNorm(LayerNorm { epsilon: 1e-5 });
    let standardize = || Layer::Standardize(Standardize { epsilon: 0.1 });
    let flatten = || Layer::Flatten(Flatten);
    for layers in [
        vec![embedding(3), linear(4)],
        vec![embedding(6), norm(), linear(5), tanh(), standardize(), linear(4)],
        vec![embedding(3), Elu { alpha: 1.0 }.into(), flatten(), linear(4)],
        vec![embedding(3), PositionEmbedding.into(), tanh(), linear(4)],
        vec![embedding(3), PositionEmbedding.into(), tanh(), LastStep.into(), linear(4)],
    ] {
        // Tokens come again in an example, and in another one.
        check_gradient(&ModelSpec::of_tokens(5, 4, layers, Loss::SoftmaxCrossEntropy).unwrap());
    }
}

#[test]
fn one_step_of_an_embedding_by_hand() {
    // y = W[token] at two positions, by a linear layer that starts as the identity.
    let layers = vec![embedding(1), linear(1)];
    let spec = ModelSpec::of_tokens(2, 3, layers, Loss::MeanSquaredError).unwrap();
    let start = [1.0, 2.0, 3.0, 1.0, 0.0];
    assert_eq!(outputs(&spec, &start, vec![2u32, 0, 1, 1]), [3.0, 1.0, 2.0, 2.0]);
    // Token 1 twice, with errors 1 and 2: the loss is (1 + 4) / 2, its gradient in W[1]
    // (2 * 1 + 2 * 2) / 2 = 3, in the weight (2 * 1 * 2 + 2 * 2 * 2) / 2 = 6, in the bias 3.
    let targets = Targets::Values { values: vec![1.0, 0.0], width: 2 };
    let data = Dataset::new(vec![1u32, 1], spec.input(), targets).unwrap();
    let evaluated = evaluate(&spec, &start, &data, 1).unwrap().quality;
    assert_eq!((evaluated.loss, evaluated.accuracy), (2.5, None));
    let trained = train(&spec, &start, &data, &plan(1, 1, 0.1));
    close(&trained, &[1.0, 2.0 - 0.3, 3.0, 1.0 - 0.6, -0.3]);
}

#[test]
fn positions_are_added_and_the_last_one_is_left() {
    let ids = vec![0u32, 2, 1, 2];
    // A table of 3 tokens, a vector for each of 2 positions, and a layer that doubles.
    let start = [1.0, 2.0, 3.0, 10.0, 20.0, 2.0, 0.5];
    let with = |layers: &[Layer]| {
        let layers = [&[embedding(1), PositionEmbedding.into()], layers].concat();
        ModelSpec::of_tokens(2, 3, layers, Loss::MeanSquaredError).unwrap()
    };
    let each = outputs(&with(&[linear(1)]), &start, ids.clone());
    assert_eq!(each, [22.5, 46.5, 24.5, 46.5]);
    let last = with(&[LastStep.into(), linear(1)]);
    assert_eq!(outputs(&last, &start, ids), [46.5, 46.5]);
}

#[test]
fn layers_see_each_position_by_itself() {
    let behind = || {
        vec![
            Layer::LayerNorm(LayerNorm { epsilon: 1e-5 }),
            linear(6),
            Layer::Standardize(Standardize { epsilon: 0.1 }),
            Layer::Dropout(Dropout { probability: 0.5 }),
            linear(4),
        ]
    };
    let layers = [vec![embedding(5)], behind()].concat();
    let tokens = ModelSpec::of_tokens(3, 7, layers, Loss::SoftmaxCrossEntropy).unwrap();
    let values = ModelSpec::new(&[5], behind(), Loss::SoftmaxCrossEntropy).unwrap();
    let parameters = init_parameters(&tokens, 6);
    let (table, rest) = parameters.split_at(7 * 5);
    let ids = [0u32, 6, 3, 3, 1, 0];
    let rows: Vec<f32> =
        ids.iter().flat_map(|&id| table[id as usize * 5..][..5].to_vec()).collect();
    let at_each = outputs(&tokens, &parameters, ids.to_vec());
    close(&at_each, &outputs(&values, rest, rows));
    assert!(at_each.chunks(4).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5));
}

#[test]
fn loss_and_accuracy_are_means_over_positions_and_examples() {
    let spec = next_token(4, 6, 3);
    let parameters = init_parameters(&spec, 2);
    let data = some_data(&spec, 3);
    let ids = data.features_of(&[0, 1, 2]);
    let targets = data.dense_targets_of(&[0, 1, 2], &spec);
    let probabilities = outputs(&spec, &parameters, ids);
    let rows = || probabilities.chunks(6).zip(targets.chunks(6));
    let right = |row: &[f32]| row.iter().position(|&t| t == 1.0).unwrap();
    let loss: f64 = rows().map(|(p, t)| -f64::from(p[right(t)]).ln()).sum();
    let best = |row: &[f32]| (0..6).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
    let hits = rows().filter(|(p, t)| best(p) == right(t)).count();
    let result = evaluate(&spec, &parameters, &data, 1).unwrap();
    let (own, loss) = (result.quality.loss, loss / 12.0);
    assert!((own - loss).abs() < 1e-5, "{own} {loss}");
    assert_eq!((result.quality.accuracy, result.examples), (Some(hits as f64 / 12.0), 3));
}

/// A Markov chain of five tokens, cut into examples of 16, with the next token of each.
fn markov_chain(examples: usize) -> Dataset {
    const NEXT: [[u32; 5]; 5] =
        [[0, 6, 2, 1, 1], [1, 1, 6, 1, 1], [2, 0, 0, 8, 0], [5, 0, 0, 0, 5], [2, 2, 2, 2, 2]];
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut chain = vec![0u32];
    while chain.len() <= 16 * examples {
        let mut dice = rng.random_range(0..10);
        let weights = NEXT[chain[chain.len() - 1] as usize];
        let next = weights.iter().position(|&weight| {
            let hit = dice < weight;
            dice = dice.wrapping_sub(weight);
            hit
        });
        chain.push(next.unwrap() as u32);
    }
    let classes = chain[1..].to_vec();
    chain.pop();
    let shape = Shape::Tokens { positions: 16, vocabulary: 5 };
    Dataset::new(chain, shape, Targets::PositionClasses { classes, positions: 16 }).unwrap()
}

#[test]
fn a_next_token_model_learns_the_table_of_bigrams() {
    let data = markov_chain(125);
    let spec = next_token(16, 5, 8);
    let all: Vec<u32> = (0..data.len() as u32).collect();
    let fedra_data::Features::Tokens(tokens) = data.features_of(&all) else { panic!("token ids") };
    let targets = data.dense_targets_of(&all, &spec);
    let mut counts = [[0.0f64; 5]; 5];
    for (&token, target) in tokens.iter().zip(targets.chunks(5)) {
        counts[token as usize].iter_mut().zip(target).for_each(|(n, &t)| *n += f64::from(t));
    }
    // The least cross-entropy that any table has: the conditional entropy of the data.
    let pairs = tokens.len() as f64;
    let entropy: f64 = counts
        .iter()
        .map(|row| (row, row.iter().sum::<f64>()))
        .flat_map(|(row, sum)| row.iter().filter(|n| **n > 0.0).map(move |n| -n * (n / sum).ln()))
        .sum::<f64>()
        / pairs;
    let evaluated = |parameters: &[f32]| evaluate(&spec, parameters, &data, 1).unwrap().quality;
    let start = init_parameters(&spec, 1);
    assert!(evaluated(&start).loss > entropy + 0.3, "{:?} {entropy}", evaluated(&start));
    let plan = changed(30, 25, 0.5, |raw| raw.momentum = 0.9);
    let trained = train(&spec, &start, &data, &plan);
    let result = evaluated(&trained);
    assert!((entropy..entropy + 0.01).contains(&result.loss), "{result:?} {entropy}");
    // The best guess is right as often as the most frequent pair of each token comes.
    let most = |row: &[f64; 5]| row.iter().copied().fold(0.0, f64::max);
    let expected = counts.iter().map(most).sum::<f64>() / pairs;
    assert!((result.accuracy.unwrap() - expected).abs() < 0.03, "{result:?} {expected}");
    let table = outputs(&spec, &trained, vec![0u32, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0]);
    for (row, counts) in table.chunks(5).zip(&counts) {
        let sum: f64 = counts.iter().sum();
        for (&probability, count) in row.iter().zip(counts) {
            assert!((f64::from(probability) - count / sum).abs() < 0.05, "{row:?} {counts:?}");
        }
    }
}

#[test]
fn inputs_that_are_no_tokens_of_the_model_are_refused() {
    let spec = next_token(2, 5, 3);
    let inference = Inference::new(&spec, &init_parameters(&spec, 1)).unwrap();
    let refused = inference.outputs(vec![0u32, 1, 4, 5]).unwrap_err();
    let expected = DatasetError::Token { index: 1, position: 1, token: 5, vocabulary: 5 };
    assert_eq!(refused, LearningError::Dataset(expected));
    let refused = inference.outputs(vec![0.0f32, 1.0]).unwrap_err();
    assert!(refused.to_string().contains("takes token ids"), "{refused}");
    let values = ModelSpec::softmax_regression();
    let inference = Inference::new(&values, &init_parameters(&values, 1)).unwrap();
    let refused = inference.outputs(vec![0u32; 784]).unwrap_err();
    assert!(refused.to_string().contains("takes values"), "{refused}");
}

#[test]
fn a_model_file_says_that_its_model_takes_token_ids() {
    let spec = next_token(4, 6, 3);
    let parameters = init_parameters(&spec, 1);
    let file = safetensors::write(&spec, &parameters).unwrap();
    let (again, read) = super::read_model(&file).unwrap();
    assert_eq!((again, read), (spec, parameters));
}
