//! Layers of a model, one file each: its numbers, the shape that comes out, the tensors
//! that it trains with their initialisation, and its wire form.
//!
//! A new layer is a file here and one in `fedra-learning`, with a line in both lists of
//! layers, and a number in the `oneof` of `fedra.proto`.

mod rules;

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

pub use category_embedding::EmbeddedFeature;

use std::convert::Infallible;

use serde::{Deserialize, Serialize};

use super::layout::{ForwardCost, Init, TensorInfo};
use super::shape::{ElementKind, Shape};
use crate::wire;

/// Shape rule of a layer.
pub(super) trait LayerRule {
    /// Kind of elements that the layer takes.
    fn takes(&self) -> ElementKind {
        ElementKind::Values
    }

    /// The layer's output on `input`, whose elements are of the kind
    /// that it takes, or the sentence that says why there is none.
    fn output(&self, input: Shape) -> Result<Output, String>;

    /// Inputs that one output of the layer sums over, over all sums on the way to it.
    fn window(&self, _input: Shape) -> u64 {
        1
    }

    /// Values that the layer holds at once between its input and its output.
    fn held(&self, _input: Shape) -> u64 {
        0
    }

    /// True if the layer has nothing to train and nothing random: the same input
    /// always comes out the same.
    fn is_fixed(&self) -> bool {
        true
    }

    /// True if the layer takes what the data say, and nothing that another layer has made.
    fn takes_data(&self) -> bool {
        false
    }

    /// Layers inside of this one.
    fn nested(&self) -> Vec<&Layer> {
        Vec::new()
    }
}

/// Shape after a layer, and the tensors that the layer trains.
pub(super) struct Output {
    pub shape: Shape,
    /// In the order of the flat vector, with names that begin behind the layer's.
    pub trained: Vec<TensorInfo>,
    /// Memory and work of the layers inside of this one, as far as they are more than its
    /// own.
    pub forward: ForwardCost,
}

impl Output {
    fn of(shape: Shape) -> Self {
        Self { shape, trained: Vec::new(), forward: ForwardCost::default() }
    }

    fn trains(mut self, name: &str, dims: &[u32], init: Init) -> Self {
        let shape = dims.iter().map(|&size| size as usize).collect();
        self.trained.push(TensorInfo { name: name.to_owned(), shape, init });
        self
    }
}

macro_rules! layers {
    ($($module:ident::$Kind:ident,)+) => {
        $(pub use $module::$Kind;)+

        /// One step of a model, applied to a batch.
        ///
        /// Images are `[channels, height, width]`, sequences `[positions, width]`, everything
        /// else is `[features]`.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "type", rename_all = "snake_case")]
        pub enum Layer {
            $(#[doc = concat!("See [`", stringify!($Kind), "`].")] $Kind($Kind),)+
        }

        impl Layer {
            /// The types of layers as they are written in a config file.
            pub const TYPE_NAMES: &[&str] = &[$(stringify!($module)),+];

            /// The layer's type as it is written in a config file.
            pub fn type_name(&self) -> &'static str {
                match self { $(Self::$Kind(_) => stringify!($module)),+ }
            }

            pub(super) fn rule(&self) -> &dyn LayerRule {
                match self { $(Self::$Kind(layer) => layer),+ }
            }
        }

        $(impl From<$Kind> for Layer {
            fn from(layer: $Kind) -> Self {
                Self::$Kind(layer)
            }
        })+

        impl From<Layer> for wire::Layer {
            fn from(layer: Layer) -> Self {
                use wire::layer::Kind;
                let kind = match layer { $(Layer::$Kind(layer) => Kind::$Kind(layer.into())),+ };
                Self { kind: Some(kind) }
            }
        }

        impl TryFrom<wire::Layer> for Layer {
            type Error = UnknownLayer;

            fn try_from(layer: wire::Layer) -> Result<Self, UnknownLayer> {
                use wire::layer::Kind;
                Ok(match layer.kind.ok_or(UnknownLayer)? {
                    $(Kind::$Kind(layer) => Self::$Kind(layer.try_into()?),)+
                    // It is one of the model's, not of a layer's.
                    Kind::Frozen(_) => return Err(UnknownLayer),
                })
            }
        }
    };
}

/// Layer that a later version may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownLayer;

impl From<Infallible> for UnknownLayer {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

// The list of layers.
layers! {
    linear::Linear,
    conv2d::Conv2d,
    max_pool2d::MaxPool2d,
    avg_pool2d::AvgPool2d,
    relu::Relu,
    tanh::Tanh,
    gelu::Gelu,
    sigmoid::Sigmoid,
    flatten::Flatten,
    dropout::Dropout,
    layer_norm::LayerNorm,
    abs::Abs,
    standardize::Standardize,
    gaussian_derivative::GaussianDerivative,
    elu::Elu,
    embedding::Embedding,
    position_embedding::PositionEmbedding,
    last_step::LastStep,
    causal_self_attention::CausalSelfAttention,
    transformer_block::TransformerBlock,
    gru::Gru,
    lstm::Lstm,
    leaky_relu::LeakyRelu,
    silu::Silu,
    softplus::Softplus,
    global_avg_pool::GlobalAvgPool,
    global_max_pool::GlobalMaxPool,
    group_norm::GroupNorm,
    conv1d::Conv1d,
    residual::Residual,
    category_embedding::CategoryEmbedding,
}

impl Layer {
    /// Settings of any layer at the top level of a model that a client may not know, as in a
    /// config file and among its capabilities.
    pub const SETTINGS: [&str; 1] = ["trainable"];

    /// True if the layer has nothing to train and nothing random: the same input
    /// always comes out the same.
    pub fn is_fixed(&self) -> bool {
        self.rule().is_fixed()
    }

    /// True if the layer draws random numbers in training.
    pub(super) fn is_random(&self) -> bool {
        self.with_nested().iter().any(|layer| matches!(layer, Self::Dropout(_)))
    }

    /// This layer, then the layers inside of it and inside of those.
    pub fn with_nested(&self) -> Vec<&Self> {
        let nested = self.rule().nested();
        std::iter::once(self).chain(nested.into_iter().flat_map(Self::with_nested)).collect()
    }

    /// Shape of what the layer makes of `input`, or `None` if it does not fit.
    pub fn output(&self, input: Shape) -> Option<Shape> {
        Some(self.rule().output(input).ok()?.shape)
    }

    /// Layers that are in each other, this one included.
    pub(super) fn depth(&self) -> usize {
        1 + self.rule().nested().into_iter().map(Self::depth).max().unwrap_or(0)
    }
}
