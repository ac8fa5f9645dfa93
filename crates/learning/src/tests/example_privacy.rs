//! DP-SGD on the client: clipped sums against a loop over examples, the noise's
//! law, the samples, the cost.

use std::sync::Arc;

use differential_privacy::{ClippingNorm, Delta, NoiseMultiplier};
use fedra_data::{Dataset, Targets};
use fedra_protocol::layers::{
    Abs, Conv1d, Conv2d, Dropout, Embedding, Flatten, GaussianDerivative, GlobalAvgPool,
    GlobalMaxPool, GroupNorm, LastStep, LayerNorm, Linear, MaxPool2d, PositionEmbedding, Relu,
    Residual, Silu, Standardize, Tanh,
};
use fedra_protocol::{Layer, LocalTraining, Loss, ModelSpec, Objective, Shape};

use super::residual::small_resnet;
use super::{categories, changed, plan, some_data};
use crate::training::PrivateSteps;
use crate::{ExamplePrivacy, LearningError, LocalTrainer, evaluate, gradient, init_parameters};

pub(super) fn privacy(clip: f64, noise: f64) -> ExamplePrivacy {
    ExamplePrivacy {
        clipping_norm: ClippingNorm::new(clip).unwrap(),
        noise_multiplier: NoiseMultiplier::new(noise).unwrap(),
        delta: Delta::new(1e-5).unwrap(),
    }
}

