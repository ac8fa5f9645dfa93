//! Two-dimensional convolution.

use burn::module::{Module, Param};
use burn::tensor::{Gradients, Tensor, s};
use fedra_kernels::{Activation as Function, Convolution, ConvolutionBlock, MaxPool};
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::example_gradient::{ExampleGradient, GRADIENT, Tap, WholeGradient, probed};
use super::parameters::{Parameters, TrainedTensor};
use super::{LayerModule, Mode};
use crate::kernels;

/// A convolution with a square kernel.
#[derive(Module, Debug)]
pub(crate) struct Conv2d {
    /// `[outputs, inputs, kernel, kernel]`.
    pub weight: Param<Tensor<4>>,
    pub bias: Param<Tensor<1>>,
    pub stride: usize,
    pub padding: usize,
}

impl LayerModule for Conv2d {
    type Spec = spec::Conv2d;

    const EXAMPLE_GRADIENT: bool = true;

    fn build(spec: &spec::Conv2d, parameters: &mut Parameters<'_>) -> Self {
        let [stride, padding] = [spec.stride, spec.padding].map(|n| n as usize);
        Self { weight: parameters.next(), bias: parameters.next(), stride, padding }
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        Activation::Image(convolved(self, input.image(), None, Function::Identity))
    }

    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        vec![&self.weight, &self.bias]
    }

    fn tap(&self, input: Activation, _mode: &mut Mode<'_>) -> (Activation, Option<Box<dyn Tap>>) {
        let (output, tap) = tapped(self.windows(), input.image(), &self.weight, &self.bias);
        (Activation::Image(output), Some(tap))
    }
}

impl Conv2d {
    fn windows(&self) -> Windows {
        let [_, _, rows, columns] = self.weight.dims();
        Windows { kernel: [rows, columns], stride: [self.stride; 2], padding: [self.padding; 2] }
    }
}

/// Sizes of the windows of a convolution, down and across.
#[derive(Clone, Copy)]
pub(super) struct Windows {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
}

impl Windows {
    /// The kernel's numbers for a convolution of `x: [batch, inputs, height, width]`.
    pub fn of(self, x: &Tensor<4>, outputs: usize) -> Convolution {
        let [_, inputs, height, width] = x.dims();
        let Self { kernel, stride, padding } = self;
        Convolution { inputs, outputs, size: [height, width], kernel, stride, padding }
    }
}

/// Output of the layer with the pooling and the function after it.
pub(crate) fn convolved(
    layer: &Conv2d,
    x: Tensor<4>,
    pool: Option<MaxPool>,
    activation: Function,
) -> Tensor<4> {
    let convolution = layer.windows().of(&x, layer.bias.dims()[0]);
    let block = ConvolutionBlock { convolution, pool, activation };
    kernels::convolution(block, x, layer.weight.val(), layer.bias.val())
}

/// Output of a convolution with weights `[outputs, inputs, ...kernel]`, and the tap.
pub(super) fn tapped<const D: usize>(
    windows: Windows,
    x: Tensor<4>,
    weights: &Param<Tensor<D>>,
    biases: &Param<Tensor<1>>,
) -> (Tensor<4>, Box<dyn Tap>) {
    let convolution = windows.of(&x, biases.dims()[0]);
    let block = ConvolutionBlock { convolution, pool: None, activation: Function::Identity };
    let Convolution { inputs, outputs, kernel: [rows, columns], .. } = convolution;
    let weight = weights.val().reshape([outputs, inputs, rows, columns]);
    let output = kernels::convolution(block, x.clone(), weight, biases.val());
    let (output, probe) = probed(output);
    let patches = patches(x.inner(), windows, output.dims());
    let (weights, biases) = (weights.clone(), biases.clone());
    (output, Box::new(ConvolutionTap { weights, biases, patches, probe }))
}

/// `patches: [batch, in * kernel, positions]`, and the probe at the output.
struct ConvolutionTap<const D: usize> {
    weights: Param<Tensor<D>>,
    biases: Param<Tensor<1>>,
    patches: Tensor<3>,
    probe: Tensor<4>,
}

impl<const D: usize> Tap for ConvolutionTap<D> {
    fn gradient(self: Box<Self>, gradients: &Gradients) -> Box<dyn ExampleGradient> {
        let output: Tensor<3> = self.probe.grad(gradients).expect(GRADIENT).flatten(2, 3);
        let weight = kernels::matmul(output.clone(), self.patches.swap_dims(1, 2));
        let Self { weights, biases, .. } = *self;
        Box::new(WholeGradient { weights, biases, weight, bias: output.sum_dim(2) })
    }
}

/// The windows that a convolution looks at, `[batch, in * kernel, positions]`, in the order
/// of its weights. burn's own unfolding is a convolution with
/// one-hot filters, which costs more than the layer itself.
fn patches(input: Tensor<4>, windows: Windows, [_, _, rows, columns]: [usize; 4]) -> Tensor<3> {
    let Windows { kernel, stride, padding: [down, across] } = windows;
    let input = input.pad((across, across, down, down), 0.0);
    let [batch, channels, ..] = input.dims();
    let span =
        |start: usize, windows: usize, stride: usize| start..start + stride * (windows - 1) + 1;
    let [down, across] = stride;
    let window = |index: usize| {
        let row = span(index / kernel[1], rows, down);
        let column = span(index % kernel[1], columns, across);
        let window = input.clone().slice(s![.., .., row;down, column;across]);
        window.reshape([batch, channels, 1, rows * columns])
    };
    let pixels = kernel[0] * kernel[1];
    Tensor::cat((0..pixels).map(window).collect(), 2).reshape([
        batch,
        channels * pixels,
        rows * columns,
    ])
}
