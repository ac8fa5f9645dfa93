//! A model specification interpreted into burn modules.
//!
//! It must not know how a model is trained, nor where examples come from.

use std::ops::Range;

use burn::module::{Module, Param};
use burn::nn::conv::Conv2dConfig;
use burn::nn::pool::{AvgPool2dConfig, MaxPool2dConfig};
use burn::nn::{Gelu, LayerNormConfig, Linear, PaddingConfig2d, Relu, Sigmoid, Tanh};
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use fedra_protocol::{Layer, ModelSpec, Shape, TensorInfo};
use rand::Rng;

use crate::LearningError;
use crate::device::Backend;
use crate::safetensors::check_len;

mod fixed;
mod layer;
mod per_example;
mod readback;

use fixed::{Abs, GaussianDerivative, Standardize};
use layer::{Activation, Dropout, Flatten, NetworkLayer};

pub(crate) use per_example::clipped_gradient_sum;
pub(crate) use readback::read;

/// The layers of a model with its parameters on a device.
#[derive(Module, Debug)]
pub(crate) struct Network {
    layers: Vec<NetworkLayer>,
}

/// Whether a forward pass drops values, and by whose dice.
pub(crate) enum Mode<'a> {
    Inference,
    Training(&'a mut dyn Rng),
}

/// A batch of examples, `[batch, ...shape]`, before the first layer or between
/// two layers.
#[derive(Clone)]
pub(crate) struct BatchTensor(Activation);

impl BatchTensor {
    /// Row-major values, `shape` being one example's.
    pub fn new(values: Vec<f32>, shape: Shape, device: &Device) -> Self {
        let batch = values.len() / shape.len();
        Self(match shape {
            Shape::Features(width) => {
                Activation::Features(tensor(values, &[batch, width as usize], device))
            }
            Shape::Image { channels, height, width } => {
                let dims = [batch, channels as usize, height as usize, width as usize];
                Activation::Image(tensor(values, &dims, device))
            }
        })
    }

    /// The examples at `indices`, in that order.
    pub fn select(&self, indices: &[u32]) -> Self {
        let indices: Vec<i32> = indices.iter().map(|&index| index as i32).collect();
        let rows = |device| Tensor::<1, Int>::from_data(indices.as_slice(), device);
        Self(match &self.0 {
            Activation::Features(x) => Activation::Features(x.clone().select(0, rows(&x.device()))),
            Activation::Image(x) => Activation::Image(x.clone().select(0, rows(&x.device()))),
        })
    }

    /// The examples of all `parts`, which have the same shape. Panics on none.
    pub fn concatenate(parts: Vec<Self>) -> Self {
        let image = matches!(parts.first(), Some(Self(Activation::Image(_))));
        let parts = parts.into_iter().map(|part| part.0);
        Self(if image {
            Activation::Image(Tensor::cat(parts.map(Activation::image).collect(), 0))
        } else {
            Activation::Features(Tensor::cat(parts.map(Activation::flatten).collect(), 0))
        })
    }

    /// Values in one example.
    pub fn width(&self) -> usize {
        match &self.0 {
            Activation::Features(x) => x.dims()[1],
            Activation::Image(x) => x.dims()[1..].iter().product(),
        }
    }
}

/// A tensor of rank `D` from row-major values.
pub(crate) fn tensor<const D: usize>(
    values: Vec<f32>,
    dims: &[usize],
    device: &Device,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, dims.to_vec()), device)
}

impl Network {
    /// Builds the layers on `device` from the flat vector, which must be as
    /// long as the model's.
    pub fn new(
        spec: &ModelSpec,
        parameters: &[f32],
        device: &Device,
    ) -> Result<Self, LearningError> {
        check_len(spec, parameters)?;
        let mut loader = Loader { tensors: spec.layout().iter(), values: parameters, device };
        let layers = spec.layers().iter().map(|layer| loader.layer(layer)).collect();
        Ok(Self { layers })
    }

    /// How many layers there are.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// Outputs before the softmax, `[batch, outputs]`.
    pub fn forward(&self, input: BatchTensor, mode: Mode<'_>) -> Tensor<2> {
        self.run(0..self.depth(), input, mode).0.flatten()
    }

    /// The same for what the layers before `first` have made of a batch.
    pub fn forward_from(&self, first: usize, input: BatchTensor, mode: Mode<'_>) -> Tensor<2> {
        self.run(first..self.depth(), input, mode).0.flatten()
    }

