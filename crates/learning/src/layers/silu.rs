//! Sigmoid linear unit.

use burn::module::Module;
use burn::tensor::activation::sigmoid;
use fedra_protocol::layers as spec;

use super::activation::{Activation, at_each_rank};
use super::parameters::Parameters;
use super::{LayerModule, Mode};

#[derive(Module, Debug)]
pub(crate) struct Silu {}

impl LayerModule for Silu {
    type Spec = spec::Silu;

    fn build(_spec: &spec::Silu, _parameters: &mut Parameters<'_>) -> Self {
        Self {}
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        at_each_rank!(input, x => x.clone() * sigmoid(x))
    }
}
