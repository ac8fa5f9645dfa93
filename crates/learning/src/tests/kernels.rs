//! Our kernels beside burn's own operations, on models drawn at random and on the built-in
//! ones.

use std::sync::Arc;

use burn::nn::pool::{AvgPool2dConfig, MaxPool2dConfig};
use burn::optim::GradientsParams;
use burn::tensor::activation::log_softmax;
use burn::tensor::module::{conv2d, layer_norm, linear};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Int, Tensor, TensorData};
use fedra_data::Dataset;
use fedra_protocol::layers::{
    AvgPool2d, CausalSelfAttention, Conv2d, Embedding, Flatten, Gelu, Gru, LayerNorm, Linear, Lstm,
    MaxPool2d, PositionEmbedding, Relu, Tanh, TransformerBlock,
};
use fedra_protocol::{Layer, Loss, ModelSpec};
use proptest::prelude::*;

use super::{changed, plan, some_data};
use crate::device;
use crate::layers::{Activation, Mode, NetworkLayer};
use crate::loss::loss_sum;
use crate::network::{Network, read};
use crate::{LocalTrainer, init_parameters};

/// Outputs, loss and gradient of a batch.
struct Pass {
    outputs: Vec<f32>,
    loss: f32,
    gradient: Vec<f32>,
}

#[derive(Clone, Copy, PartialEq)]
enum Path {
    Kernels,
    Burn,
}

fn pass(spec: &ModelSpec, parameters: &[f32], data: &Dataset, path: Path) -> Pass {
    let device = device::training();
    let network = Network::new(spec, parameters.into(), &device).unwrap();
    let all: Vec<u32> = (0..data.len() as u32).collect();
    let input = Activation::new(data.features_of(&all), spec.input(), &device);
    let rows = data.len() * spec.output_positions();
    let targets = data.dense_targets_of(&all, spec);
    let targets = crate::layers::tensor(targets, &[rows, spec.output_width()], &device);
    let outputs = match path {
        Path::Kernels => network.forward(input, Mode::Inference),
        Path::Burn => network.layers().iter().fold(input, by_burn).rows(),
    };
    let values = read(outputs.clone().inner());
    let loss = match path {
        Path::Kernels => loss_sum(spec, outputs, targets),
        Path::Burn => burn_loss_sum(spec, outputs, targets),
    };
    let gradients = GradientsParams::from_grads(loss.backward(), &network);
    let gradient = network.gradient(&gradients);
    let loss = read(loss.inner())[0];
    Pass { outputs: values, loss, gradient }
}

/// A layer by burn's operations alone.
fn by_burn(input: Activation, layer: &NetworkLayer) -> Activation {
    match (layer, input) {
        (NetworkLayer::Conv2d(conv), input) => {
            let options = ConvOptions::new([conv.stride; 2], [conv.padding; 2], [1; 2], 1);
            let (weight, bias) = (conv.weight.val(), conv.bias.val());
            Activation::Image(conv2d(input.image(), weight, Some(bias), options))
        }
        (NetworkLayer::Linear(layer), Activation::Sequence(x)) => {
            Activation::Sequence(linear(x, layer.weight.val(), Some(layer.bias.val())))
        }
        (NetworkLayer::Linear(layer), input) => {
            let (weight, bias) = (layer.weight.val(), layer.bias.val());
            Activation::Features(linear(input.flatten(), weight, Some(bias)))
        }
        (NetworkLayer::MaxPool2d(pool), input) => {
            let burn = MaxPool2dConfig::new([pool.kernel; 2]).with_strides([pool.stride; 2]);
            Activation::Image(burn.init().forward(input.image()))
        }
        (NetworkLayer::AvgPool2d(pool), input) => {
            let burn = AvgPool2dConfig::new([pool.kernel; 2]).with_strides([pool.stride; 2]);
            Activation::Image(burn.init().forward(input.image()))
        }
        (NetworkLayer::Embedding(table), Activation::Tokens(tokens)) => {
            let ids: Vec<i32> = tokens.ids.iter().map(|&id| id as i32).collect();
            let batch = ids.len() / tokens.positions;
            let ids = TensorData::new(ids, [batch, tokens.positions]);
            let ids = Tensor::<2, Int>::from_data(ids, &table.weight.device());
            Activation::Sequence(table.forward(ids))
        }
        (NetworkLayer::LayerNorm(norm), Activation::Sequence(x)) => {
            let (gamma, beta, epsilon) = (norm.gamma.val(), norm.beta.val(), norm.epsilon.into());
            Activation::Sequence(layer_norm(x, gamma, Some(beta), epsilon))
        }
        (NetworkLayer::Gelu(gelu), Activation::Sequence(x)) => {
            Activation::Sequence(gelu.forward(x))
        }
        (layer, input) => layer.apply(input, &mut Mode::Inference),
    }
}

