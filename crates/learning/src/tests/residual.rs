//! Residual blocks: the sum of two branches, their gradients, names and privacy, and what
//! they learn.

use std::sync::Arc;

use fedra_data::{Dataset, Targets};
use fedra_protocol::layers::{
    Abs, Conv2d, Dropout, Embedding, Flatten, GaussianDerivative, GlobalAvgPool, GroupNorm,
    LayerNorm, Linear, MaxPool2d, Relu, Residual, Silu, Tanh,
};
use fedra_protocol::{Layer, Loss, ModelSpec, Shape};

use super::example_privacy::privacy;
use super::predict::outputs;
use super::{changed, check_gradient, close, plan, some_data, train};
use crate::{LearningError, LocalTrainer, evaluate, init_parameters, prepared, safetensors};

fn linear(outputs: u32) -> Layer {
    Linear { outputs }.into()
}

fn conv(channels: u32, kernel: u32, stride: u32) -> Layer {
    Conv2d { channels, kernel, stride, padding: kernel / 2 }.into()
}

fn norm(groups: u32) -> Layer {
    GroupNorm { groups, epsilon: 1e-3 }.into()
}

fn residual(layers: Vec<Layer>, shortcut: Vec<Layer>) -> Layer {
    Residual { layers, shortcut }.into()
}

/// A block of a ResNet: two convolutions, with a shortcut where the shape changes.
pub(super) fn block(channels: u32, stride: u32, shortcut: Vec<Layer>) -> Layer {
    let layers =
        vec![conv(channels, 3, stride), norm(2), Relu.into(), conv(channels, 3, 1), norm(2)];
    residual(layers, shortcut)
}

/// A small ResNet for images of 8 x 8 pixels.
pub(super) fn small_resnet(classes: u32) -> ModelSpec {
    let layers = vec![
        conv(4, 3, 1),
        norm(2),
        Relu.into(),
        block(4, 1, vec![]),
        Relu.into(),
        block(6, 2, vec![conv(6, 1, 2), norm(2)]),
        Relu.into(),
        GlobalAvgPool.into(),
        linear(classes),
    ];
    ModelSpec::new(&[1, 8, 8], layers, Loss::SoftmaxCrossEntropy).unwrap()
}

#[test]
fn gradients_match_finite_differences() {
    let image = |layers: Vec<Layer>| {
        let layers = [layers, vec![Flatten.into(), linear(4)]].concat();
        ModelSpec::new(&[2, 6, 6], layers, Loss::SoftmaxCrossEntropy).unwrap()
    };
    // Linear layers and convolutions before a ReLU are fused inside of a block too.
    let fused =
        vec![conv(3, 3, 1), Silu.into(), residual(vec![conv(3, 3, 1), Relu.into()], vec![])];
    let strided = residual(
        vec![conv(4, 3, 2), norm(2), Silu.into(), conv(4, 3, 1)],
        vec![conv(4, 1, 2), norm(1)],
    );
    let inner = residual(vec![conv(3, 1, 1), Tanh.into()], vec![]);
    let nested = residual(vec![conv(3, 3, 1), Silu.into(), inner], vec![conv(3, 1, 1)]);
    for layers in [fused, vec![strided], vec![nested, Silu.into()]] {
        check_gradient(&image(layers));
    }
    let dense =
        vec![linear(5), residual(vec![linear(7), Tanh.into(), linear(5)], vec![]), linear(4)];
    check_gradient(&ModelSpec::new(&[3], dense, Loss::SoftmaxCrossEntropy).unwrap());
    let tokens = vec![
        Embedding { width: 6 }.into(),
        residual(vec![LayerNorm { epsilon: 1e-3 }.into(), linear(6), Silu.into()], vec![]),
        residual(vec![linear(4)], vec![linear(4), Tanh.into()]),
    ];
    check_gradient(&ModelSpec::of_tokens(5, 4, tokens, Loss::SoftmaxCrossEntropy).unwrap());
}

#[test]
fn a_block_is_the_sum_of_its_branches() {
    let loss = Loss::MeanSquaredError;
    let branch = vec![linear(4), Tanh.into(), linear(3)];
    let shortcut = vec![linear(3)];
    let alone = |layers: &[Layer]| ModelSpec::new(&[3], layers.to_vec(), loss).unwrap();
    let of = |shortcut| alone(&[residual(branch.clone(), shortcut)]);
    let x = vec![0.5, -1.0, 2.0, 1.0, 0.0, -3.0];
    let both = of(shortcut.clone());
    let parameters = init_parameters(&both, 5);
    let (f, g) = parameters.split_at(alone(&branch).parameters());
    let sum = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<_>>();
    let f_of_x = outputs(&alone(&branch), f, x.clone());
    let g_of_x = outputs(&alone(&shortcut), g, x.clone());
    close(&outputs(&both, &parameters, x.clone()), &sum(&f_of_x, &g_of_x));
    close(&outputs(&of(vec![]), f, x.clone()), &sum(&f_of_x, &x));
}

#[test]
fn a_model_file_has_the_names_of_nested_layers() {
    let spec = small_resnet(3);
    let parameters = init_parameters(&spec, 2);
    let file = safetensors::write(&spec, &parameters).unwrap();
    let header = String::from_utf8_lossy(&file);
    for name in ["layers.3.0.weight", "layers.5.3.bias", "layers.5.shortcut.1.gamma"] {
        assert!(header.contains(&format!("\"{name}\"")), "{name}");
    }
    assert_eq!(super::read_model(&file).unwrap(), (spec, parameters));
}

