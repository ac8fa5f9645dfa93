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
        let input = input.image();
        let (output, probe) = probed(convolved(self, input.clone(), None, Function::Identity));
        let patches = patches(input.inner(), self, output.dims());
        let tap = Conv2dTap { layer: self.clone(), patches, probe };
        (Activation::Image(output), Some(Box::new(tap)))
    }
}

/// Output of the layer with the pooling and the function after it.
pub(crate) fn convolved(
    layer: &Conv2d,
    x: Tensor<4>,
    pool: Option<MaxPool>,
    activation: Function,
) -> Tensor<4> {
    let [_, inputs, height, width] = x.dims();
    let [outputs, _, rows, columns] = layer.weight.dims();
    let convolution = Convolution {
        inputs,
        outputs,
        size: [height, width],
        kernel: [rows, columns],
        stride: [layer.stride; 2],
        padding: [layer.padding; 2],
    };
    let block = ConvolutionBlock { convolution, pool, activation };
    kernels::convolution(block, x, layer.weight.val(), layer.bias.val())
}

/// `patches: [batch, in * kernel * kernel, positions]`, and the probe at the output.
struct Conv2dTap {
    layer: Conv2d,
    patches: Tensor<3>,
    probe: Tensor<4>,
}

impl Tap for Conv2dTap {
    fn gradient(self: Box<Self>, gradients: &Gradients) -> Box<dyn ExampleGradient> {
        let output: Tensor<3> = self.probe.grad(gradients).expect(GRADIENT).flatten(2, 3);
        let weight = output.clone().matmul(self.patches.swap_dims(1, 2));
        let Conv2d { weight: weights, bias, .. } = self.layer;
        Box::new(WholeGradient { weights, biases: bias, weight, bias: output.sum_dim(2) })
    }
}

/// The windows that a convolution looks at, `[batch, in * kernel * kernel, positions]`,
/// in the order of its weights. burn's own unfolding is a convolution with
/// one-hot filters, which costs more than the layer itself.
fn patches(input: Tensor<4>, conv: &Conv2d, [_, _, rows, columns]: [usize; 4]) -> Tensor<3> {
    let [_, _, kernel, _] = conv.weight.dims();
    let (stride, padding) = (conv.stride, conv.padding);
    let input = input.pad((padding, padding, padding, padding), 0.0);
    let [batch, channels, ..] = input.dims();
    let span = |start: usize, windows: usize| start..start + stride * (windows - 1) + 1;
    let window = |index: usize| {
        let (row, column) = (span(index / kernel, rows), span(index % kernel, columns));
        let window = input.clone().slice(s![.., .., row;stride, column;stride]);
        window.reshape([batch, channels, 1, rows * columns])
    };
    Tensor::cat((0..kernel * kernel).map(window).collect(), 2).reshape([
        batch,
        channels * kernel * kernel,
        rows * columns,
    ])
}
