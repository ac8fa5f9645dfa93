//! Two-dimensional convolution.

use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Gradients, Tensor, s};
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::example_gradient::{ExampleGradient, GRADIENT, Tap, WholeGradient, probed};
use super::parameters::{Parameters, TrainedTensor, trained_pair};
use super::{LayerModule, Mode};

impl LayerModule for Conv2d {
    type Spec = spec::Conv2d;

    const EXAMPLE_GRADIENT: bool = true;

    fn build(spec: &spec::Conv2d, parameters: &mut Parameters<'_>) -> Self {
        let (weight, bias) = (parameters.next::<4>(), parameters.next());
        let [channels, inputs, ..] = weight.dims();
        let [kernel, stride, padding] =
            [spec.kernel, spec.stride, spec.padding].map(|n| n as usize);
        // The sizes come from the specification, the values from the flat vector.
        let mut conv = Conv2dConfig::new([inputs, channels], [kernel, kernel])
            .with_stride([stride, stride])
            .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
            .init(parameters.device());
        conv.weight = weight;
        conv.bias = Some(bias);
        conv
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        Activation::Image(self.forward(input.image()))
    }

    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        trained_pair(&self.weight, &self.bias)
    }

    fn tap(&self, input: Activation, _mode: &mut Mode<'_>) -> (Activation, Option<Box<dyn Tap>>) {
        let input = input.image();
        let (output, probe) = probed(self.forward(input.clone()));
        let patches = patches(input.inner(), self, output.dims());
        let tap = Conv2dTap { layer: self.clone(), patches, probe };
        (Activation::Image(output), Some(Box::new(tap)))
    }
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
        let Conv2d { weight: weights, bias: biases, .. } = self.layer;
        Box::new(WholeGradient { weights, biases, weight, bias: output.sum_dim(2) })
    }
}

/// The windows that a convolution looks at, `[batch, in * kernel * kernel, positions]`,
/// in the order of its weights. burn's own unfolding is a convolution with
/// one-hot filters, which costs more than the layer itself.
fn patches(input: Tensor<4>, conv: &Conv2d, [_, _, rows, columns]: [usize; 4]) -> Tensor<3> {
    let PaddingConfig2d::Explicit(top, left, bottom, right) = conv.padding else {
        unreachable!("convolutions are built with explicit padding")
    };
    let [kernel, _] = conv.kernel_size;
    let [stride, _] = conv.stride;
    let input = input.pad((left, right, top, bottom), 0.0);
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
