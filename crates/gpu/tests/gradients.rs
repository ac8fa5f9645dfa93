//! Gradients of every layer with a kernel, against double precision.

mod common;

use std::sync::Arc;

use common::{
    Random, examples, expected, gpu, gpu_with, parameters, relative_error, setup, training, wide,
};
use fedra_gpu::{Gpu, Limits, LimitsWanted, Plan, Preset};
use fedra_protocol::layers::{
    Abs, AvgPool2d, Conv2d, Dropout, Elu, Flatten, Gelu, LayerNorm, Linear, MaxPool2d, Relu,
    Sigmoid, Tanh,
};
use fedra_protocol::{Layer, Loss, ModelSpec};
use pollster::block_on;

/// Every layer trains with batches of these sizes, and with a shorter one at the end.
const BATCHES: [u32; 4] = [1, 7, 10, 32];
/// One of them, for more of a layer's settings: most of the time compiles kernels.
const ONE: [u32; 1] = [7];

/// Checks a whole batch of each size, and one that is shorter than the batch, with both
/// presets, on a device with the limits of its adapter.
///
/// Limits only refuse: a plan within the minimum has the same kernels, so that the gradients
/// hold for both.
fn check(gpu: &Gpu, spec: &ModelSpec, batches: &[u32], tolerance: f64) {
    let mut random = Random::new(7);
    let flat = parameters(spec, &mut random);
    for &batch in batches {
        let data = Arc::new(examples(spec, batch as usize + 3, &mut random));
        let mut trainers = Preset::ALL.map(|preset| {
            let setup = setup(spec, training(batch, 0.9, 0.1), preset);
            let plan = setup.plan(gpu).expect("a plan");
            let least = Plan::new(spec, 0, &setup.training, preset, &Limits::MINIMUM);
            let least = least.expect("a plan within the minimum");
            assert_eq!(plan.kernels(), least.kernels());
            assert_eq!(plan.buffers(), least.buffers());
            common::trainer(gpu, &setup, &flat, &data)
        });
        // Not the first rows, and not in order.
        let rows: Vec<u32> = (3..batch + 3).rev().collect();
        for rows in [&rows[..], &rows[..rows.len().div_ceil(2)]] {
            let (_, gradient) = expected(spec, &wide(&flat), &data, rows);
            for trainer in &mut trainers {
                let actual = block_on(trainer.gradient(rows)).expect("a gradient");
                let error = relative_error(&gradient, &actual);
                let context = format!("{:?}, {} of {batch} rows", trainer.preset(), rows.len());
                assert!(error <= tolerance, "{context}: gradient differs by {error:.1e}");
                assert_eq!(block_on(trainer.parameters()).expect("parameters"), flat, "{context}");
            }
        }
    }
}

fn spec(input: &[u32], layers: Vec<Layer>) -> ModelSpec {
    ModelSpec::new(input, layers, Loss::SoftmaxCrossEntropy).expect("a valid model")
}

fn conv(channels: u32, kernel: u32, stride: u32, padding: u32) -> Layer {
    Conv2d { channels, kernel, stride, padding }.into()
}

fn max_pool(kernel: u32, stride: u32) -> Layer {
    MaxPool2d { kernel, stride }.into()
}

fn linear(outputs: u32) -> Layer {
    Linear { outputs }.into()
}

#[test]
fn the_2nn_and_softmax_regression() {
    let gpu = gpu();
    check(&gpu, &ModelSpec::mnist_2nn(), &BATCHES, 1e-5);
    check(&gpu, &ModelSpec::softmax_regression(), &BATCHES, 1e-5);
}

#[test]
fn the_2nn_within_the_minimum_limits() {
    check(&gpu_with(LimitsWanted::Minimum), &ModelSpec::mnist_2nn(), &BATCHES, 1e-5);
}

#[test]
fn the_cnn() {
    check(&gpu(), &ModelSpec::mnist_cnn(), &BATCHES, 1e-5);
}

#[test]
fn convolutions_with_any_kernel_stride_and_padding() {
    let gpu = gpu();
    // Odd sizes, channels that fill no quad, data of 2 and of 6 channels; kernels whose taps
    // are written out and larger ones.
    for (batches, channels, kernel, stride, padding) in [
        (&ONE[..], 2, 1, 1, 0),
        (&BATCHES, 6, 3, 1, 1),
        (&ONE, 2, 3, 2, 0),
        (&ONE, 6, 4, 3, 2),
        (&ONE, 6, 5, 2, 4),
        (&ONE, 2, 9, 1, 3),
        (&ONE, 6, 8, 2, 7),
    ] {
        let layers = vec![
            conv(5, kernel, stride, padding),
            Tanh.into(),
            conv(6, kernel.min(3), stride, 1.min(kernel - 1)),
            Relu.into(),
            Flatten.into(),
            linear(3),
        ];
        check(&gpu, &spec(&[channels, 13, 11], layers), batches, 1e-4);
    }
}

