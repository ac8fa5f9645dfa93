//! One-dimensional convolution.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, s};
use fedra_kernels::{Activation as Function, ConvolutionBlock};
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::conv2d::{Windows, tapped};
use super::example_gradient::Tap;
use super::parameters::{Parameters, TrainedTensor};
use super::{LayerModule, Mode};
use crate::kernels;

/// A convolution over the positions of a sequence: one of images of height 1.
///
/// With a dilation it is one of images whose rows are so many positions long: the positions of
/// a window stand below each other there.
#[derive(Module, Debug)]
pub(crate) struct Conv1d {
    /// `[outputs, inputs, kernel]`.
    weight: Param<Tensor<3>>,
    bias: Param<Tensor<1>>,
    stride: usize,
    padding: usize,
    dilation: usize,
}

impl LayerModule for Conv1d {
    type Spec = spec::Conv1d;

    const EXAMPLE_GRADIENT: bool = true;

    fn build(spec: &spec::Conv1d, parameters: &mut Parameters<'_>) -> Self {
        let [stride, padding, dilation] =
            [spec.stride, spec.padding, spec.dilation].map(|n| n as usize);
        let (weight, bias) = (parameters.next(), parameters.next());
        Self { weight, bias, stride, padding, dilation }
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        let (x, positions) = self.images(input);
        let convolution = self.windows().of(&x, self.bias.dims()[0]);
        let block = ConvolutionBlock { convolution, pool: None, activation: Function::Identity };
        let weight = self.weight.val().reshape(self.kernel());
        let output = kernels::convolution(block, x, weight, self.bias.val());
        self.sequence(output, positions)
    }

    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        vec![&self.weight, &self.bias]
    }

    fn tap(&self, input: Activation, _mode: &mut Mode<'_>) -> (Activation, Option<Box<dyn Tap>>) {
        let (x, positions) = self.images(input);
        let (output, tap) = tapped(self.windows(), x, &self.weight, &self.bias);
        (self.sequence(output, positions), Some(tap))
    }
}

impl Conv1d {
    fn windows(&self) -> Windows {
        let [_, _, kernel] = self.weight.dims();
        match self.dilation {
            1 => {
                let (stride, padding) = ([1, self.stride], [0, self.padding]);
                Windows { kernel: [1, kernel], stride, padding }
            }
            _ => Windows { kernel: [kernel, 1], stride: [1; 2], padding: [0; 2] },
        }
    }

    /// Dimensions of the weights for images.
    fn kernel(&self) -> [usize; 4] {
        let ([outputs, inputs, _], [rows, columns]) = (self.weight.dims(), self.windows().kernel);
        [outputs, inputs, rows, columns]
    }

    /// The images of a sequence, and the positions at which a window begins.
    fn images(&self, input: Activation) -> (Tensor<4>, usize) {
        let x = Activation::Sequence(input.sequence()).planes();
        let ([batch, width, _, positions], [_, _, kernel]) = (x.dims(), self.weight.dims());
        let padded = positions + 2 * self.padding;
        let begins = padded - (kernel - 1) * self.dilation;
        if self.dilation == 1 {
            return (x, begins);
        }
        let rows = padded.div_ceil(self.dilation);
        let behind = rows * self.dilation - positions - self.padding;
        let x = x.pad((self.padding, behind, 0, 0), 0.0);
        (x.reshape([batch, width, rows, self.dilation]), begins)
    }

    /// The sequence of the windows that begin at the first positions, a stride apart.
    fn sequence(&self, images: Tensor<4>, begins: usize) -> Activation {
        if self.dilation == 1 {
            return Activation::positions_of(images);
        }
        let [batch, channels, rows, columns] = images.dims();
        let windows = images.reshape([batch, channels, 1, rows * columns]);
        let (begins, stride) = (0..begins, self.stride);
        Activation::positions_of(windows.slice(s![.., .., .., begins;stride]))
    }
}
