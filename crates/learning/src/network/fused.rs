//! Layers in a row that one of our kernels does together: a linear layer and its ReLU, a
//! convolution with ReLU and max pooling in either order.

use burn::nn::conv::Conv2d;
use burn::nn::pool::MaxPool2d;
use burn::nn::{Linear, PaddingConfig2d};
use fedra_kernels::{Activation as Function, Convolution, ConvolutionBlock, MaxPool};

use crate::kernels;
use crate::layers::{Activation, NetworkLayer};

/// Layers that one kernel does.
#[derive(Clone, Copy)]
pub(super) enum Fused<'a> {
    Linear(&'a Linear, Function),
    Convolution(&'a Conv2d, Option<&'a MaxPool2d>, Function),
}

/// The longest such row at the front, and the layers after it.
pub(super) fn longest(layers: &[NetworkLayer]) -> Option<(Fused<'_>, &[NetworkLayer])> {
    use Function::{Identity, Relu};
    use NetworkLayer as L;
    Some(match layers {
        [L::Linear(linear), L::Relu(_), rest @ ..] => (Fused::Linear(linear, Relu), rest),
        [L::Linear(linear), rest @ ..] => (Fused::Linear(linear, Identity), rest),
        [L::Conv2d(conv), L::Relu(_), L::MaxPool2d(pool), rest @ ..]
        | [L::Conv2d(conv), L::MaxPool2d(pool), L::Relu(_), rest @ ..] => {
            (Fused::Convolution(conv, Some(pool), Relu), rest)
        }
        [L::Conv2d(conv), L::Relu(_), rest @ ..] => (Fused::Convolution(conv, None, Relu), rest),
        [L::Conv2d(conv), L::MaxPool2d(pool), rest @ ..] => {
            (Fused::Convolution(conv, Some(pool), Identity), rest)
        }
        [L::Conv2d(conv), rest @ ..] => (Fused::Convolution(conv, None, Identity), rest),
        _ => return None,
    })
}

/// Reason for which a layer has a bias.
const BIAS: &str = "layers are built with a bias";

impl Fused<'_> {
    /// Output of the row.
    pub fn apply(self, input: Activation) -> Activation {
        match self {
            Self::Linear(layer, function) => {
                let bias = layer.bias.as_ref().expect(BIAS);
                let row = |x| kernels::linear(function, x, layer.weight.val(), bias.val());
                match input {
                    Activation::Sequence(x) => {
                        let [batch, positions, _] = x.dims();
                        let y = row(x.flatten(0, 1));
                        let width = y.dims()[1];
                        Activation::Sequence(y.reshape([batch, positions, width]))
                    }
                    input => Activation::Features(row(input.flatten())),
                }
            }
            Self::Convolution(layer, pool, activation) => {
                let (x, bias) = (input.image(), layer.bias.as_ref().expect(BIAS));
                let block = ConvolutionBlock {
                    convolution: shape(layer, x.dims()),
                    pool: pool.map(windows),
                    activation,
                };
                let y = kernels::convolution(block, x, layer.weight.val(), bias.val());
                Activation::Image(y)
            }
        }
    }
}

fn windows(pool: &MaxPool2d) -> MaxPool {
    MaxPool { kernel: pool.kernel_size, stride: pool.stride }
}

fn shape(layer: &Conv2d, [_, inputs, height, width]: [usize; 4]) -> Convolution {
    let PaddingConfig2d::Explicit(top, left, ..) = layer.padding else {
        unreachable!("convolutions are built with explicit padding")
    };
    Convolution {
        inputs,
        outputs: layer.weight.dims()[0],
        size: [height, width],
        kernel: layer.kernel_size,
        stride: layer.stride,
        padding: [top, left],
    }
}
