//! Batches between two layers.

use burn::tensor::{Device, Tensor, TensorData};
use fedra_data::Features;
use fedra_protocol::Shape;

/// Batch between two layers: the rank is burn's compile-time business.
#[derive(Clone)]
pub(crate) enum Activation {
    /// `[batch, features]`.
    Features(Tensor<2>),
    /// `[batch, positions, width]`.
    Sequence(Tensor<3>),
    /// `[batch, channels, height, width]`.
    Image(Tensor<4>),
    /// Token ids.
    Tokens(Tokens),
}

/// Token ids of a batch, one example after the other.
#[derive(Clone)]
pub(crate) struct Tokens {
    pub ids: Vec<u32>,
    /// Ids of an example.
    pub positions: usize,
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
            (Shape::Tokens { .. }, Features::Tokens(ids)) => {
                Self::Tokens(Tokens { ids, positions: shape.len() })
            }
            _ => unreachable!("{CHECKED}"),
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

    /// `[batch, positions, width]`: a sequence, or the rows of images of one channel. Panics
    /// on anything else.
    pub fn sequence(self) -> Tensor<3> {
        match self {
            Self::Sequence(x) => x,
            Self::Image(x) => x.squeeze_dim(1),
            Self::Features(_) | Self::Tokens(_) => unreachable!("{CHECKED}"),
        }
    }

    /// `[batch, channels, height, width]`. Panics on anything but images.
    pub fn image(self) -> Tensor<4> {
        match self {
            Self::Image(x) => x,
            _ => unreachable!("{CHECKED}"),
        }
    }

    /// `[batch, channels, height, width]`: images, or a sequence as images of height 1, whose
    /// channels are its width. Panics on anything else.
    pub fn planes(self) -> Tensor<4> {
        match self {
            Self::Image(x) => x,
            Self::Sequence(x) => x.swap_dims(1, 2).unsqueeze_dim(2),
            Self::Features(_) | Self::Tokens(_) => unreachable!("{CHECKED}"),
        }
    }

    /// The sequence whose [planes](Self::planes) are `images`, of height 1.
    pub fn positions_of(images: Tensor<4>) -> Self {
        Self::Sequence(images.squeeze_dim::<3>(2).swap_dims(1, 2))
    }

    /// The sum of two activations of the same shape. Panics on any others.
    pub fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Features(x), Self::Features(y)) => Self::Features(x + y),
            (Self::Sequence(x), Self::Sequence(y)) => Self::Sequence(x + y),
            (Self::Image(x), Self::Image(y)) => Self::Image(x + y),
            _ => unreachable!("{CHECKED}"),
        }
    }

    /// Token ids. Panics on values.
    pub fn tokens(self) -> Tokens {
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
