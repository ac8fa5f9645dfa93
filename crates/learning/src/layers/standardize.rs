//! Normalisation without parameters.

use burn::module::Module;
use burn::tensor::Tensor;
use fedra_protocol::layers as spec;

use super::activation::Activation;
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
        input.map(|x| self.standardized(x), |x| self.standardized(x))
    }
}

impl Standardize {
    /// Over dimension 1: the channels of `[batch, channels, height, width]`, the
    /// features of `[batch, features]`.
    fn standardized<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let mean = x.clone().mean_dim(1);
        let centred = x - mean;
        let variance = centred.clone().square().mean_dim(1);
        centred / variance.add_scalar(self.epsilon).sqrt()
    }
}
