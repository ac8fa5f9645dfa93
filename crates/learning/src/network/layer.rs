//! One layer: what it makes of a batch, and which tensors of it are trained.

use burn::module::{Module, Param};
use burn::nn::conv::Conv2d;
use burn::nn::pool::{AvgPool2d, MaxPool2d};
use burn::nn::{Gelu, LayerNorm, Linear, Relu, Sigmoid, Tanh};
use burn::tensor::Tensor;
use rand::Rng;

use super::fixed::{Abs, GaussianDerivative, Standardize};
use super::readback::TrainedTensor;
use super::{Mode, tensor};
use crate::parameters::unit;

#[derive(Module, Debug)]
pub(super) enum NetworkLayer {
    Linear(Linear),
    Conv2d(Conv2d),
    LayerNorm(LayerNorm),
    MaxPool2d(MaxPool2d),
    AvgPool2d(AvgPool2d),
    Relu(Relu),
    Tanh(Tanh),
    Gelu(Gelu),
    Sigmoid(Sigmoid),
    Flatten(Flatten),
    Dropout(Dropout),
    Abs(Abs),
    Standardize(Standardize),
    GaussianDerivative(GaussianDerivative),
}

#[derive(Module, Debug)]
pub(super) struct Flatten {}

/// Dropout whose mask comes from a seeded generator of ours: burn's draws from
/// one generator a process, which clients of a swarm would share.
#[derive(Module, Debug)]
pub(super) struct Dropout {
    pub probability: f32,
}

/// What flows between layers: the rank is burn's compile-time business.
#[derive(Clone)]
pub(super) enum Activation {
    Features(Tensor<2>),
    Image(Tensor<4>),
}

impl NetworkLayer {
    pub fn forward(&self, input: Activation, mode: &mut Mode<'_>) -> Activation {
        match self {
            Self::Linear(linear) => Activation::Features(linear.forward(input.flatten())),
            Self::LayerNorm(norm) => Activation::Features(norm.forward(input.flatten())),
            Self::Conv2d(conv) => Activation::Image(conv.forward(input.image())),
            Self::MaxPool2d(pool) => Activation::Image(pool.forward(input.image())),
            Self::AvgPool2d(pool) => Activation::Image(pool.forward(input.image())),
            Self::GaussianDerivative(filters) => Activation::Image(filters.forward(input.image())),
            Self::Relu(relu) => input.map(|x| relu.forward(x), |x| relu.forward(x)),
            Self::Tanh(tanh) => input.map(|x| tanh.forward(x), |x| tanh.forward(x)),
            Self::Gelu(gelu) => input.map(|x| gelu.forward(x), |x| gelu.forward(x)),
            Self::Sigmoid(sigmoid) => input.map(|x| sigmoid.forward(x), |x| sigmoid.forward(x)),
            Self::Abs(_) => input.map(Tensor::abs, Tensor::abs),
            Self::Standardize(layer) => input.map(|x| layer.forward(x), |x| layer.forward(x)),
            Self::Flatten(_) => Activation::Features(input.flatten()),
            Self::Dropout(dropout) => match mode {
                Mode::Inference => input,
                Mode::Training(rng) => dropout.apply(input, *rng),
            },
        }
    }

    /// The trainable tensors in the order of the layout.
    pub fn trained(&self) -> Vec<TrainedTensor> {
        fn pair<const D: usize>(
            weight: &Param<Tensor<D>>,
            bias: &Option<Param<Tensor<1>>>,
            wrap: fn(Tensor<D>) -> TrainedTensor,
        ) -> Vec<TrainedTensor> {
            let bias = bias.iter().map(|bias| TrainedTensor::Rank1(bias.val()));
            std::iter::once(wrap(weight.val())).chain(bias).collect()
        }
        match self {
            Self::Linear(linear) => pair(&linear.weight, &linear.bias, TrainedTensor::Rank2),
            Self::Conv2d(conv) => pair(&conv.weight, &conv.bias, TrainedTensor::Rank4),
            Self::LayerNorm(norm) => pair(&norm.gamma, &norm.beta, TrainedTensor::Rank1),
            _ => Vec::new(),
        }
    }
}

impl Activation {
    pub fn flatten(self) -> Tensor<2> {
        match self {
            Self::Features(x) => x,
            Self::Image(x) => x.flatten(1, 3),
        }
    }

    pub fn image(self) -> Tensor<4> {
        match self {
            Self::Image(x) => x,
            Self::Features(_) => unreachable!("a checked specification feeds images to this layer"),
        }
    }

    /// The same function at either rank.
    fn map(
        self,
        features: impl FnOnce(Tensor<2>) -> Tensor<2>,
        image: impl FnOnce(Tensor<4>) -> Tensor<4>,
    ) -> Self {
        match self {
            Self::Features(x) => Self::Features(features(x)),
            Self::Image(x) => Self::Image(image(x)),
        }
    }
}

impl Dropout {
    fn apply(&self, input: Activation, rng: &mut dyn Rng) -> Activation {
        match input {
            Activation::Features(x) => Activation::Features(self.masked(x, rng)),
            Activation::Image(x) => Activation::Image(self.masked(x, rng)),
        }
    }

    fn masked<const D: usize>(&self, x: Tensor<D>, rng: &mut dyn Rng) -> Tensor<D> {
        let scale = 1.0 / (1.0 - self.probability);
        let dims = x.dims();
        let mask = (0..dims.iter().product())
            .map(|_| if unit(rng) < self.probability { 0.0 } else { scale })
            .collect();
        let mask = tensor(mask, &dims, &x.device());
        x * mask
    }
}