/// The loss by burn's operations alone.
fn burn_loss_sum(spec: &ModelSpec, outputs: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let sum = match spec.loss() {
        // With one-hot targets this is burn's cross-entropy without its gather and scatter.
        Loss::SoftmaxCrossEntropy => (log_softmax(outputs, 1) * targets).sum().neg(),
        _ => return loss_sum(spec, outputs, targets),
    };
    sum.div_scalar(spec.output_positions() as f32)
}

/// Largest difference over the largest magnitude of the reference.
fn relative_error(actual: &[f32], reference: &[f32]) -> f32 {
    assert_eq!(actual.len(), reference.len());
    let largest = reference.iter().fold(1e-6f32, |most, x| most.max(x.abs()));
    let difference = actual.iter().zip(reference).map(|(a, r)| (a - r).abs() / largest);
    difference.fold(0.0, |most, x| if x.is_nan() { f32::INFINITY } else { most.max(x) })
}

fn assert_same(spec: &ModelSpec, examples: usize) {
    let data = some_data(spec, examples);
    let parameters = init_parameters(spec, 11);
    let own = pass(spec, &parameters, &data, Path::Kernels);
    let burn = pass(spec, &parameters, &data, Path::Burn);
    assert!(burn.gradient.iter().any(|&x| x != 0.0));
    let errors = [
        relative_error(&own.outputs, &burn.outputs),
        relative_error(&[own.loss], &[burn.loss]),
        relative_error(&own.gradient, &burn.gradient),
    ];
    assert!(errors.iter().all(|&error| error < 1e-5), "{errors:?} {spec:?}");
}

/// A convolution and what follows it, in every order that is fused and some that are not.
fn convolutions() -> impl Strategy<Value = Vec<Layer>> {
    let layer =
        (1u32..20, 1u32..5, 1u32..3, 0u32..4).prop_map(|(channels, kernel, stride, padding)| {
            Layer::Conv2d(Conv2d { channels, kernel, stride, padding: padding.min(kernel - 1) })
        });
    let pool = (1u32..4, 1u32..4).prop_map(|(kernel, stride)| {
        (Layer::MaxPool2d(MaxPool2d { kernel, stride }), AvgPool2d { kernel, stride }.into())
    });
    (layer, pool, 0usize..7).prop_map(|(conv, (pool, mean), order)| {
        let relu = Layer::Relu(Relu);
        match order {
            0 => vec![conv],
            1 => vec![conv, relu],
            2 => vec![conv, pool],
            3 => vec![conv, relu, pool],
            4 => vec![conv, pool, relu],
            5 => vec![conv, mean, relu],
            _ => vec![conv, Layer::Tanh(Tanh), pool, relu],
        }
    })
}

