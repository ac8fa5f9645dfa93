//! Fixed edge filters.

use burn::module::Module;
use burn::tensor::Tensor;
use fedra_kernels::{Activation as Function, Convolution, ConvolutionBlock};
use fedra_protocol::layers as spec;

use super::activation::{Activation, tensor};
use super::parameters::Parameters;
use super::{LayerModule, Mode};
use crate::kernels;

#[derive(Module, Debug)]
pub(crate) struct GaussianDerivative {
    orientations: u32,
    kernel: u32,
    sigma: f32,
}

impl LayerModule for GaussianDerivative {
    type Spec = spec::GaussianDerivative;

    fn build(spec: &spec::GaussianDerivative, _parameters: &mut Parameters<'_>) -> Self {
        let spec::GaussianDerivative { orientations, kernel, sigma } = *spec;
        Self { orientations, kernel, sigma }
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        Activation::Image(self.filtered(input.image()))
    }
}

impl GaussianDerivative {
    /// `[batch, channels, height, width]` to `[batch, channels * orientations, height, width]`.
    fn filtered(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let Self { orientations, kernel, sigma } = *self;
        let filters = spec::GaussianDerivative { orientations, kernel, sigma }.filters();
        let [orientations, kernel] = [orientations, kernel].map(|n| n as usize);
        let filters = tensor(filters, &[orientations, 1, kernel, kernel], &x.device());
        let convolution = Convolution {
            inputs: 1,
            outputs: orientations,
            size: [height, width],
            kernel: [kernel; 2],
            stride: [1; 2],
            padding: [kernel / 2; 2],
        };
        let block = ConvolutionBlock { convolution, pool: None, activation: Function::Identity };
        let bias = tensor(vec![0.0; orientations], &[orientations], &x.device());
        // Each channel by itself, as if it were an example.
        let x = x.reshape([batch * channels, 1, height, width]);
        let y = kernels::convolution(block, x, filters, bias);
        y.reshape([batch, channels * orientations, height, width])
    }
}
