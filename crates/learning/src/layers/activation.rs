//! Batches between two layers.

use burn::tensor::{Device, Int, Tensor, TensorData};
use fedra_protocol::Shape;

use crate::data::Features;

/// Batch between two layers: the rank is burn's compile-time business.
#[derive(Clone)]
pub(crate) enum Activation {
    /// `[batch, features]`.
    Features(Tensor<2>),
    /// `[batch, positions, width]`.
    Sequence(Tensor<3>),
    /// `[batch, channels, height, width]`.
    Image(Tensor<4>),
    /// `[batch, positions]`.
    Tokens(Tensor<2, Int>),
}

/// An activation of values by the same expression at each rank.
macro_rules! at_each_rank {
    ($input:expr, $values:ident => $output:expr) => {
        match $input {
            Activation::Features($values) => Activation::Features($output),
            Activation::Sequence($values) => Activation::Sequence($output),
            Activation::Image($values) => Activation::Image($output),
            Activation::Tokens(_) => unreachable!("{}", $crate::layers::activation::CHECKED),
        }
    };
}
pub(super) use at_each_rank;

/// Reason why a layer is never given a batch of another shape.
pub(super) const CHECKED: &str = "a checked specification feeds this layer what it takes";

impl Activation {
    /// Row-major elements, `shape` being one example's. Panics on elements of another kind.
    pub fn new(features: Features, shape: Shape, device: &Device) -> Self {
        let batch = features.len() / shape.len();
        let sizes: Vec<usize> =
            std::iter::once(batch).chain(shape.dims().iter().map(|&size| size as usize)).collect();
        match (shape, features) {
            (Shape::Features(_), Features::Values(values)) => {
                Self::Features(tensor(values, &sizes, device))
            }
            (Shape::Sequence { .. }, Features::Values(values)) => {
                Self::Sequence(tensor(values, &sizes, device))
            }
            (Shape::Image { .. }, Features::Values(values)) => {
                Self::Image(tensor(values, &sizes, device))
            }
            (Shape::Tokens { .. }, Features::Tokens(tokens)) => {
                let tokens: Vec<i32> = tokens.into_iter().map(|token| token as i32).collect();
                Self::Tokens(Tensor::from_data(TensorData::new(tokens, sizes), device))
            }
            _ => unreachable!("{CHECKED}"),
        }
    }

    /// The examples at `indices`, in that order.
    pub fn select(&self, indices: &[u32]) -> Self {
        let indices: Vec<i32> = indices.iter().map(|&index| index as i32).collect();
        let rows = |device| Tensor::<1, Int>::from_data(indices.as_slice(), device);
        match self {
            Self::Features(x) => Self::Features(x.clone().select(0, rows(&x.device()))),
            Self::Sequence(x) => Self::Sequence(x.clone().select(0, rows(&x.device()))),
            Self::Image(x) => Self::Image(x.clone().select(0, rows(&x.device()))),
            Self::Tokens(x) => Self::Tokens(x.clone().select(0, rows(&x.device()))),
        }
    }

    /// The examples of all `parts`, which have the same shape. Panics on none.
    pub fn concatenate(parts: Vec<Self>) -> Self {
        let first = parts.first().cloned();
        let parts = parts.into_iter();
        match first.expect("there is a part") {
            Self::Features(_) => Self::Features(Tensor::cat(parts.map(Self::flatten).collect(), 0)),
            Self::Sequence(_) => {
                Self::Sequence(Tensor::cat(parts.map(Self::sequence).collect(), 0))
            }
            Self::Image(_) => Self::Image(Tensor::cat(parts.map(Self::image).collect(), 0)),
            Self::Tokens(_) => Self::Tokens(Tensor::cat(parts.map(Self::tokens).collect(), 0)),
        }
    }

    /// Elements in one example.
    pub fn width(&self) -> usize {
        match self {
            Self::Features(x) => x.dims()[1],
            Self::Sequence(x) => x.dims()[1..].iter().product(),
            Self::Image(x) => x.dims()[1..].iter().product(),
            Self::Tokens(x) => x.dims()[1],
        }
    }

    /// `[batch, features]`, channels first, or one position after the other. Panics on
    /// token ids.
    pub fn flatten(self) -> Tensor<2> {
        match self {
            Self::Features(x) => x,
            Self::Sequence(x) => x.flatten(1, 2),
            Self::Image(x) => x.flatten(1, 3),
            Self::Tokens(_) => unreachable!("{CHECKED}"),
        }
    }

    /// `[batch * positions, width]`: a row for each position of a sequence, or for each
    /// example. Panics on images and token ids.
    pub fn rows(self) -> Tensor<2> {
        match self {
            Self::Features(x) => x,
            Self::Sequence(x) => x.flatten(0, 1),
            Self::Image(_) | Self::Tokens(_) => unreachable!("{CHECKED}"),
        }
    }

    /// `[batch, positions, width]`. Panics on anything but a sequence.
    pub fn sequence(self) -> Tensor<3> {
        match self {
            Self::Sequence(x) => x,
            _ => unreachable!("{CHECKED}"),
        }
    }

    /// `[batch, channels, height, width]`. Panics on anything but images.
    pub fn image(self) -> Tensor<4> {
        match self {
            Self::Image(x) => x,
            _ => unreachable!("{CHECKED}"),
        }
    }

    /// `[batch, positions]`. Panics on values.
    pub fn tokens(self) -> Tensor<2, Int> {
        match self {
            Self::Tokens(x) => x,
            _ => unreachable!("{CHECKED}"),
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
