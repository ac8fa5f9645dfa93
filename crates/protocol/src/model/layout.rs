//! Shape inference: which shapes flow through a model and which tensors it trains.

use serde::{Deserialize, Serialize};

use super::{Layer, ModelSpecError};
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
    /// `[features]` or `[channels, height, width]`, each at least 1 and within the limits.
    pub fn from_dims(dims: &[u32]) -> Option<Self> {
        let shape = match *dims {
            [features] => Self::Features(features),
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

/// One trainable tensor of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorInfo {
    /// `layers.{index}.weight`, `.bias`, `.gamma` or `.beta`.
    pub name: String,
    /// Dimensions; row-major in the flat vector.
    pub shape: Vec<usize>,
    /// Inputs that one output of this layer sums over: what initialisation scales by.
    pub fan_in: usize,
}

impl TensorInfo {
    /// Values in the tensor.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no value; a checked model has none such.
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

impl Layer {
    /// The types of layers as they are written in a config file.
    pub const TYPE_NAMES: [&str; 14] = [
        "linear",
        "conv2d",
        "max_pool2d",
        "avg_pool2d",
        "relu",
        "tanh",
        "gelu",
        "sigmoid",
        "flatten",
        "dropout",
        "layer_norm",
        "abs",
        "standardize",
        "gaussian_derivative",
    ];

    /// Inputs that one output of the layer sums over.
    fn window(&self, input: Shape) -> u64 {
        let square = |side: u32| u64::from(side) * u64::from(side);
        match (self, input) {
            (Self::Linear { .. }, shape) => shape.len() as u64,
            (&Self::Conv2d { kernel, .. }, Shape::Image { channels, .. }) => {
                u64::from(channels).saturating_mul(square(kernel))
            }
            (
                &(Self::MaxPool2d { kernel, .. }
                | Self::AvgPool2d { kernel, .. }
                | Self::GaussianDerivative { kernel, .. }),
                _,
            ) => square(kernel),
            _ => 1,
        }
    }

    /// The layer's type as it is written in a config file.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Linear { .. } => "linear",
            Self::Conv2d { .. } => "conv2d",
            Self::MaxPool2d { .. } => "max_pool2d",
            Self::AvgPool2d { .. } => "avg_pool2d",
            Self::Relu => "relu",
            Self::Tanh => "tanh",
            Self::Gelu => "gelu",
            Self::Sigmoid => "sigmoid",
            Self::Flatten => "flatten",
            Self::Dropout { .. } => "dropout",
            Self::LayerNorm { .. } => "layer_norm",
            Self::Abs => "abs",
            Self::Standardize { .. } => "standardize",
            Self::GaussianDerivative { .. } => "gaussian_derivative",
        }
    }

    /// Whether the layer has nothing to train and nothing random: the same input
    /// always comes out the same.
    pub fn is_fixed(&self) -> bool {
        match self {
            Self::Linear { .. }
            | Self::Conv2d { .. }
            | Self::LayerNorm { .. }
            | Self::Dropout { .. } => false,
            Self::MaxPool2d { .. }
            | Self::AvgPool2d { .. }
            | Self::Relu
            | Self::Tanh
            | Self::Gelu
            | Self::Sigmoid
            | Self::Flatten
            | Self::Abs
            | Self::Standardize { .. }
            | Self::GaussianDerivative { .. } => true,
        }
    }
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
        let (next, trained) = step(shape, layer).map_err(fail)?;
        if next.checked_len().is_none_or(|len| len == 0 || len > limits::MAX_ACTIVATIONS) {
            return Err(fail(format!("its output {:?} is empty or too large", next.dims())));
        }
        for (name, dims, fan_in) in trained {
            parameters = dims
                .iter()
                .try_fold(1u64, |len, &d| len.checked_mul(u64::from(d)))
                .and_then(|len| parameters.checked_add(len))
                .filter(|&total| total <= limits::MAX_PARAMETERS)
                .ok_or(ModelSpecError::TooManyParameters)?;
            tensors.push(TensorInfo {
                name: format!("layers.{index}.{name}"),
                shape: dims.iter().map(|&d| d as usize).collect(),
                fan_in: fan_in as usize,
            });
        }
        let (inputs, outputs) = (shape.len() as u64, next.len() as u64);
        forward.activations = forward.activations.max(inputs + outputs);
        let operations = outputs.saturating_mul(layer.window(shape));
        forward.operations = forward.operations.saturating_add(operations);
        shape = next;
    }
    Ok(Inferred { layout: tensors, output: shape, forward })
}

