//! Known answers and properties of training, on the CPU.

mod algorithms;
mod blocks;
mod categories;
mod example_privacy;
mod fixed_layers;
mod frozen;
mod initial;
mod kernels;
mod losses;
mod memory;
mod model_files;
pub(crate) mod predict;
mod residual;
mod sequences;

use std::sync::Arc;

use fedra_data::{Dataset, Features, Targets};
use fedra_protocol::layers::{
    Abs, AvgPool2d, Conv2d, Dropout, Flatten, GaussianDerivative, Gelu, LayerNorm, Linear,
    MaxPool2d, Relu, Sigmoid, Standardize, Tanh,
};
use fedra_protocol::{Layer, LocalTraining, Loss, ModelSpec, RawLocalTraining, Shape, UpdateRange};

use crate::safetensors::ModelFileError;
use crate::{
    LearningError, LocalTrainer, check_update, evaluate, gradient, init_parameters, init_weights,
    safetensors,
};

fn plan(epochs: u32, batch_size: u32, learning_rate: f32) -> LocalTraining {
    changed(epochs, batch_size, learning_rate, |_| {})
}

/// A plan with more set than that.
fn changed(
    epochs: u32,
    batch_size: u32,
    learning_rate: f32,
    change: impl FnOnce(&mut RawLocalTraining),
) -> LocalTraining {
    let mut raw = RawLocalTraining {
        epochs,
        batch_size,
        learning_rate,
        seed: 3,
        ..RawLocalTraining::default()
    };
    change(&mut raw);
    LocalTraining::new(raw).unwrap()
}

/// y = W x + b on two features with a squared error, small enough for paper.
fn line() -> ModelSpec {
    ModelSpec::new(&[2], vec![Layer::Linear(Linear { outputs: 1 })], Loss::MeanSquaredError)
        .unwrap()
}

fn values(features: &[f32], width: u32, targets: &[f32]) -> Dataset {
    let targets = Targets::Values { values: targets.to_vec(), width: 1 };
    Dataset::new(features.to_vec(), Shape::Features(width), targets).unwrap()
}

fn train(spec: &ModelSpec, start: &[f32], data: &Dataset, plan: &LocalTraining) -> Vec<f32> {
    let data = Arc::new(data.clone());
    let mut trainer = LocalTrainer::new(spec, start, data, plan).unwrap();
    while trainer.step().is_some() {}
    assert_eq!(trainer.step_count(), trainer.steps());
    trainer.parameters().unwrap()
}

/// Description and parameters of a model without frozen layers.
fn read_model(file: &[u8]) -> Result<(ModelSpec, Vec<f32>), ModelFileError> {
    let (spec, weights) = safetensors::read_model(file, None)?;
    Ok((spec, weights.trained.to_vec()))
}

pub(crate) fn close(actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len());
    for (a, e) in actual.iter().zip(expected) {
        assert!((a - e).abs() <= 1e-5 * e.abs().max(1.0), "{actual:?} is not {expected:?}");
    }
}

#[test]
fn one_step_of_gradient_descent_by_hand() {
    // w = (1, -1), b = 0.5; x = (2, 3), y = 1: error -1.5; the gradient of the
    // square is 2 * error * (x, 1) = (-6, -9, -3); rate 0.1.
    let data = values(&[2.0, 3.0], 2, &[1.0]);
    let start = [1.0, -1.0, 0.5];
    let flat = gradient(&line(), &start, &data, &[0]).unwrap();
    close(&flat, &[-6.0, -9.0, -3.0]);
    close(&train(&line(), &start, &data, &plan(1, 1, 0.1)), &[1.6, -0.1, 0.8]);
}

#[test]
fn whole_numbers_are_values_to_a_model_with_one_output() {
    let features = vec![2.0, 3.0, 1.0, 0.0];
    let targets = Targets::from_labels(vec![40.0, 7.0], 2).unwrap();
    assert_eq!(targets, Targets::Classes(vec![40, 7]));
    let whole = Dataset::new(features.clone(), Shape::Features(2), targets).unwrap();
    assert_eq!(whole.check_for(&line()), Ok(()));
    let same = values(&features, 2, &[40.0, 7.0]);
    let start = [1.0, -1.0, 0.5];
    let plan = plan(3, 1, 0.01);
    assert_eq!(train(&line(), &start, &whole, &plan), train(&line(), &start, &same, &plan));
    let evaluated = |data| evaluate(&line(), &start, data, 1).unwrap();
    assert_eq!(evaluated(&whole), evaluated(&same));
    assert_eq!(evaluated(&whole).quality.accuracy, None);
}

