//! Shape inference: which shapes flow through a model and which tensors it trains.

use serde::{Deserialize, Serialize};

use super::ModelSpecError;
use super::layers::{Layer, Output};
use crate::limits;

/// Shape of one example between two layers, without the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// A plain vector.
    Features(u32),
    /// `[channels, height, width]`.
    Image {
        /// Channels.
        channels: u32,
        /// Rows.
        height: u32,
        /// Columns.
        width: u32,
    },
}

impl Shape {
    /// `[features]`, `[channels, height, width]`, or `[height, width]` for one channel;
    /// each at least 1 and within the limits.
    pub fn from_dims(dims: &[u32]) -> Option<Self> {
        let shape = match *dims {
            [features] => Self::Features(features),
            [height, width] => Self::Image { channels: 1, height, width },
            [channels, height, width] => Self::Image { channels, height, width },
            _ => return None,
        };
        let len = shape.checked_len()?;
        (1..=limits::MAX_ACTIVATIONS).contains(&len).then_some(shape)
    }

    /// The dimensions as a list.
    pub fn dims(self) -> Vec<u32> {
        match self {
            Self::Features(features) => vec![features],
            Self::Image { channels, height, width } => vec![channels, height, width],
        }
    }

    /// Values in one example.
    pub fn len(self) -> usize {
        self.dims().iter().map(|&d| d as usize).product()
    }

    /// Never: a shape has at least one value.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    fn checked_len(self) -> Option<u64> {
        self.dims().iter().try_fold(1u64, |len, &d| len.checked_mul(u64::from(d)))
    }
}

/// Values that a trainable tensor starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// Uniform in `[-1/sqrt(fan_in), 1/sqrt(fan_in))`, as PyTorch does for linear and
    /// convolution layers.
    Uniform {
        /// Inputs that one output of the layer sums over, at least 1.
        fan_in: usize,
    },
    /// Zeros.
    Zeros,
    /// Ones.
    Ones,
}

/// One trainable tensor of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorInfo {
    /// `layers.{index}.weight`, `.bias`, `.gamma` or `.beta`.
    pub name: String,
    /// Dimensions; row-major in the flat vector.
    pub shape: Vec<usize>,
    /// Values that it starts from.
    pub init: Init,
}

impl TensorInfo {
    /// Values in the tensor.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Never for a checked model: a tensor has at least one value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Memory and work of one example in a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ForwardCost {
    /// Values that go into and come out of one layer, of the layer with the most.
    pub activations: u64,
    /// Multiply-adds of all layers. A layer that looks at each value by itself counts
    /// one for each.
    pub operations: u64,
}

/// The result of shape inference.
pub(super) struct Inferred {
    /// The trainable tensors.
    pub layout: Vec<TensorInfo>,
    /// Shape after the last layer.
    pub output: Shape,
    pub forward: ForwardCost,
}

/// The trainable tensors of `layers` on `input`, the shape that comes out, and what
/// an example costs.
pub(super) fn infer(input: Shape, layers: &[Layer]) -> Result<Inferred, ModelSpecError> {
    let mut shape = input;
    let mut forward = ForwardCost::default();
    let mut tensors = Vec::new();
    let mut parameters = 0u64;
    for (index, layer) in layers.iter().enumerate() {
        let fail =
            |problem: String| ModelSpecError::Layer { index, layer: layer.type_name(), problem };
        let rule = layer.rule();
        let Output { shape: next, trained } = rule.output(shape).map_err(fail)?;
        if next.checked_len().is_none_or(|len| len == 0 || len > limits::MAX_ACTIVATIONS) {
            return Err(fail(format!("its output {:?} is empty or too large", next.dims())));
        }
        for (name, dims, init) in trained {
            parameters = dims
                .iter()
                .try_fold(1u64, |len, &d| len.checked_mul(u64::from(d)))
                .and_then(|len| parameters.checked_add(len))
                .filter(|&total| total <= limits::MAX_PARAMETERS)
                .ok_or(ModelSpecError::TooManyParameters)?;
            tensors.push(TensorInfo {
                name: format!("layers.{index}.{name}"),
                shape: dims.iter().map(|&d| d as usize).collect(),
                init,
            });
        }
        let (inputs, outputs) = (shape.len() as u64, next.len() as u64);
        forward.activations = forward.activations.max(inputs + outputs);
        let operations = outputs.saturating_mul(rule.window(shape));
        forward.operations = forward.operations.saturating_add(operations);
        shape = next;
    }
    Ok(Inferred { layout: tensors, output: shape, forward })
}
