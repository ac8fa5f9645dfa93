//! Shape inference: which shapes flow through a model and which tensors it has.

use serde::{Deserialize, Serialize};

use super::ModelSpecError;
use super::layers::{Layer, Output};
use super::shape::Shape;
use crate::limits;

/// Values that a tensor starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// Uniform in `[-1/sqrt(fan_in), 1/sqrt(fan_in))`, as PyTorch does for linear and
    /// convolution layers.
    Uniform {
        /// Inputs that one output of the layer sums over, at least 1.
        fan_in: usize,
    },
    /// Normal with mean 0 and variance 1, as PyTorch does for embeddings.
    Normal,
    /// Zeros.
    Zeros,
    /// Ones.
    Ones,
}

/// One tensor of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorInfo {
    /// `layers.{index}.` and the name that the layer gives it, such as `weight` or `bias`; of a
    /// layer in a residual one `layers.{index}.{index}.weight` or
    /// `layers.{index}.shortcut.{index}.weight`.
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
    /// Elements that go into one layer, are held within it and come out of it, of the layer
    /// with the most.
    pub activations: u64,
    /// Multiply-adds of all layers. A layer that looks at each value by itself counts
    /// one for each.
    pub operations: u64,
}

/// The result of shape inference.
pub(super) struct Inferred {
    /// The tensors of each layer.
    pub tensors: Vec<Vec<TensorInfo>>,
    /// Shape before each layer.
    pub inputs: Vec<Shape>,
    /// Shape after the last layer.
    pub output: Shape,
    pub forward: ForwardCost,
}

/// Beginning of the names of a model's tensors.
pub(super) const MODEL: &str = "layers.";

/// The tensors of each of `layers` on `input`, whose names begin with `prefix` and the
/// layer's index, the shape that comes out, and what an example costs.
pub(super) fn infer(
    prefix: &str,
    input: Shape,
    layers: &[Layer],
) -> Result<Inferred, ModelSpecError> {
    let mut shape = input;
    let mut forward = ForwardCost::default();
    let (mut tensors, mut inputs) = (Vec::new(), Vec::new());
    let mut parameters = 0u64;
    for (index, layer) in layers.iter().enumerate() {
        let fail =
            |problem: String| ModelSpecError::Layer { index, layer: layer.type_name(), problem };
        let rule = layer.rule();
        let (takes, given) = (rule.takes(), shape.elements());
        if takes != given {
            return Err(ModelSpecError::Elements { index, layer: layer.type_name(), takes, given });
        }
        if rule.takes_data() && (index > 0 || prefix != MODEL) {
            return Err(fail(
                "it takes the features of the data; make it the model's first layer".into(),
            ));
        }
        let Output { shape: next, trained, forward: nested } = rule.output(shape).map_err(fail)?;
        if next.within_limits().is_none() {
            return Err(fail(format!("its output {:?} is empty or too large", next.dims())));
        }
        let held = rule.held(shape);
        if held > limits::MAX_ACTIVATIONS {
            return Err(fail(format!(
                "it holds {held} values of an example, more than {}; give it fewer positions, \
                 or fewer heads or units",
                limits::MAX_ACTIVATIONS
            )));
        }
        let mut named = Vec::with_capacity(trained.len());
        for tensor in trained {
            parameters = tensor
                .shape
                .iter()
                .try_fold(1u64, |len, &size| len.checked_mul(size as u64))
                .and_then(|len| parameters.checked_add(len))
                .filter(|&total| total <= limits::MAX_PARAMETERS)
                .ok_or(ModelSpecError::TooManyParameters)?;
            named.push(TensorInfo { name: format!("{prefix}{index}.{}", tensor.name), ..tensor });
        }
        tensors.push(named);
        let outputs = next.len() as u64;
        let activations = (shape.len() as u64 + held + outputs).max(nested.activations);
        forward.activations = forward.activations.max(activations);
        let operations = outputs.saturating_mul(rule.window(shape));
        let operations = operations.saturating_add(nested.operations);
        forward.operations = forward.operations.saturating_add(operations);
        inputs.push(shape);
        shape = next;
    }
    Ok(Inferred { tensors, inputs, output: shape, forward })
}