#[test]
fn momentum_is_classical_and_weight_decay_is_in_the_gradient() {
    let data = values(&[1.0, 0.0], 2, &[0.0]);
    let plan = changed(2, 1, 0.1, |raw| {
        raw.momentum = 0.5;
        raw.weight_decay = 0.1;
    });
    // One parameter of interest: w0, with b. v <- 0.5 v + g, p <- p - 0.1 v,
    // g = 2 (w0 + b) + 0.1 p.
    let (mut w, mut b, mut vw, mut vb) = (1.0f64, 1.0f64, 0.0, 0.0);
    for _ in 0..2 {
        let error = 2.0 * (w + b);
        (vw, vb) = (0.5 * vw + error + 0.1 * w, 0.5 * vb + error + 0.1 * b);
        (w, b) = (w - 0.1 * vw, b - 0.1 * vb);
    }
    let trained = train(&line(), &[1.0, 0.0, 1.0], &data, &plan);
    close(&trained, &[w as f32, 0.0, b as f32]);
}

/// Central differences of the mean loss, which `evaluate` computes without autodiff.
fn numeric_gradient(spec: &ModelSpec, at: &[f32], data: &Dataset, index: usize) -> f64 {
    let loss = |shift: f32| {
        let mut moved = at.to_vec();
        moved[index] += shift;
        evaluate(spec, &moved, data, 1).unwrap().quality.loss
    };
    let step = 1e-3;
    (loss(step) - loss(-step)) / (2.0 * f64::from(step))
}

/// Holds the gradient of a model, of three examples, to finite differences.
pub(crate) fn check_gradient(spec: &ModelSpec) {
    let data = some_data(spec, 3);
    let at = init_parameters(spec, 4);
    let flat = gradient(spec, &at, &data, &[0, 1, 2]).unwrap();
    let norm = flat.iter().map(|x| f64::from(x * x)).sum::<f64>().sqrt();
    for index in (0..at.len()).step_by(7) {
        let numeric = numeric_gradient(spec, &at, &data, index);
        let difference = (numeric - f64::from(flat[index])).abs();
        assert!(difference <= 5e-3 * norm, "{spec:?} at {index}: {numeric} {}", flat[index]);
    }
}

/// Examples for a model of any loss, at each position of a sequence; no two alike.
fn some_data(spec: &ModelSpec, examples: usize) -> Dataset {
    let elements = examples * spec.input().len();
    let features = match spec.input() {
        Shape::Tokens { vocabulary, .. } => {
            Features::Tokens((0..elements as u32).map(|i| (i * i + i / 5) % vocabulary).collect())
        }
        _ => {
            let noise = init_parameters(&ModelSpec::mnist_2nn(), 9);
            let mut values: Vec<f32> = noise[..elements].iter().map(|x| x * 20.0).collect();
            for feature in spec.embedded() {
                let column = values.iter_mut().skip(feature.place as usize);
                for (index, value) in column.step_by(spec.input().len()).enumerate() {
                    *value = ((index * index + index / 3) as u32 % feature.categories) as f32;
                }
            }
            Features::Values(values)
        }
    };
    let (positions, classes) = (spec.output_positions(), spec.output_width() as u32);
    let class = |i: u32| [0, 3, 1, 2][i as usize % 4] % classes;
    let numbers = (0..(examples * positions) as u32).map(class).collect();
    let width = spec.output_len();
    let values = |value: fn(usize) -> f32| Targets::Values {
        values: (0..examples * width).map(value).collect(),
        width,
    };
    let targets = match (spec.loss(), positions) {
        (Loss::SoftmaxCrossEntropy, 1) => Targets::Classes(numbers),
        (Loss::SoftmaxCrossEntropy, _) => Targets::PositionClasses { classes: numbers, positions },
        (Loss::BinaryCrossEntropy, _) => values(|i| (i % 3 % 2) as f32),
        (Loss::MeanSquaredError | Loss::Huber, _) => values(|i| (i % 5) as f32 - 2.0),
    };
    Dataset::new(features, spec.input(), targets).unwrap()
}