type Trained = Vec<(&'static str, Vec<u32>, u64)>;

fn step(shape: Shape, layer: &Layer) -> Result<(Shape, Trained), String> {
    match (layer, shape) {
        (&Layer::Linear { outputs }, Shape::Features(inputs)) => {
            positive("outputs", outputs)?;
            let fan_in = u64::from(inputs);
            let trained =
                vec![("weight", vec![inputs, outputs], fan_in), ("bias", vec![outputs], fan_in)];
            Ok((Shape::Features(outputs), trained))
        }
        (Layer::Linear { .. }, Shape::Image { .. }) => {
            Err("it takes features, but an image comes in; put a flatten layer before it".into())
        }
        (
            &Layer::Conv2d { channels, kernel, stride, padding },
            Shape::Image { channels: inputs, height, width },
        ) => {
            positive("channels", channels)?;
            let fan_in = u64::from(inputs) * u64::from(kernel) * u64::from(kernel);
            let out = Shape::Image {
                channels,
                height: windows(height, kernel, stride, padding)?,
                width: windows(width, kernel, stride, padding)?,
            };
            let trained = vec![
                ("weight", vec![channels, inputs, kernel, kernel], fan_in),
                ("bias", vec![channels], fan_in),
            ];
            Ok((out, trained))
        }
        (
            &(Layer::MaxPool2d { kernel, stride } | Layer::AvgPool2d { kernel, stride }),
            Shape::Image { channels, height, width },
        ) => {
            let out = Shape::Image {
                channels,
                height: windows(height, kernel, stride, 0)?,
                width: windows(width, kernel, stride, 0)?,
            };
            Ok((out, Vec::new()))
        }
        (
            &Layer::GaussianDerivative { orientations, kernel, sigma },
            Shape::Image { channels, height, width },
        ) => {
            within("orientations", orientations, 1, limits::MAX_ORIENTATIONS)?;
            within("kernel", kernel, 3, limits::MAX_FIXED_KERNEL)?;
            if kernel % 2 == 0 {
                return Err(format!("kernel must be odd, so that it has a middle; it is {kernel}"));
            }
            if !(0.25..=16.0).contains(&sigma) {
                return Err(format!("sigma must be between 0.25 and 16 pixels; it is {sigma}"));
            }
            let channels =
                channels.checked_mul(orientations).ok_or("too many channels".to_string())?;
            Ok((Shape::Image { channels, height, width }, Vec::new()))
        }
        (
            Layer::Conv2d { .. }
            | Layer::MaxPool2d { .. }
            | Layer::AvgPool2d { .. }
            | Layer::GaussianDerivative { .. },
            Shape::Features(_),
        ) => Err("it takes an image, but features come in; give the model an input \
                  [channels, height, width]"
            .into()),
        (Layer::Flatten, shape) => {
            let len = u32::try_from(shape.len()).map_err(|_| "too many features".to_string())?;
            Ok((Shape::Features(len), Vec::new()))
        }
        (&Layer::Dropout { probability }, shape) => {
            if !(0.0..1.0).contains(&probability) {
                return Err(format!(
                    "probability must be at least 0 and below 1; it is {probability}"
                ));
            }
            Ok((shape, Vec::new()))
        }
        (&Layer::Standardize { epsilon }, shape) => {
            positive_real("epsilon", epsilon)?;
            Ok((shape, Vec::new()))
        }
        (&Layer::LayerNorm { epsilon }, Shape::Features(features)) => {
            positive_real("epsilon", epsilon)?;
            let trained = vec![("gamma", vec![features], 0), ("beta", vec![features], 0)];
            Ok((shape, trained))
        }
        (Layer::LayerNorm { .. }, Shape::Image { .. }) => {
            Err("it normalises features, but an image comes in; put a flatten layer before it"
                .into())
        }
        (Layer::Relu | Layer::Tanh | Layer::Gelu | Layer::Sigmoid | Layer::Abs, shape) => {
            Ok((shape, Vec::new()))
        }
    }
}

fn positive(name: &str, value: u32) -> Result<(), String> {
    if value == 0 { Err(format!("{name} must be at least 1")) } else { Ok(()) }
}

fn positive_real(name: &str, value: f32) -> Result<(), String> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(format!("{name} must be above 0; it is {value}"))
    }
}

fn within(name: &str, value: u32, least: u32, most: u32) -> Result<(), String> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(format!("{name} must be {least} to {most}; it is {value}"))
    }
}

/// Number of windows along one side: floor((size + 2 padding - kernel) / stride) + 1.
fn windows(size: u32, kernel: u32, stride: u32, padding: u32) -> Result<u32, String> {
    positive("kernel", kernel)?;
    positive("stride", stride)?;
    if padding >= kernel {
        return Err(format!("padding {padding} must be smaller than the kernel {kernel}"));
    }
    let padded = u64::from(size) + 2 * u64::from(padding);
    if u64::from(kernel) > padded {
        return Err(format!("the kernel {kernel} is larger than the image side {padded}"));
    }
    u32::try_from((padded - u64::from(kernel)) / u64::from(stride) + 1)
        .map_err(|_| "the image is too large".to_string())
}