fn models() -> impl Strategy<Value = Option<ModelSpec>> {
    let sides = (1u32..4, 6u32..14, 6u32..14);
    (sides, convolutions(), convolutions(), 1u32..40, 2u32..12).prop_map(
        |((channels, height, width), first, second, hidden, outputs)| {
            let mut layers = first;
            layers.extend(second);
            layers.push(Layer::Flatten(Flatten));
            layers.push(Layer::Linear(Linear { outputs: hidden }));
            layers.push(Layer::Relu(Relu));
            layers.push(Layer::Linear(Linear { outputs }));
            // A kernel or a window may be larger than what the layers before have left.
            ModelSpec::new(&[channels, height, width], layers, Loss::SoftmaxCrossEntropy).ok()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn models_at_random_are_the_same_on_our_kernels(
        spec in models().prop_filter_map("layers that fit", |spec| spec),
        examples in 1usize..6,
    ) {
        assert_same(&spec, examples);
    }
}

#[test]
fn built_in_models_are_the_same_on_our_kernels() {
    for name in ["mnist-2nn", "mnist-cnn", "softmax-regression"] {
        let spec = ModelSpec::builtin(name).unwrap();
        for examples in [1, 7, 10] {
            assert_same(&spec, examples);
        }
    }
}

/// Momentum and weight decay too: the update is ours, the reference burn's optimiser.
#[test]
fn steps_of_training_are_those_of_burns_optimiser() {
    let spec = ModelSpec::builtin("softmax-regression").unwrap();
    let data = Arc::new(some_data(&spec, 24));
    let start = init_parameters(&spec, 2);
    let momentum = changed(2, 5, 0.1, |raw| {
        raw.momentum = 0.9;
        raw.weight_decay = 0.01;
    });
    for plan in [plan(2, 5, 0.1), momentum] {
        let mut own = LocalTrainer::new(&spec, &start, data.clone(), &plan).unwrap();
        let mut burn = LocalTrainer::new(&spec, &start, data.clone(), &plan).unwrap();
        burn.use_burns_optimizer();
        while own.step().is_some() {
            burn.step().unwrap();
        }
        assert_eq!(burn.step(), None);
        let own = own.parameters().unwrap();
        assert_eq!(own, burn.parameters().unwrap());
        assert_ne!(own, start);
    }
}

#[test]
fn models_of_token_ids_are_the_same_on_our_kernels() {
    let layers = vec![
        Embedding { width: 5 }.into(),
        LayerNorm { epsilon: 1e-5 }.into(),
        Linear { outputs: 6 }.into(),
        Relu.into(),
        Linear { outputs: 9 }.into(),
        Gelu.into(),
        Linear { outputs: 4 }.into(),
    ];
    let spec = ModelSpec::of_tokens(7, 11, layers, Loss::SoftmaxCrossEntropy).unwrap();
    assert_same(&spec, 6);
}

/// The network takes gradients of linear layers as factors, of which each step is to be the
/// same as by the whole gradients.
#[test]
fn steps_of_layers_with_memory_are_those_of_burns_optimiser() {
    let layers = vec![
        Embedding { width: 6 }.into(),
        PositionEmbedding.into(),
        TransformerBlock { heads: 2, hidden: None }.into(),
        CausalSelfAttention { heads: 3 }.into(),
        Gru { units: 5 }.into(),
        Lstm { units: 4 }.into(),
        Linear { outputs: 4 }.into(),
    ];
    let spec = ModelSpec::of_tokens(7, 11, layers, Loss::SoftmaxCrossEntropy).unwrap();
    let data = Arc::new(some_data(&spec, 9));
    let start = init_parameters(&spec, 2);
    let plan = plan(2, 3, 0.1);
    let mut own = LocalTrainer::new(&spec, &start, data.clone(), &plan).unwrap();
    let mut burn = LocalTrainer::new(&spec, &start, data, &plan).unwrap();
    burn.use_burns_optimizer();
    while own.step().is_some() {
        burn.step().unwrap();
    }
    let (own, burn) = (own.parameters().unwrap(), burn.parameters().unwrap());
    assert!(relative_error(&own, &burn) < 1e-6);
    // All but the vectors of tokens that are not there, and the biases of keys, which change
    // no softmax.
    let still = own.iter().zip(&start).filter(|(own, start)| own == start).count();
    assert!(still <= 11 * 6 + 2 * 6, "{still} of {}", own.len());
}

#[test]
fn a_model_that_diverges_is_seen_to_diverge() {
    for name in ["mnist-2nn", "mnist-cnn"] {
        let spec = ModelSpec::builtin(name).unwrap();
        let data = Arc::new(some_data(&spec, 10));
        let start = init_parameters(&spec, 2);
        let plan = plan(8, 5, 1e30);
        let mut trainer = LocalTrainer::new(&spec, &start, data, &plan).unwrap();
        while trainer.step().is_some() {}
        let trained = trainer.parameters();
        assert_eq!(trained, Err(crate::LearningError::Diverged), "{name}");
    }
}