#[test]
fn gradients_of_every_layer_match_finite_differences() {
    let smooth = [Layer::Tanh(Tanh), Layer::Gelu(Gelu), Layer::Sigmoid(Sigmoid)];
    let mut specs = Vec::new();
    for activation in smooth {
        let layers = vec![
            Layer::Conv2d(Conv2d { channels: 3, kernel: 3, stride: 1, padding: 1 }),
            activation,
            Layer::AvgPool2d(AvgPool2d { kernel: 2, stride: 2 }),
            Layer::Conv2d(Conv2d { channels: 2, kernel: 2, stride: 1, padding: 0 }),
            Layer::Flatten(Flatten),
            Layer::LayerNorm(LayerNorm { epsilon: 1e-5 }),
            Layer::Linear(Linear { outputs: 4 }),
        ];
        specs.push(ModelSpec::new(&[2, 6, 6], layers, Loss::SoftmaxCrossEntropy).unwrap());
    }
    let layers = vec![
        Layer::Conv2d(Conv2d { channels: 2, kernel: 3, stride: 2, padding: 1 }),
        Layer::Relu(Relu),
        Layer::MaxPool2d(MaxPool2d { kernel: 2, stride: 1 }),
        Layer::Flatten(Flatten),
        Layer::Linear(Linear { outputs: 4 }),
    ];
    specs.push(ModelSpec::new(&[2, 6, 6], layers, Loss::SoftmaxCrossEntropy).unwrap());
    let filters =
        || Layer::GaussianDerivative(GaussianDerivative { orientations: 3, kernel: 3, sigma: 0.8 });
    let standardize = || Layer::Standardize(Standardize { epsilon: 0.1 });
    let layers = |first: Layer| {
        let linear = || Layer::Linear(Linear { outputs: 4 });
        let pool = Layer::AvgPool2d(AvgPool2d { kernel: 2, stride: 2 });
        vec![
            first,
            filters(),
            standardize(),
            Layer::Abs(Abs),
            pool,
            linear(),
            standardize(),
            linear(),
        ]
    };
    // Fixed layers behind a trained one, and at the start, where they are prepared.
    let conv = Layer::Conv2d(Conv2d { channels: 2, kernel: 3, stride: 1, padding: 1 });
    for first in [conv, Layer::Tanh(Tanh)] {
        let mut layers = layers(first);
        layers.insert(5, Layer::Flatten(Flatten));
        specs.push(ModelSpec::new(&[2, 6, 6], layers, Loss::SoftmaxCrossEntropy).unwrap());
    }
    for spec in specs {
        check_gradient(&spec);
    }
}

#[test]
fn dropout_drops_in_training_only_and_repeats_with_its_seed() {
    let layers =
        vec![Layer::Dropout(Dropout { probability: 0.5 }), Layer::Linear(Linear { outputs: 1 })];
    let spec = ModelSpec::new(&[64], layers, Loss::MeanSquaredError).unwrap();
    let data = values(&[1.0; 64], 64, &[0.0]);
    let start = vec![1.0; spec.parameters()];
    let first = train(&spec, &start, &data, &plan(1, 1, 0.001));
    assert_eq!(first, train(&spec, &start, &data, &plan(1, 1, 0.001)));
    let dropped = first[..64].iter().filter(|&&w| w == 1.0).count();
    assert!((16..=48).contains(&dropped), "{dropped} of 64 weights untouched");
    let outputs = predict::outputs(&spec, &start, vec![1.0; 64]);
    close(&outputs, &[65.0]);
}

#[test]
fn training_separates_two_classes() {
    let layers = vec![
        Layer::Linear(Linear { outputs: 8 }),
        Layer::Relu(Relu),
        Layer::Linear(Linear { outputs: 2 }),
    ];
    let spec = ModelSpec::new(&[2], layers, Loss::SoftmaxCrossEntropy).unwrap();
    let features: Vec<f32> = (0..200).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
    let classes = features.chunks(2).map(|x| u32::from(x[0] * x[1] > 0.0)).collect();
    let data = Dataset::new(features, spec.input(), Targets::Classes(classes)).unwrap();
    let start = init_parameters(&spec, 1);
    let before = evaluate(&spec, &start, &data, 1).unwrap();
    let trained = train(&spec, &start, &data, &plan(60, 10, 0.3));
    let after = evaluate(&spec, &trained, &data, 1).unwrap();
    assert!(after.quality.loss < 0.5 * before.quality.loss, "{before:?} {after:?}");
    assert!(after.quality.accuracy.unwrap() > 0.9, "{after:?}");
}