#[test]
fn leading_fixed_blocks_are_computed_once() {
    let edges = GaussianDerivative { orientations: 2, kernel: 3, sigma: 0.8 };
    let fixed = residual(vec![edges.into(), Abs.into()], vec![edges.into()]);
    let layers = vec![fixed, Flatten.into(), linear(3)];
    let spec = ModelSpec::new(&[1, 5, 5], layers, Loss::SoftmaxCrossEntropy).unwrap();
    assert_eq!(spec.fixed_layers(), 2);
    let data = Arc::new(some_data(&spec, 4));
    let prepared = prepared(&spec, &data).unwrap().unwrap();
    let filtered = |layers: Vec<Layer>| {
        let layers = [layers, vec![Flatten.into(), linear(3)]].concat();
        let spec = ModelSpec::new(&[1, 5, 5], layers, Loss::SoftmaxCrossEntropy).unwrap();
        crate::prepared(&spec, &data).unwrap().unwrap()
    };
    let (edges, strength) =
        (filtered(vec![edges.into()]), filtered(vec![edges.into(), Abs.into()]));
    let sum: Vec<f32> = edges.iter().zip(strength).map(|(a, b)| a + b).collect();
    close(&prepared, &sum);
}

#[test]
fn dropout_in_a_block_acts_in_training_alone() {
    let drop = residual(vec![Dropout { probability: 0.5 }.into()], vec![]);
    let spec = ModelSpec::new(&[8], vec![drop, linear(1)], Loss::MeanSquaredError).unwrap();
    let parameters = [&[1.0; 8][..], &[0.0]].concat();
    assert_eq!(outputs(&spec, &parameters, vec![1.0; 8]), [16.0]);
    let targets = Targets::Values { values: vec![0.0], width: 1 };
    let data = Arc::new(Dataset::new(vec![1.0; 8], spec.input(), targets).unwrap());
    let loss = |seed| {
        let plan = plan(1, 1, 0.1).with_seed(seed);
        let mut trainer = LocalTrainer::new(&spec, &parameters, data.clone(), &plan).unwrap();
        trainer.step();
        trainer.loss()
    };
    assert_eq!(loss(1), loss(1));
    assert!((0..8).any(|seed| loss(seed) != 256.0));
}

#[test]
fn example_privacy_names_the_layer_of_a_block_that_it_cannot_clip() {
    let inner = residual(vec![LayerNorm { epsilon: 1e-5 }.into()], vec![]);
    let layers = vec![linear(3), residual(vec![linear(3), inner], vec![])];
    let spec = ModelSpec::new(&[3], layers, Loss::SoftmaxCrossEntropy).unwrap();
    let data = Arc::new(some_data(&spec, 4));
    let start = init_parameters(&spec, 1);
    let plan = plan(1, 2, 0.1);
    let refused =
        LocalTrainer::with_example_privacy(&spec, &start, data, &plan, privacy(1.0, 1.0), [1; 32]);
    let expected = LearningError::ExamplePrivacyLayer { index: 1, layer: "layer_norm" };
    assert_eq!(refused.err(), Some(expected));
}

/// Images with a line across, down, or aslant, somewhere, in some noise.
fn lines(count: usize) -> Dataset {
    let noise = init_parameters(&ModelSpec::mnist_2nn(), 5);
    let mut features: Vec<f32> = noise[..count * 64].iter().map(|x| x * 4.0).collect();
    for (index, image) in features.chunks_mut(64).enumerate() {
        let (place, start) = (1 + index / 3 % 6, index / 18 % 3);
        for step in start..start + 5 {
            let (row, column) =
                [(place, step), (step, place), (step, (place + step) % 8)][index % 3];
            image[row * 8 + column] += 1.0;
        }
    }
    let classes = (0..count as u32).map(|index| index % 3).collect();
    let shape = Shape::from_dims(&[1, 8, 8]).unwrap();
    Dataset::new(features, shape, Targets::Classes(classes)).unwrap()
}

#[test]
fn a_small_resnet_learns_to_tell_lines_apart() {
    let spec = small_resnet(3);
    let (data, start) = (lines(108), init_parameters(&spec, 1));
    let plan = changed(25, 12, 0.1, |raw| raw.momentum = 0.9);
    let before = evaluate(&spec, &start, &data, 1).unwrap();
    let after = evaluate(&spec, &train(&spec, &start, &data, &plan), &data, 1).unwrap();
    assert!(before.quality.accuracy < Some(0.6), "{before:?}");
    assert!(after.quality.accuracy > Some(0.97) && after.quality.loss < 0.15, "{after:?}");
}

#[test]
fn pooling_in_a_block_is_like_pooling_outside_of_it() {
    let pool = || Layer::MaxPool2d(MaxPool2d { kernel: 2, stride: 2 });
    let end = || vec![Flatten.into(), linear(2)];
    let loss = Loss::SoftmaxCrossEntropy;
    let plain = vec![conv(3, 3, 1), Relu.into(), pool()];
    let inside = vec![residual(plain.clone(), vec![conv(3, 1, 2)])];
    let of =
        |layers: Vec<Layer>| ModelSpec::new(&[1, 6, 6], [layers, end()].concat(), loss).unwrap();
    let (plain, inside) = (of(plain), of(inside));
    // A shortcut of zeros adds nothing.
    let weights = init_parameters(&plain, 4);
    let (conv, last) = weights.split_at(3 * 9 + 3);
    let parameters = [conv, &[0.0; 6], last].concat();
    let x = some_data(&plain, 5).features_of(&[0, 1, 2, 3, 4]);
    close(&outputs(&inside, &parameters, x.clone()), &outputs(&plain, &weights, x));
}
