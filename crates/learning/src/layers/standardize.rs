//! Normalisation without parameters.

use burn::module::Module;
use burn::tensor::Tensor;
use fedra_protocol::layers as spec;

use super::activation::{Activation, at_each_rank};
use super::parameters::Parameters;
use super::{LayerModule, Mode};

#[derive(Module, Debug)]
pub(crate) struct Standardize {
    epsilon: f32,
}

impl LayerModule for Standardize {
    type Spec = spec::Standardize;

    fn build(spec: &spec::Standardize, _parameters: &mut Parameters<'_>) -> Self {
        Self { epsilon: spec.epsilon }
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        match input {
            Activation::Sequence(x) => Activation::Sequence(standardized(x, 2, self.epsilon)),
            other => at_each_rank!(other, x => standardized(x, 1, self.epsilon)),
        }
    }
}

/// Mean 0 and variance 1 over one dimension: the channels of `[batch, channels, height,
/// width]`, the features of `[batch, features]`, the width of `[batch, positions, width]`.
pub(super) fn standardized<const D: usize>(x: Tensor<D>, dim: usize, epsilon: f32) -> Tensor<D> {
    let mean = x.clone().mean_dim(dim);
    let centred = x - mean;
    let variance = centred.clone().square().mean_dim(dim);
    centred / variance.add_scalar(epsilon).sqrt()
}
