//! Values between two layers.

use burn::tensor::{Device, Int, Tensor, TensorData};
use fedra_protocol::Shape;

/// Batch of values between two layers: the rank is burn's compile-time business.
#[derive(Clone)]
pub(crate) enum Activation {
    /// `[batch, features]`.
    Features(Tensor<2>),
    /// `[batch, channels, height, width]`.
    Image(Tensor<4>),
}

impl Activation {
    /// Row-major values, `shape` being one example's.
    pub fn new(values: Vec<f32>, shape: Shape, device: &Device) -> Self {
        let batch = values.len() / shape.len();
        match shape {
            Shape::Features(width) => {
                Self::Features(tensor(values, &[batch, width as usize], device))
            }
            Shape::Image { channels, height, width } => {
                let dims = [batch, channels as usize, height as usize, width as usize];
                Self::Image(tensor(values, &dims, device))
            }
        }
    }

    /// The examples at `indices`, in that order.
    pub fn select(&self, indices: &[u32]) -> Self {
        let indices: Vec<i32> = indices.iter().map(|&index| index as i32).collect();
        let rows = |device| Tensor::<1, Int>::from_data(indices.as_slice(), device);
        match self {
            Self::Features(x) => Self::Features(x.clone().select(0, rows(&x.device()))),
            Self::Image(x) => Self::Image(x.clone().select(0, rows(&x.device()))),
        }
    }

    /// The examples of all `parts`, which have the same shape. Panics on none.
    pub fn concatenate(parts: Vec<Self>) -> Self {
        let image = matches!(parts.first(), Some(Self::Image(_)));
        let parts = parts.into_iter();
        if image {
            Self::Image(Tensor::cat(parts.map(Self::image).collect(), 0))
        } else {
            Self::Features(Tensor::cat(parts.map(Self::flatten).collect(), 0))
        }
    }

    /// Values in one example.
    pub fn width(&self) -> usize {
        match self {
            Self::Features(x) => x.dims()[1],
            Self::Image(x) => x.dims()[1..].iter().product(),
        }
    }

    /// `[batch, features]`, channels first.
    pub fn flatten(self) -> Tensor<2> {
        match self {
            Self::Features(x) => x,
            Self::Image(x) => x.flatten(1, 3),
        }
    }

    /// `[batch, channels, height, width]`. Panics on features.
    pub fn image(self) -> Tensor<4> {
        match self {
            Self::Image(x) => x,
            Self::Features(_) => unreachable!("a checked specification feeds images to this layer"),
        }
    }

    /// The same function at either rank.
    pub fn map(
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

/// A tensor of rank `D` from row-major values.
pub(crate) fn tensor<const D: usize>(
    values: Vec<f32>,
    dims: &[usize],
    device: &Device,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, dims.to_vec()), device)
}