#[test]
fn an_epoch_sees_every_example_once_and_the_last_batch_may_be_short() {
    let data = Arc::new(values(&[0.5; 50], 2, &[1.0; 25]));
    let start = [0.0; 3];
    let mut trainer = LocalTrainer::new(&line(), &start, data.clone(), &plan(2, 10, 0.1)).unwrap();
    let sizes: Vec<usize> = std::iter::from_fn(|| trainer.step()).collect();
    assert_eq!(sizes, [10, 10, 5, 10, 10, 5]);
    let few = changed(1, 10, 0.1, |raw| raw.max_examples = 7);
    let trainer = LocalTrainer::new(&line(), &start, data, &few).unwrap();
    assert_eq!((trainer.examples(), trainer.steps()), (7, 1));
}

#[test]
fn divergence_is_an_error_and_not_an_update() {
    let data = Arc::new(values(&[1e20, 1e20], 2, &[-1e20]));
    let start = [1.0, 1.0, 1.0];
    let mut trainer = LocalTrainer::new(&line(), &start, data, &plan(3, 1, 1e10)).unwrap();
    while trainer.step().is_some() {}
    assert_eq!(trainer.parameters(), Err(LearningError::Diverged));
}

#[test]
fn probabilities_sum_to_one_and_evaluation_agrees_with_them() {
    let spec = ModelSpec::softmax_regression();
    let parameters = init_parameters(&spec, 5);
    let features: Vec<f32> = (0..3 * 784).map(|i| (i % 17) as f32 / 17.0).collect();
    let outputs = predict::outputs(&spec, &parameters, features.clone());
    for row in outputs.chunks(10) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }
    let classes = vec![1, 2, 3];
    let expected =
        -(0..3).map(|i| f64::from(outputs[i * 10 + classes[i] as usize]).ln()).sum::<f64>() / 3.0;
    let data = Dataset::new(features, spec.input(), Targets::Classes(classes)).unwrap();
    let result = evaluate(&spec, &parameters, &data, 1).unwrap();
    let loss = result.quality.loss;
    assert!((loss - expected).abs() < 1e-5, "{loss} {expected}");
}

#[test]
fn evaluation_does_not_depend_on_the_number_of_threads() {
    let spec = ModelSpec::softmax_regression();
    let parameters = init_parameters(&spec, 5);
    let features: Vec<f32> = (0..1_701 * 784).map(|i| (i % 1_013) as f32 / 1_013.0).collect();
    let classes = (0..1_701).map(|i| i % 10).collect();
    let data = Dataset::new(features, spec.input(), Targets::Classes(classes)).unwrap();
    let alone = evaluate(&spec, &parameters, &data, 1).unwrap();
    for threads in [0, 2, 3, 4, 9] {
        assert_eq!(evaluate(&spec, &parameters, &data, threads).unwrap(), alone, "{threads}");
    }
}

#[test]
fn initial_parameters_are_bounded_and_the_same_for_a_seed() {
    let spec = ModelSpec::mnist_2nn();
    let parameters = init_parameters(&spec, 1);
    assert_eq!(parameters.len(), 199_210);
    assert_eq!(parameters, init_parameters(&spec, 1));
    assert_ne!(parameters, init_parameters(&spec, 2));
    let bound = 1.0 / 784f32.sqrt();
    assert!(parameters[..784 * 200].iter().all(|p| p.abs() <= bound));
    let mean = parameters[..784 * 200].iter().sum::<f32>() / (784.0 * 200.0);
    assert!(mean.abs() < 0.01 * bound, "{mean}");
}

#[test]
fn model_files_hold_named_tensors_and_come_back_to_the_bit() {
    let spec = ModelSpec::mnist_cnn();
    let parameters = init_parameters(&spec, 1);
    let file = safetensors::write(&spec, &parameters).unwrap();
    assert_eq!(file, safetensors::write(&spec, &parameters).unwrap(), "the same bytes each time");
    assert_eq!(safetensors::read(&spec, &file).unwrap(), parameters);
    let tensors = ::safetensors::SafeTensors::deserialize(&file).unwrap();
    assert_eq!(tensors.tensor("layers.0.weight").unwrap().shape(), [32, 1, 5, 5]);
    assert_eq!(tensors.tensor("layers.7.weight").unwrap().shape(), [3136, 512]);
}

