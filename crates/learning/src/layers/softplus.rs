//! Smooth rectified linear unit.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use fedra_protocol::layers as spec;

use super::activation::{Activation, at_each_rank};
use super::parameters::Parameters;
use super::{LayerModule, Mode};

/// Value from which on `ln(1 + exp(x))` is x in single precision.
const LINEAR: f32 = 20.0;

#[derive(Module, Debug)]
pub(crate) struct Softplus {}

impl LayerModule for Softplus {
    type Spec = spec::Softplus;

    fn build(_spec: &spec::Softplus, _parameters: &mut Parameters<'_>) -> Self {
        Self {}
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        at_each_rank!(input, x => softplus(x))
    }
}

/// Never takes the exponential of a large value.
fn softplus<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let beyond = relu(x.clone().sub_scalar(LINEAR));
    x.clamp_max(LINEAR).exp().log1p() + beyond
}
