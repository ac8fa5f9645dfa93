//! A model specification interpreted into burn modules.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AvgPool2d, AvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{Gelu, LayerNorm, LayerNormConfig, Linear, PaddingConfig2d, Relu, Sigmoid, Tanh};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use fedra_protocol::{Layer, ModelSpec, Shape, TensorInfo};
use rand_chacha::ChaCha8Rng;

use crate::LearningError;
use crate::device::Backend;
use crate::parameters::unit;
use crate::safetensors::check_len;

/// The layers of a model with its parameters on a device.
#[derive(Module, Debug)]
pub(crate) struct Network {
    layers: Vec<NetworkLayer>,
}

#[derive(Module, Debug)]
enum NetworkLayer {
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
}

#[derive(Module, Debug)]
struct Flatten {}

/// Dropout whose mask comes from a seeded generator of ours: burn's draws from
/// one generator a process, which clients of a swarm would share.
#[derive(Module, Debug)]
struct Dropout {
    probability: f32,
}

/// What flows between layers: the rank is burn's compile-time business.
enum Activation {
    Features(Tensor<2>),
    Image(Tensor<4>),
}

/// Whether a forward pass drops values, and by whose dice.
pub(crate) enum Mode<'a> {
    Inference,
    Training(&'a mut ChaCha8Rng),
}

/// A batch of examples, `[batch, ...shape]`.
pub(crate) fn batch_tensor(features: Vec<f32>, shape: Shape, device: &Device) -> BatchTensor {
    let batch = features.len() / shape.len();
    BatchTensor(match shape {
        Shape::Features(width) => {
            Activation::Features(tensor(features, &[batch, width as usize], device))
        }
        Shape::Image { channels, height, width } => {
            let dims = [batch, channels as usize, height as usize, width as usize];
            Activation::Image(tensor(features, &dims, device))
        }
    })
}

/// Input of a [`Network`].
pub(crate) struct BatchTensor(Activation);

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

    /// Outputs before the softmax, `[batch, outputs]`.
    pub fn forward(&self, input: BatchTensor, mut mode: Mode<'_>) -> Tensor<2> {
        let output = self
            .layers
            .iter()
            .fold(input.0, |activation, layer| layer.forward(activation, &mut mode));
        output.flatten()
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
        }
    }
}

impl NetworkLayer {
    fn forward(&self, input: Activation, mode: &mut Mode<'_>) -> Activation {
        match self {
            Self::Linear(linear) => Activation::Features(linear.forward(input.flatten())),
            Self::LayerNorm(norm) => Activation::Features(norm.forward(input.flatten())),
            Self::Conv2d(conv) => Activation::Image(conv.forward(input.image())),
            Self::MaxPool2d(pool) => Activation::Image(pool.forward(input.image())),
            Self::AvgPool2d(pool) => Activation::Image(pool.forward(input.image())),
            Self::Relu(relu) => match input {
                Activation::Features(x) => Activation::Features(relu.forward(x)),
                Activation::Image(x) => Activation::Image(relu.forward(x)),
            },
            Self::Tanh(tanh) => match input {
                Activation::Features(x) => Activation::Features(tanh.forward(x)),
                Activation::Image(x) => Activation::Image(tanh.forward(x)),
            },
            Self::Gelu(gelu) => match input {
                Activation::Features(x) => Activation::Features(gelu.forward(x)),
                Activation::Image(x) => Activation::Image(gelu.forward(x)),
            },
            Self::Sigmoid(sigmoid) => match input {
                Activation::Features(x) => Activation::Features(sigmoid.forward(x)),
                Activation::Image(x) => Activation::Image(sigmoid.forward(x)),
            },
            Self::Flatten(_) => Activation::Features(input.flatten()),
            Self::Dropout(dropout) => match mode {
                Mode::Inference => input,
                Mode::Training(rng) => dropout.apply(input, rng),
            },
        }
    }

    /// The trainable tensors in the order of the layout.
    fn trained(&self) -> Vec<TrainedTensor> {
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
    fn flatten(self) -> Tensor<2> {
        match self {
            Self::Features(x) => x,
            Self::Image(x) => x.flatten(1, 3),
        }
    }

    fn image(self) -> Tensor<4> {
        match self {
            Self::Image(x) => x,
            Self::Features(_) => unreachable!("a checked specification feeds images to this layer"),
        }
    }
}

impl Dropout {
    fn apply(&self, input: Activation, rng: &mut ChaCha8Rng) -> Activation {
        match input {
            Activation::Features(x) => Activation::Features(self.masked(x, rng)),
            Activation::Image(x) => Activation::Image(self.masked(x, rng)),
        }
    }

    fn masked<const D: usize>(&self, x: Tensor<D>, rng: &mut ChaCha8Rng) -> Tensor<D> {
        let scale = 1.0 / (1.0 - self.probability);
        let dims = x.dims();
        let mask = (0..dims.iter().product())
            .map(|_| if unit(rng) < self.probability { 0.0 } else { scale })
            .collect();
        let mask = tensor(mask, &dims, &x.device());
        x * mask
    }
}

enum TrainedTensor {
    Rank1(Tensor<1>),
    Rank2(Tensor<2>),
    Rank4(Tensor<4>),
}

impl TrainedTensor {
    async fn read(self, backend: Backend) -> Result<Vec<f32>, LearningError> {
        match self {
            Self::Rank1(x) => read(x.inner(), backend).await,
            Self::Rank2(x) => read(x.inner(), backend).await,
            Self::Rank4(x) => read(x.inner(), backend).await,
        }
    }

    async fn read_gradient(
        self,
        gradients: &Gradients,
        backend: Backend,
    ) -> Result<Vec<f32>, LearningError> {
        match self {
            Self::Rank1(x) => read_gradient(x, gradients, backend).await,
            Self::Rank2(x) => read_gradient(x, gradients, backend).await,
            Self::Rank4(x) => read_gradient(x, gradients, backend).await,
        }
    }
}

async fn read_gradient<const D: usize>(
    tensor: Tensor<D>,
    gradients: &Gradients,
    backend: Backend,
) -> Result<Vec<f32>, LearningError> {
    match tensor.grad(gradients) {
        Some(gradient) => read(gradient, backend).await,
        None => Ok(vec![0.0; tensor.dims().iter().product()]),
    }
}

/// The values of a tensor, row-major.
pub(crate) async fn read<const D: usize>(
    tensor: Tensor<D>,
    backend: Backend,
) -> Result<Vec<f32>, LearningError> {
    let fail = |message: String| LearningError::Device { backend, message };
    let data = tensor.into_data_async().await.map_err(|error| fail(error.to_string()))?;
    data.try_into_vec().map_err(|error| fail(format!("{error:?}")))
}
