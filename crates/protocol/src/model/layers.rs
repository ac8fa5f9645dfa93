//! Layers of a model, one file each: its numbers, the shape that comes out, the tensors
//! that it trains with their initialisation, and its wire form.
//!
//! A new layer is a file here and one in `fedra-learning`, with a line in both lists of
//! layers, and a number in the `oneof` of `fedra.proto`.

mod rules;

mod abs;
mod avg_pool2d;
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
mod layer_norm;
mod leaky_relu;
mod linear;
mod max_pool2d;
mod relu;
mod sigmoid;
mod silu;
mod softplus;
mod standardize;
mod tanh;

use serde::{Deserialize, Serialize};

use super::layout::Init;
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

    /// Inputs that one output of the layer sums over.
    fn window(&self, _input: Shape) -> u64 {
        1
    }

    /// True if the layer has nothing to train and nothing random: the same input
    /// always comes out the same.
    fn is_fixed(&self) -> bool {
        true
    }
}

/// Shape after a layer, and the tensors that the layer trains.
pub(super) struct Output {
    pub shape: Shape,
    /// Name, dimensions, initialisation, in the order of the flat vector.
    pub trained: Vec<(&'static str, Vec<u32>, Init)>,
}

impl Output {
    fn of(shape: Shape) -> Self {
        Self { shape, trained: Vec::new() }
    }

    fn trains(mut self, name: &'static str, dims: &[u32], init: Init) -> Self {
        self.trained.push((name, dims.to_vec(), init));
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
        #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
                    $(Kind::$Kind(layer) => Self::$Kind(layer.into())),+
                })
            }
        }
    };
}

/// Layer that a later version may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownLayer;

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
    leaky_relu::LeakyRelu,
    silu::Silu,
    softplus::Softplus,
    global_avg_pool::GlobalAvgPool,
    global_max_pool::GlobalMaxPool,
    group_norm::GroupNorm,
    conv1d::Conv1d,
}

impl Layer {
    /// True if the layer has nothing to train and nothing random: the same input
    /// always comes out the same.
    pub fn is_fixed(&self) -> bool {
        self.rule().is_fixed()
    }
}
