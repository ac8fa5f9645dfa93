//! One-dimensional convolution.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use fedra_kernels::{Activation as Function, ConvolutionBlock};
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::conv2d::{Windows, tapped};
use super::example_gradient::Tap;
use super::parameters::{Parameters, TrainedTensor};
use super::{LayerModule, Mode};
use crate::kernels;

/// A convolution over the positions of a sequence: one of images of height 1.
#[derive(Module, Debug)]
pub(crate) struct Conv1d {
    /// `[outputs, inputs, kernel]`.
    weight: Param<Tensor<3>>,
    bias: Param<Tensor<1>>,
    stride: usize,
    padding: usize,
}

impl LayerModule for Conv1d {
    type Spec = spec::Conv1d;

    const EXAMPLE_GRADIENT: bool = true;

    fn build(spec: &spec::Conv1d, parameters: &mut Parameters<'_>) -> Self {
        let [stride, padding] = [spec.stride, spec.padding].map(|n| n as usize);
        Self { weight: parameters.next(), bias: parameters.next(), stride, padding }
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        let x = Activation::Sequence(input.sequence()).planes();
        let convolution = self.windows().of(&x, self.bias.dims()[0]);
        let block = ConvolutionBlock { convolution, pool: None, activation: Function::Identity };
        let weight = self.weight.val().unsqueeze_dim(2);
        let output = kernels::convolution(block, x, weight, self.bias.val());
        Activation::positions_of(output)
    }

    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        vec![&self.weight, &self.bias]
    }

    fn tap(&self, input: Activation, _mode: &mut Mode<'_>) -> (Activation, Option<Box<dyn Tap>>) {
        let x = Activation::Sequence(input.sequence()).planes();
        let (output, tap) = tapped(self.windows(), x, &self.weight, &self.bias);
        (Activation::positions_of(output), Some(tap))
    }
}

impl Conv1d {
    fn windows(&self) -> Windows {
        let [_, _, kernel] = self.weight.dims();
        Windows { kernel: [1, kernel], stride: [1, self.stride], padding: [0, self.padding] }
    }
}