    /// What some of the layers make of their input. Panics on a range beyond the last layer.
    pub fn run(&self, layers: Range<usize>, input: BatchTensor, mut mode: Mode<'_>) -> BatchTensor {
        let step = |activation, layer: &NetworkLayer| layer.forward(activation, &mut mode);
        BatchTensor(self.layers[layers].iter().fold(input.0, step))
    }

    /// The flat parameter vector, read back from the device.
    pub async fn parameters(&self, backend: Backend) -> Result<Vec<f32>, LearningError> {
        let mut flat = Vec::new();
        for tensor in self.layers.iter().flat_map(NetworkLayer::trained) {
            flat.extend(tensor.read(backend).await?);
        }
        Ok(flat)
    }

    /// The flat gradient; zeros where a parameter did not take part.
    pub async fn gradient(
        &self,
        gradients: &Gradients,
        backend: Backend,
    ) -> Result<Vec<f32>, LearningError> {
        let mut flat = Vec::new();
        for tensor in self.layers.iter().flat_map(NetworkLayer::trained) {
            flat.extend(tensor.read_gradient(gradients, backend).await?);
        }
        Ok(flat)
    }
}

/// Takes tensors off the flat vector in the order of the layout.
struct Loader<'a> {
    tensors: std::slice::Iter<'a, TensorInfo>,
    values: &'a [f32],
    device: &'a Device,
}

impl Loader<'_> {
    fn next<const D: usize>(&mut self) -> Param<Tensor<D>> {
        let info = self.tensors.next().expect("the layout has every tensor of the layers");
        let (values, rest) = self.values.split_at(info.len());
        self.values = rest;
        Param::from_tensor(tensor(values.to_vec(), &info.shape, self.device))
    }

    fn layer(&mut self, layer: &Layer) -> NetworkLayer {
        match *layer {
            Layer::Linear { .. } => {
                NetworkLayer::Linear(Linear { weight: self.next(), bias: Some(self.next()) })
            }
            Layer::Conv2d { kernel, stride, padding, .. } => {
                let (weight, bias) = (self.next::<4>(), self.next());
                let [channels, inputs, ..] = weight.dims();
                let [kernel, stride, padding] = [kernel, stride, padding].map(|n| n as usize);
                // The sizes come from the specification, the values from the flat vector.
                let mut conv = Conv2dConfig::new([inputs, channels], [kernel, kernel])
                    .with_stride([stride, stride])
                    .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
                    .init(self.device);
                conv.weight = weight;
                conv.bias = Some(bias);
                NetworkLayer::Conv2d(conv)
            }
            Layer::LayerNorm { epsilon } => {
                let (gamma, beta) = (self.next::<1>(), self.next());
                let mut norm = LayerNormConfig::new(gamma.dims()[0])
                    .with_epsilon(f64::from(epsilon))
                    .init(self.device);
                norm.gamma = gamma;
                norm.beta = Some(beta);
                NetworkLayer::LayerNorm(norm)
            }
            Layer::MaxPool2d { kernel, stride } => NetworkLayer::MaxPool2d(
                MaxPool2dConfig::new([kernel as usize; 2])
                    .with_strides([stride as usize; 2])
                    .init(),
            ),
            Layer::AvgPool2d { kernel, stride } => NetworkLayer::AvgPool2d(
                AvgPool2dConfig::new([kernel as usize; 2])
                    .with_strides([stride as usize; 2])
                    .init(),
            ),
            Layer::Relu => NetworkLayer::Relu(Relu::new()),
            Layer::Tanh => NetworkLayer::Tanh(Tanh::new()),
            Layer::Gelu => NetworkLayer::Gelu(Gelu::new()),
            Layer::Sigmoid => NetworkLayer::Sigmoid(Sigmoid::new()),
            Layer::Flatten => NetworkLayer::Flatten(Flatten {}),
            Layer::Dropout { probability } => NetworkLayer::Dropout(Dropout { probability }),
            Layer::Abs => NetworkLayer::Abs(Abs {}),
            Layer::Standardize { epsilon } => NetworkLayer::Standardize(Standardize { epsilon }),
            Layer::GaussianDerivative { orientations, kernel, sigma } => {
                let [orientations, kernel] = [orientations, kernel].map(|n| n as usize);
                NetworkLayer::GaussianDerivative(GaussianDerivative { orientations, kernel, sigma })
            }
        }
    }
}
