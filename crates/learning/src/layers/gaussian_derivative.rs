//! Fixed edge filters.

use std::f64::consts::PI;

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
    orientations: usize,
    kernel: usize,
    sigma: f32,
}

impl LayerModule for GaussianDerivative {
    type Spec = spec::GaussianDerivative;

    fn build(spec: &spec::GaussianDerivative, _parameters: &mut Parameters<'_>) -> Self {
        let [orientations, kernel] = [spec.orientations, spec.kernel].map(|n| n as usize);
        Self { orientations, kernel, sigma: spec.sigma }
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        Activation::Image(self.filtered(input.image()))
    }
}

impl GaussianDerivative {
    /// `[batch, channels, height, width]` to `[batch, channels * orientations, height, width]`.
    fn filtered(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let filters = filters(self.orientations, self.kernel, f64::from(self.sigma));
        let dims = [self.orientations, 1, self.kernel, self.kernel];
        let filters = tensor(filters, &dims, &x.device());
        let convolution = Convolution {
            inputs: 1,
            outputs: self.orientations,
            size: [height, width],
            kernel: [self.kernel; 2],
            stride: [1; 2],
            padding: [self.kernel / 2; 2],
        };
        let block = ConvolutionBlock { convolution, pool: None, activation: Function::Identity };
        let bias = tensor(vec![0.0; self.orientations], &[self.orientations], &x.device());
        // Each channel by itself, as if it were an example.
        let x = x.reshape([batch * channels, 1, height, width]);
        let y = kernels::convolution(block, x, filters, bias);
        y.reshape([batch, channels * self.orientations, height, width])
    }
}

/// The filters, row-major, one orientation after the other.
///
/// Computed with libm in double precision, so that the rounded values are the same
/// on every platform.
fn filters(orientations: usize, kernel: usize, sigma: f64) -> Vec<f32> {
    let middle = (kernel / 2) as f64;
    let offset = |index: usize| index as f64 - middle;
    let bell: Vec<f64> = (0..kernel)
        .map(|index| libm::exp(-offset(index) * offset(index) / (2.0 * sigma * sigma)))
        .collect();
    let mut filters = Vec::with_capacity(orientations * kernel * kernel);
    for orientation in 0..orientations {
        let (sin, cos) = libm::sincos(orientation as f64 * PI / orientations as f64);
        let filter: Vec<f64> = (0..kernel * kernel)
            .map(|index| (index % kernel, index / kernel))
            .map(|(x, y)| (offset(x) * cos + offset(y) * sin) * bell[x] * bell[y])
            .collect();
        let norm = filter.iter().map(|value| value * value).sum::<f64>().sqrt();
        filters.extend(filter.iter().map(|value| (value / norm) as f32));
    }
    filters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_slopes_of_unit_norm() {
        // By hand, at sigma = 1: the horizontal slope of a 3x3 window is
        // x exp(-(x^2 + y^2) / 2), whose squares sum to 2 e^-1 + 4 e^-2.
        let horizontal = &filters(2, 3, 1.0)[..9];
        let norm = (2.0 * (-1f64).exp() + 4.0 * (-2f64).exp()).sqrt();
        let (near, far) = ((-0.5f64).exp() / norm, (-1f64).exp() / norm);
        let expected = [-far, 0.0, far, -near, 0.0, near, -far, 0.0, far];
        for (value, expected) in horizontal.iter().zip(expected) {
            assert!((f64::from(*value) - expected).abs() < 1e-7, "{horizontal:?} {expected}");
        }
        for (orientations, kernel, sigma) in [(1, 3, 0.25), (4, 5, 1.0), (64, 31, 16.0)] {
            for filter in filters(orientations, kernel, sigma).chunks_exact(kernel * kernel) {
                let squares: f64 = filter.iter().map(|&v| f64::from(v).powi(2)).sum();
                let sum: f64 = filter.iter().map(|&v| f64::from(v)).sum();
                assert!((squares - 1.0).abs() < 1e-5 && sum.abs() < 1e-5, "{squares} {sum}");
            }
        }
    }

    #[test]
    fn the_filters_of_a_model_never_change() {
        // The last bits matter: a client and the server must see the same features.
        let bits: Vec<u32> = filters(4, 5, 1.0)[25..30].iter().map(|v| v.to_bits()).collect();
        assert_eq!(bits, GOLDEN, "{bits:#x?}");
    }

    const GOLDEN: [u32; 5] = [0xbd29_af54, 0xbe0e_96cb, 0xbe1c_b9f5, 0xbd3e_1e64, 0x226f_f87d];
}
