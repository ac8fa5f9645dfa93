//! Layers in a row that one of our kernels does together: a linear layer and its ReLU, a
//! convolution with ReLU and max pooling in either order.

use fedra_kernels::Activation as Function;

use crate::layers::{
    Activation, Conv2d, Linear, MaxPool2d, Mode, NetworkLayer, connected, convolved,
};

/// Layers that one kernel does.
#[derive(Clone, Copy)]
enum Fused<'a> {
    Linear(&'a Linear, Function),
    Convolution(&'a Conv2d, Option<&'a MaxPool2d>, Function),
}

/// Output of `layers` on their input.
pub(crate) fn run(
    mut layers: &[NetworkLayer],
    mut activation: Activation,
    mode: &mut Mode<'_>,
) -> Activation {
    while let Some(layer) = layers.first() {
        (activation, layers) = match longest(layers) {
            Some((block, rest)) => (block.apply(activation, mode), rest),
            None => (layer.apply(activation, mode), &layers[1..]),
        };
    }
    activation
}

/// The longest such row at the front, and the layers after it.
fn longest(layers: &[NetworkLayer]) -> Option<(Fused<'_>, &[NetworkLayer])> {
    use Function::{Identity, Relu};
    use NetworkLayer as L;
    Some(match layers {
        [L::Linear(linear), L::Relu(_), rest @ ..] => (Fused::Linear(linear, Relu), rest),
        [L::Conv2d(conv), L::Relu(_), L::MaxPool2d(pool), rest @ ..]
        | [L::Conv2d(conv), L::MaxPool2d(pool), L::Relu(_), rest @ ..] => {
            (Fused::Convolution(conv, Some(pool), Relu), rest)
        }
        [L::Conv2d(conv), L::Relu(_), rest @ ..] => (Fused::Convolution(conv, None, Relu), rest),
        [L::Conv2d(conv), L::MaxPool2d(pool), rest @ ..] => {
            (Fused::Convolution(conv, Some(pool), Identity), rest)
        }
        _ => return None,
    })
}

impl Fused<'_> {
    /// Output of the row.
    pub fn apply(self, input: Activation, mode: &mut Mode<'_>) -> Activation {
        match self {
            Self::Linear(layer, function) => connected(layer, input, function, mode),
            Self::Convolution(layer, pool, function) => Activation::Image(convolved(
                layer,
                input.image(),
                pool.map(MaxPool2d::windows),
                function,
            )),
        }
    }
}