#[test]
fn a_file_is_its_head_and_the_values_of_any_model_of_the_specification() {
    let frozen = ModelSpec::mnist_2nn().with_frozen(&[0]).unwrap();
    let relus = std::iter::repeat_n(Relu.into(), 11);
    let linear = |outputs| std::iter::once(Linear { outputs }.into());
    let deep = linear(3).chain(relus).chain(linear(2)).collect();
    let deep = ModelSpec::new(&[4], deep, Loss::MeanSquaredError).unwrap();
    for spec in [ModelSpec::mnist_cnn(), frozen, deep] {
        let [one, other] = [1, 2].map(|seed| init_weights(&spec, seed).trained);
        let [one, file] = [one, other.clone()].map(|of| safetensors::write(&spec, &of).unwrap());
        let head = safetensors::head(&spec, &one);
        assert!(safetensors::with_head(&spec, head, &other) == file, "{:?}", spec.layout());
    }
    assert!(safetensors::head(&ModelSpec::mnist_cnn(), b"short").is_empty());
}

#[test]
fn files_of_other_models_and_damaged_files_are_refused() {
    let spec = ModelSpec::softmax_regression();
    let parameters = init_parameters(&spec, 1);
    let file = safetensors::write(&spec, &parameters).unwrap();
    let other = ModelSpec::mnist_2nn();
    assert!(matches!(safetensors::read(&other, &file), Err(ModelFileError::Tensor { .. })));
    let cut = &file[..file.len() - 1];
    assert!(matches!(safetensors::read(&spec, cut), Err(ModelFileError::Format(_))));
    assert!(safetensors::write(&spec, &parameters[1..]).is_err());
    assert!(matches!(safetensors::check(cut), Err(ModelFileError::Format(_))));
    safetensors::check(&file).unwrap();
}

#[test]
fn a_value_that_is_not_finite_is_neither_written_nor_read() {
    let spec = ModelSpec::softmax_regression();
    let parameters = init_parameters(&spec, 1);
    let file = safetensors::write(&spec, &parameters).unwrap();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut changed = parameters.clone();
        changed[3] = bad;
        let error = safetensors::write(&spec, &changed).unwrap_err();
        assert_eq!(error.to_string(), "tensor layers.0.weight: value 3 is not finite");
        // The weight is the last tensor of the file.
        let mut changed = file.clone();
        let last = changed.len() - 4;
        changed[last..].copy_from_slice(&bad.to_le_bytes());
        for error in [
            safetensors::read(&spec, &changed).unwrap_err(),
            safetensors::check(&changed).unwrap_err(),
        ] {
            assert_eq!(error.to_string(), "tensor layers.0.weight: value 7839 is not finite");
        }
    }
}

#[test]
fn parameters_of_another_model_are_refused() {
    let spec =
        ModelSpec::new(&[2], vec![Layer::Linear(Linear { outputs: 2 })], Loss::SoftmaxCrossEntropy)
            .unwrap();
    let data = Dataset::new(vec![1.0, 2.0], Shape::Features(2), Targets::Classes(vec![1])).unwrap();
    let plan = plan(1, 1, 0.1);
    let wrong = LocalTrainer::new(&spec, &[0.0; 5], Arc::new(data), &plan);
    assert!(matches!(wrong.err(), Some(LearningError::ParameterCount { expected: 6, actual: 5 })));
}

#[test]
fn an_update_that_no_aggregator_takes_is_named() {
    let range = UpdateRange::new(64).unwrap();
    assert_eq!(check_update(&[64.0, -64.0, -0.0, f32::MIN_POSITIVE], range), Ok(()));
    let over = 64f32.next_up();
    let beyond = |index, value| Err(LearningError::OutOfRange { index, value, range });
    assert_eq!(check_update(&[1.0, -over, f32::NAN], range), beyond(1, -over));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(check_update(&[1.0, bad, over], range), Err(LearningError::Diverged));
    }
    let message = check_update(&[over], range).unwrap_err().to_string();
    for advice in ["64.00001", "±64", "scale", "learning rate", "update_range"] {
        assert!(message.contains(advice), "{message}");
    }
}