fn private_training(
    spec: &ModelSpec,
    start: &[f32],
    data: &Dataset,
    plan: &LocalTraining,
    privacy: ExamplePrivacy,
    secret: u8,
) -> LocalTrainer {
    let data = Arc::new(data.clone());
    let mut trainer =
        LocalTrainer::with_example_privacy(spec, start, data, plan, privacy, [secret; 32]).unwrap();
    while trainer.step().is_some() {}
    trainer
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

/// `count` examples of noise, some much longer than others, in 3 classes.
fn noise_data(spec: &ModelSpec, count: usize) -> Dataset {
    let classes = (0..count as u32).map(|i| i * i % 3).collect();
    Dataset::new(noise_features(spec, count), spec.input(), Targets::Classes(classes)).unwrap()
}

fn noise_features(spec: &ModelSpec, count: usize) -> Vec<f32> {
    let width = spec.input().len();
    let noise = init_parameters(&ModelSpec::mnist_2nn(), 12);
    let scale = |i: usize| [3.0, 30.0, 90.0][i % 3];
    (0..count * width).map(|i| noise[i] * scale(i / width)).collect()
}

/// The 2NN's shape, a CNN with strides and padding, and one behind fixed layers.
fn covered_models() -> Vec<ModelSpec> {
    let linear = |outputs| Layer::Linear(Linear { outputs });
    let conv = |channels, kernel, stride, padding| {
        Layer::Conv2d(Conv2d { channels, kernel, stride, padding })
    };
    let dense = vec![linear(9), Layer::Relu(Relu), linear(7), Layer::Relu(Relu), linear(3)];
    let convolutions = vec![
        conv(4, 3, 1, 1),
        Layer::Relu(Relu),
        Layer::MaxPool2d(MaxPool2d { kernel: 2, stride: 2 }),
        conv(5, 2, 2, 1),
        Layer::Tanh(Tanh),
        Layer::Flatten(Flatten),
        linear(3),
    ];
    let fixed = vec![
        Layer::GaussianDerivative(GaussianDerivative { orientations: 3, kernel: 3, sigma: 0.8 }),
        Layer::Abs(Abs),
        Layer::Standardize(Standardize { epsilon: 0.1 }),
        conv(2, 3, 2, 0),
        Layer::Standardize(Standardize { epsilon: 0.1 }),
        Layer::Flatten(Flatten),
        linear(3),
    ];
    [(vec![10], dense), (vec![2, 7, 6], convolutions), (vec![1, 8, 9], fixed)]
        .map(|(input, layers)| ModelSpec::new(&input, layers, Loss::SoftmaxCrossEntropy).unwrap())
        .into()
}

/// A class at each position, and one an example. Every example has tokens that come again.
fn token_models() -> [ModelSpec; 3] {
    let embedding = || Layer::Embedding(Embedding { width: 4 });
    let linear = |outputs| Layer::Linear(Linear { outputs });
    let at_each = vec![embedding(), linear(5), Layer::Tanh(Tanh), linear(6)];
    let of_all = vec![embedding(), Layer::Tanh(Tanh), Layer::Flatten(Flatten), linear(3)];
    let positions = || Layer::from(PositionEmbedding);
    let of_last =
        vec![embedding(), positions(), linear(5), positions(), LastStep.into(), linear(3)];
    [at_each, of_all, of_last]
        .map(|layers| ModelSpec::of_tokens(7, 5, layers, Loss::SoftmaxCrossEntropy).unwrap())
}

/// The other losses, and cross-entropy with its settings.
fn models_of_other_losses() -> Vec<ModelSpec> {
    let layers =
        || vec![Layer::Linear(Linear { outputs: 5 }), Tanh.into(), Linear { outputs: 3 }.into()];
    let adjusted =
        Objective::SoftmaxCrossEntropy { class_weights: vec![0.5, 1.0, 3.0], label_smoothing: 0.1 };
    let weighted = Objective::BinaryCrossEntropy { positive_weights: vec![3.0, 1.0, 0.2] };
    [Loss::BinaryCrossEntropy.into(), weighted, Objective::Huber { delta: 0.5 }, adjusted]
        .map(|objective| ModelSpec::new(&[4], layers(), objective).unwrap())
        .into()
}

/// Convolutions over sequences, and group norms of images and sequences.
fn models_of_blocks() -> Vec<ModelSpec> {
    let linear = |outputs| Layer::Linear(Linear { outputs });
    let norm = || Layer::GroupNorm(GroupNorm { groups: 2, epsilon: 0.01 });
    let conv1d = |kernel, stride, padding, dilation| {
        Layer::Conv1d(Conv1d { channels: 4, kernel, stride, padding, dilation })
    };
    let series = |dilation| {
        vec![conv1d(3, 2, 1, dilation), norm(), Tanh.into(), GlobalAvgPool.into(), linear(3)]
    };
    let images = vec![
        Conv2d { channels: 4, kernel: 3, stride: 2, padding: 1 }.into(),
        norm(),
        Silu.into(),
        GlobalMaxPool.into(),
        linear(3),
    ];
    let tokens = vec![Embedding { width: 4 }.into(), norm(), conv1d(2, 1, 1, 1), linear(3)];
    let inner = Residual { layers: vec![Tanh.into(), linear(4)], shortcut: vec![] };
    let dense = Residual { layers: vec![linear(4), inner.into()], shortcut: vec![linear(4)] };
    let loss = Loss::SoftmaxCrossEntropy;
    vec![
        ModelSpec::new(&[9, 3], series(1), loss).unwrap(),
        ModelSpec::new(&[9, 3], series(3), loss).unwrap(),
        ModelSpec::new(&[2, 6, 5], images, loss).unwrap(),
        ModelSpec::of_tokens(5, 6, tokens, loss).unwrap(),
        ModelSpec::new(&[3], vec![dense.into(), linear(3)], loss).unwrap(),
        small_resnet(3),
    ]
}

fn example_gradients(spec: &ModelSpec, at: &[f32], data: &Dataset) -> Vec<Vec<f32>> {
    let one = |i| gradient(spec, at, data, &[i]).unwrap();
    (0..data.len() as u32).map(one).collect()
}

/// Margin of the clipping norm that is kept for rounding.
const MARGIN: f64 = 1.0 - 1.0 / 1024.0;

fn clipped_sum(gradients: &[Vec<f32>], clip: f64) -> Vec<f64> {
    let mut sum = vec![0.0; gradients[0].len()];
    for gradient in gradients {
        let scale = (clip * MARGIN / norm(gradient)).min(1.0);
        sum.iter_mut().zip(gradient).for_each(|(s, &g)| *s += scale * f64::from(g));
    }
    sum
}

/// One step on the whole data set with next to no noise.
fn quiet_step(spec: &ModelSpec, start: &[f32], data: &Dataset, clip: f64) -> Vec<f64> {
    // The rate makes the step as large as the sum.
    let count = data.len() as u32;
    let plan = plan(1, count, count as f32);
    let trainer = private_training(spec, start, data, &plan, privacy(clip, 1e-6), 1);
    let after = trainer.parameters().unwrap();
    start.iter().zip(after).map(|(&s, a)| f64::from(s) - f64::from(a)).collect()
}

#[test]
fn clipped_sums_match_a_loop_over_examples() {
    let cases = covered_models().into_iter().map(|spec| (noise_data(&spec, 13), spec));
    let others =
        token_models().into_iter().chain(models_of_other_losses()).chain(models_of_blocks());
    let others = others.chain([categories::model(Loss::SoftmaxCrossEntropy)]);
    let others = others.map(|spec| (some_data(&spec, 13), spec));
    for (data, spec) in cases.chain(others) {
        let at = init_parameters(&spec, 3);
        let gradients = example_gradients(&spec, &at, &data);
        let mut norms: Vec<f64> = gradients.iter().map(|g| norm(g)).collect();
        norms.sort_by(f64::total_cmp);
        // Half of the gradients are clipped; all; none.
        for clip in [norms[6], norms[0] / 10.0, norms[12] * 2.0] {
            let expected = clipped_sum(&gradients, clip);
            let actual = quiet_step(&spec, &at, &data, clip);
            let length = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
            // The parameters themselves are rounded to single precision.
            let rounding = 1e-7 * norm(&at);
            let difference =
                actual.iter().zip(&expected).map(|(a, e)| (a - e).powi(2)).sum::<f64>().sqrt();
            let noise = 1e-6 * clip * (at.len() as f64).sqrt();
            assert!(
                difference <= 1e-5 * length + 2.0 * noise + rounding,
                "{spec:?}: {difference} of {length}"
            );
        }
    }
}

#[test]
fn no_example_moves_the_sum_by_more_than_the_clipping_norm() {
    for spec in covered_models() {
        let at = init_parameters(&spec, 3);
        for scale in [1e-3, 1.0, 1e6, 1e30] {
            let features: Vec<f32> = noise_features(&spec, 1).iter().map(|x| x * scale).collect();
            let data = Dataset::new(features, spec.input(), Targets::Classes(vec![2])).unwrap();
            let sum: Vec<f32> =
                quiet_step(&spec, &at, &data, 0.5).iter().map(|&x| x as f32).collect();
            assert!(norm(&sum) <= 0.5, "{} at {scale}", norm(&sum));
        }
    }
    for spec in token_models() {
        for scale in [1e-3, 1.0, 1e3] {
            let at: Vec<f32> = init_parameters(&spec, 3).iter().map(|x| x * scale).collect();
            let sum: Vec<f32> = quiet_step(&spec, &at, &some_data(&spec, 1), 0.5)
                .iter()
                .map(|&x| x as f32)
                .collect();
            // The parameters themselves are rounded to single precision.
            let rounding = 1e-7 * norm(&at);
            assert!(norm(&sum) <= 0.5 + rounding, "{} at {scale}", norm(&sum));
        }
    }
}

#[test]
fn an_example_that_overflows_counts_as_zero() {
    let blocks = models_of_blocks()
        .into_iter()
        .filter(|spec| spec.input() != Shape::Tokens { positions: 5, vocabulary: 6 });
    for spec in covered_models().into_iter().take(2).chain(blocks) {
        // Tanh would hide the overflow.
        let relu = |layer: &Layer| {
            if *layer == Layer::Tanh(Tanh) { Layer::Relu(Relu) } else { layer.clone() }
        };
        let layers = spec.layers().iter().map(relu).collect();
        let spec = ModelSpec::new(&spec.input().dims(), layers, spec.loss()).unwrap();
        let data = noise_data(&spec, 4);
        let width = spec.input().len();
        let mut features = noise_features(&spec, 4);
        features[width..2 * width].iter_mut().for_each(|x| *x = f32::MAX);
        let classes = Targets::Classes(vec![0, 1, 1, 0]);
        let spoiled = Dataset::new(features, spec.input(), classes).unwrap();
        let at = init_parameters(&spec, 3);
        let gradient = gradient(&spec, &at, &spoiled, &[1]).unwrap();
        assert!(!gradient.iter().map(|g| g * g).sum::<f32>().is_finite());
        let expected = quiet_step(&spec, &at, &data.select(&[0, 2, 3]), 0.5);
        let actual = quiet_step(&spec, &at, &spoiled, 0.5);
        let gap = actual.iter().zip(&expected).map(|(a, e)| (a - e).abs()).fold(0.0, f64::max);
        assert!(gap < 1e-5, "{gap}");
    }
}

#[test]
fn the_noise_has_the_promised_deviation_and_comes_from_the_secret() {
    let layers = vec![Layer::Linear(Linear { outputs: 200 }), Layer::Linear(Linear { outputs: 3 })];
    let spec = ModelSpec::new(&[100], layers, Loss::SoftmaxCrossEntropy).unwrap();
    let data = noise_data(&spec, 8);
    let start = vec![0.0; spec.parameters()];
    let after = |noise, secret, seed| {
        let plan = plan(1, 8, 1.0).with_seed(seed);
        let trainer = private_training(&spec, &start, &data, &plan, privacy(0.5, noise), secret);
        trainer.parameters().unwrap()
    };
    for z in [0.25, 3.0] {
        let (first, second) = (after(z, 1, 5), after(z, 2, 5));
        // The gradient is the same in both; two noises remain, each over B = 8.
        let deviation = z * 0.5 / 8.0 * 2f64.sqrt();
        let noise: Vec<f64> =
            first.iter().zip(&second).map(|(a, b)| f64::from(a - b) / deviation).collect();
        let count = noise.len() as f64;
        let variance = noise.iter().map(|x| x * x).sum::<f64>() / count;
        let mean = noise.iter().sum::<f64>() / count;
        let within = noise.iter().filter(|x| x.abs() < 1.0).count() as f64 / count;
        // 20,803 values: five standard errors.
        assert!((variance - 1.0).abs() < 5.0 * (2.0 / count).sqrt(), "{variance}");
        assert!(mean.abs() < 5.0 / count.sqrt(), "{mean}");
        assert!((within - 0.6827).abs() < 5.0 * (0.22 / count).sqrt(), "{within}");
        assert_eq!(first, after(z, 1, 6), "the task's seed, known to the server, plays no part");
    }
}

#[test]
fn samples_are_poisson() {
    let spec = &covered_models()[0];
    let (examples, expected, draws) = (50u32, 10u32, 4000);
    let mut steps =
        PrivateSteps::new(spec, privacy(1.0, 1.0), [7; 32], examples as usize, expected).unwrap();
    let samples: Vec<Vec<u32>> = (0..draws).map(|_| steps.sample()).collect();
    let count = |inside: &dyn Fn(&Vec<u32>) -> bool| {
        samples.iter().filter(|sample| inside(sample)).count() as f64 / f64::from(draws)
    };
    // Within five standard errors of q, and of q squared for both of two.
    let error = |p: f64| 5.0 * (p * (1.0 - p) / f64::from(draws)).sqrt();
    for i in 0..examples {
        let one = count(&|sample| sample.contains(&i));
        assert!((one - 0.2).abs() < error(0.2), "{i}: {one}");
        let both = count(&|sample| sample.contains(&i) && sample.contains(&((i + 1) % examples)));
        assert!((both - 0.04).abs() < error(0.04), "{i}: {both}");
    }
    // Sizes are binomial: variance n q (1 - q) = 8.
    let sizes: Vec<f64> = samples.iter().map(|sample| sample.len() as f64).collect();
    let variance = sizes.iter().map(|size| (size - 10.0).powi(2)).sum::<f64>() / sizes.len() as f64;
    assert!((variance - 8.0).abs() < 5.0 * 8.0 * (2.0 / f64::from(draws)).sqrt(), "{variance}");
}

#[test]
fn a_batch_of_everything_samples_everything_and_empty_batches_are_steps() {
    let spec = &covered_models()[0];
    let data = Arc::new(noise_data(spec, 3));
    let start = init_parameters(spec, 1);
    let trainer = |batch| {
        LocalTrainer::with_example_privacy(
            spec,
            &start,
            data.clone(),
            &plan(20, batch, 0.1),
            privacy(1.0, 1.0),
            [3; 32],
        )
        .unwrap()
    };
    let mut all = trainer(100);
    assert_eq!(std::iter::from_fn(|| all.step()).collect::<Vec<_>>(), [3; 20]);
    let mut some = trainer(1);
    let sizes: Vec<usize> = std::iter::from_fn(|| some.step()).collect();
    assert_eq!(sizes.len(), 60);
    assert!(sizes.contains(&0) && sizes.contains(&1), "{sizes:?}");
    assert!(some.loss().is_finite());
}

#[test]
fn the_cost_is_the_accountants() {
    // shared known answers: q, z, steps, delta, epsilon at integer orders.
    for (examples, batch, z, steps, delta, epsilon) in [
        (100, 1, 1.0, 1000, 1e-5, 2.107753),
        (100, 1, 4.0, 10_000, 1e-5, 1.035490),
        (60_000, 250, 1.1, 14_400, 1e-5, 2.562960),
        (3_400, 100, 1.0, 1500, 1.0 / 3400.0, 6.712565),
        (1, 1, 5.0, 20, 1e-5, 4.161912),
    ] {
        let delta = Delta::new(delta).unwrap();
        let privacy = ExamplePrivacy { delta, ..privacy(1.0, z) };
        let actual = privacy.cost(examples, batch, steps).epsilon().value();
        assert!((actual / epsilon - 1.0).abs() < 1e-3, "{actual} is not {epsilon}");
    }
}

#[test]
fn a_trainer_pays_for_the_steps_it_took_and_rounds_add_up() {
    let spec = &covered_models()[0];
    let data = Arc::new(noise_data(spec, 20));
    let start = init_parameters(spec, 1);
    let privacy = privacy(1.0, 2.0);
    let new = || {
        let plan = changed(3, 5, 0.1, |raw| raw.max_examples = 10);
        LocalTrainer::with_example_privacy(spec, &start, data.clone(), &plan, privacy, [1; 32])
            .unwrap()
    };
    let (mut first, mut second) = (new(), new());
    let cost =
        |trainer: &LocalTrainer| privacy.cost(trainer.examples(), 5, trainer.step_count() as u32);
    assert_eq!((cost(&first).steps(), cost(&first)), (0, privacy.cost(10, 5, 0)));
    first.step();
    assert_eq!(cost(&first), privacy.cost(10, 5, 1));
    while first.step().is_some() {}
    while second.step().is_some() {}
    let both = cost(&first).and(&cost(&second));
    assert_eq!((both.steps(), both.delta()), (12, privacy.delta));
    let twelve = privacy.cost(10, 5, 12).epsilon().value();
    assert!((both.epsilon().value() - twelve).abs() < 1e-9);
    let plain = LocalTrainer::new(spec, &start, data, &plan(1, 5, 0.1)).unwrap();
    assert!(first.has_example_privacy() && !plain.has_example_privacy());
}

#[test]
fn what_the_method_does_not_cover_is_refused() {
    let new = |spec: &ModelSpec, noise| {
        let data = Arc::new(noise_data(spec, 3));
        let start = init_parameters(spec, 1);
        let (plan, privacy) = (plan(1, 2, 0.1), privacy(1.0, noise));
        LocalTrainer::with_example_privacy(spec, &start, data, &plan, privacy, [1; 32]).err()
    };
    let layers = vec![
        Layer::Linear(Linear { outputs: 4 }),
        Layer::LayerNorm(LayerNorm { epsilon: 1e-5 }),
        Layer::Linear(Linear { outputs: 3 }),
    ];
    let normed = ModelSpec::new(&[5], layers, Loss::SoftmaxCrossEntropy).unwrap();
    let refused = LearningError::ExamplePrivacyLayer { index: 1, layer: "layer_norm" };
    assert_eq!(new(&normed, 1.0), Some(refused));
    let small = &covered_models()[0];
    assert_eq!(new(small, 4000.0), None);
    let Some(LearningError::ExamplePrivacyNoise { most, .. }) = new(small, 9000.0) else {
        panic!("too much noise for the grid was accepted");
    };
    assert_eq!(new(small, most * 0.999), None);
}

#[test]
fn private_training_learns() {
    let layers = vec![
        Layer::Linear(Linear { outputs: 8 }),
        Layer::Tanh(Tanh),
        Layer::Dropout(Dropout { probability: 0.1 }),
        Layer::Linear(Linear { outputs: 2 }),
    ];
    let spec = ModelSpec::new(&[2], layers, Loss::SoftmaxCrossEntropy).unwrap();
    let features: Vec<f32> = (0..1200).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
    let classes = features.chunks(2).map(|x| u32::from(x[0] + x[1] > 0.2)).collect();
    let data = Dataset::new(features, Shape::Features(2), Targets::Classes(classes)).unwrap();
    let plan = changed(10, 60, 0.5, |raw| {
        raw.momentum = 0.5;
        raw.weight_decay = 1e-4;
    });
    let start = init_parameters(&spec, 1);
    let trainer = private_training(&spec, &start, &data, &plan, privacy(1.0, 1.0), 4);
    let trained = trainer.parameters().unwrap();
    let result = evaluate(&spec, &trained, &data, 1).unwrap();
    assert!(result.quality.accuracy.unwrap() > 0.9, "{result:?}");
    let steps = trainer.step_count() as u32;
    let epsilon = privacy(1.0, 1.0).cost(trainer.examples(), 60, steps).epsilon().value();
    assert!((1.0..10.0).contains(&epsilon), "{epsilon}");
}
