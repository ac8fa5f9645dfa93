//! Layers as burn modules, one file each: how a layer is built, what it makes of a batch,
//! the tensors that it trains and, if it can be clipped, its gradient of each example.
//!
//! Numbers, shapes and initialisation of a layer stand in `fedra_protocol::layers`.

mod activation;
mod example_gradient;
mod parameters;
mod recurrent;

mod abs;
mod avg_pool2d;
mod category_embedding;
mod causal_self_attention;
mod conv1d;
mod conv2d;
mod dropout;
mod elu;
mod embedding;
mod flatten;
mod gaussian_derivative;
mod gelu;
mod global_avg_pool;
mod global_max_pool;
mod group_norm;
mod gru;
mod last_step;
mod layer_norm;
mod leaky_relu;
mod linear;
mod lstm;
mod max_pool2d;
mod position_embedding;
mod relu;
mod residual;
mod sigmoid;
mod silu;
mod softplus;
mod standardize;
mod tanh;
mod transformer_block;

use burn::module::Module;
use burn::nn::{Embedding, Gelu, Relu, Sigmoid, Tanh};
use fedra_protocol::Layer;
use rand::Rng;

use abs::Abs;
use avg_pool2d::AvgPool2d;
use category_embedding::CategoryEmbedding;
use causal_self_attention::CausalSelfAttention;
use conv1d::Conv1d;
use dropout::Dropout;
use elu::Elu;
use flatten::Flatten;
use gaussian_derivative::GaussianDerivative;
use global_avg_pool::GlobalAvgPool;
use global_max_pool::GlobalMaxPool;
use group_norm::GroupNorm;
use gru::Gru;
use last_step::LastStep;
use layer_norm::LayerNorm;
use leaky_relu::LeakyRelu;
use lstm::Lstm;
use position_embedding::PositionEmbedding;
use residual::Residual;
use silu::Silu;
use softplus::Softplus;
use standardize::Standardize;
use transformer_block::TransformerBlock;

pub(crate) use activation::{Activation, tensor};
pub(crate) use conv2d::{Conv2d, convolved};
pub(crate) use example_gradient::Tap;
pub(crate) use linear::{Factors, Linear, connected};
pub(crate) use max_pool2d::MaxPool2d;
pub(crate) use parameters::{ParameterSum, Parameters, TrainedTensor};

/// Purpose of a forward pass: dropout is for training, with the dice of its caller.
pub(crate) enum Mode<'a> {
    Inference,
    Training(&'a mut dyn Rng),
    /// The same. Linear layers leave the gradients of their weights as factors.
    Factored(&'a mut dyn Rng, &'a mut Vec<Factors>),
}

/// A layer as a burn module.
trait LayerModule: Sized {
    /// Its specification.
    type Spec;

    /// True if a layer that is not fixed has a gradient of each example that can be
    /// clipped. If it trains tensors, [`Self::tap`] then has a tap.
    const EXAMPLE_GRADIENT: bool = false;

    /// The layer with its tensors, which it takes in the order of its specification.
    fn build(spec: &Self::Spec, parameters: &mut Parameters<'_>) -> Self;

    /// The layer's output.
    fn apply(&self, input: Activation, mode: &mut Mode<'_>) -> Activation;

    /// The trained tensors in the order of the layout.
    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        Vec::new()
    }

    /// The layer's output with a probe in it, and the tap; no tap without trained tensors.
    fn tap(&self, input: Activation, mode: &mut Mode<'_>) -> (Activation, Option<Box<dyn Tap>>) {
        (self.apply(input, mode), None)
    }
}

macro_rules! layers {
    ($($Kind:ident,)+) => {
        /// A layer of a network.
        #[derive(Module, Debug)]
        pub(crate) enum NetworkLayer {
            $($Kind($Kind),)+
        }

        impl NetworkLayer {
            /// Builds a layer, which takes its tensors off `parameters`.
            pub fn build(layer: &Layer, parameters: &mut Parameters<'_>) -> Self {
                match layer {
                    $(Layer::$Kind(spec) => Self::$Kind(LayerModule::build(spec, parameters)),)+
                }
            }

            /// The layer's output.
            pub fn apply(&self, input: Activation, mode: &mut Mode<'_>) -> Activation {
                match self { $(Self::$Kind(layer) => layer.apply(input, mode),)+ }
            }

            /// The trained tensors in the order of the layout.
            pub fn trained(&self) -> Vec<&dyn TrainedTensor> {
                match self { $(Self::$Kind(layer) => layer.trained(),)+ }
            }

            /// The layer's output with a probe in it, and the tap of a trained layer.
            pub fn tap(
                &self,
                input: Activation,
                mode: &mut Mode<'_>,
            ) -> (Activation, Option<Box<dyn Tap>>) {
                match self { $(Self::$Kind(layer) => layer.tap(input, mode),)+ }
            }
        }

        /// True for a layer that training with example privacy can have, if it can have the
        /// layers inside of it.
        pub(crate) fn can_be_clipped(layer: &Layer) -> bool {
            let has_gradient = match layer {
                $(Layer::$Kind(_) => <$Kind as LayerModule>::EXAMPLE_GRADIENT,)+
            };
            has_gradient || layer.is_fixed()
        }
    };
}

/// Output of `layers` with probes in it, and a tap for each trained layer, added to `taps`.
pub(crate) fn tapped(
    layers: &[NetworkLayer],
    input: Activation,
    mode: &mut Mode<'_>,
    taps: &mut Vec<Box<dyn Tap>>,
) -> Activation {
    layers.iter().fold(input, |activation, layer| {
        let (output, tap) = layer.tap(activation, mode);
        assert!(tap.is_some() || layer.trained().is_empty(), "a trained layer without a tap");
        taps.extend(tap);
        output
    })
}

// The list of layers.
layers! {
    Linear,
    Conv2d,
    LayerNorm,
    MaxPool2d,
    AvgPool2d,
    Relu,
    Tanh,
    Gelu,
    Sigmoid,
    Flatten,
    Dropout,
    Abs,
    Standardize,
    GaussianDerivative,
    Elu,
    Embedding,
    PositionEmbedding,
    LastStep,
    CausalSelfAttention,
    TransformerBlock,
    Gru,
    Lstm,
    LeakyRelu,
    Silu,
    Softplus,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    Conv1d,
    Residual,
    CategoryEmbedding,
}