#[test]
fn pooling_of_any_window() {
    let gpu = gpu();
    for (batches, kernel, stride) in
        [(&ONE[..], 2, 2), (&ONE, 3, 1), (&BATCHES, 3, 2), (&ONE, 2, 3), (&ONE, 1, 1)]
    {
        for pool in [max_pool(kernel, stride), AvgPool2d { kernel, stride }.into()] {
            // Behind a convolution, before one, and with layers in between.
            let layers = vec![
                conv(5, 3, 1, 1),
                Relu.into(),
                pool.clone(),
                Sigmoid.into(),
                conv(7, 2, 1, 1),
                pool,
                Relu.into(),
                Flatten.into(),
                linear(4),
            ];
            check(&gpu, &spec(&[1, 12, 15], layers), batches, 1e-4);
        }
    }
    let first = vec![max_pool(2, 2), conv(3, 3, 1, 0), max_pool(2, 2), Flatten.into(), linear(4)];
    check(&gpu, &spec(&[3, 13, 14], first), &ONE, 1e-4);
}

#[test]
fn element_wise_layers_everywhere() {
    let gpu = gpu();
    let pairs: [[Layer; 2]; 4] = [
        [Relu.into(), Tanh.into()],
        [Sigmoid.into(), Gelu.into()],
        [Abs.into(), Elu { alpha: 0.7 }.into()],
        [Dropout { probability: 0.4 }.into(), Relu.into()],
    ];
    for [one, other] in pairs {
        let (one, other) = (|| one.clone(), || other.clone());
        let dense = vec![one(), linear(9), other(), one(), linear(5), other()];
        check(&gpu, &spec(&[10], dense), &BATCHES, 1e-4);
        let image =
            vec![conv(5, 3, 1, 1), one(), max_pool(2, 2), other(), Flatten.into(), linear(40)];
        check(&gpu, &spec(&[2, 9, 9], image), &ONE, 1e-4);
        let image =
            vec![conv(5, 3, 1, 1), other(), max_pool(2, 2), one(), Flatten.into(), linear(40)];
        check(&gpu, &spec(&[2, 9, 9], image), &ONE, 1e-4);
    }
}

#[test]
fn layer_norm_over_features_and_flattened_images() {
    let gpu = gpu();
    let norm = || LayerNorm { epsilon: 1e-5 }.into();
    let dense = vec![norm(), linear(9), norm(), Relu.into(), linear(6), norm()];
    check(&gpu, &spec(&[10], dense), &BATCHES, 1e-4);
    let image = vec![conv(5, 3, 1, 0), Flatten.into(), norm(), Tanh.into(), linear(6)];
    check(&gpu, &spec(&[2, 9, 9], image), &BATCHES, 1e-4);
}

#[test]
fn squared_errors_with_few_and_many_outputs() {
    let gpu = gpu();
    for outputs in [1, 10, 70] {
        let layers = vec![linear(12), Relu.into(), linear(outputs)];
        let spec = ModelSpec::new(&[6], layers, Loss::MeanSquaredError).expect("a valid model");
        check(&gpu, &spec, &BATCHES, 1e-4);
    }
    // Outputs that are an image's values, whose channels fill no quad.
    let layers = vec![conv(3, 3, 1, 1), Sigmoid.into(), Flatten.into()];
    let spec = ModelSpec::new(&[2, 5, 5], layers.clone(), Loss::MeanSquaredError);
    check(&gpu, &spec.expect("a valid model"), &BATCHES, 1e-4);
    check(&gpu, &self::spec(&[2, 5, 5], layers), &BATCHES, 1e-4);
}

#[test]
fn many_classes() {
    check(&gpu(), &spec(&[20], vec![linear(30), Relu.into(), linear(75)]), &BATCHES, 1e-4);
}

/// The first of equal values takes the gradient, as on the CPU.
#[test]
fn ties_in_pooling_take_the_first_place() {
    let gpu = gpu();
    let fused = vec![conv(3, 1, 1, 0), max_pool(2, 2), Flatten.into(), linear(3)];
    let apart = vec![conv(3, 1, 1, 0), max_pool(3, 2), Flatten.into(), linear(3)];
    for layers in [fused, apart] {
        let spec = spec(&[2, 7, 7], layers);
        let mut random = Random::new(3);
        let flat = parameters(&spec, &mut random);
        let mut data = examples(&spec, 4, &mut random);
        // Few different values, so that most windows have the maximum more than once.
        let values = data.features.values().iter();
        data.features = Arc::new(values.map(|value| (value * 1.5).round()).collect::<Vec<f32>>());
        let data = Arc::new(data);
        let rows = [0, 1, 2, 3];
        let (_, gradient) = expected(&spec, &wide(&flat), &data, &rows);
        for preset in Preset::ALL {
            let mut trainer =
                common::trainer(&gpu, &setup(&spec, training(4, 0.0, 0.0), preset), &flat, &data);
            let actual = block_on(trainer.gradient(&rows)).expect("a gradient");
            let error = relative_error(&gradient, &actual);
            assert!(error < 1e-5, "{preset:?}: {error:.1e}");
        }
    }
}
