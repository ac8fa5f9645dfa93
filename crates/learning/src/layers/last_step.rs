//! Last position of a sequence.

use burn::module::Module;
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::parameters::Parameters;
use super::{LayerModule, Mode};

#[derive(Module, Debug)]
pub(crate) struct LastStep {}

impl LayerModule for LastStep {
    type Spec = spec::LastStep;

    fn build(_spec: &spec::LastStep, _parameters: &mut Parameters<'_>) -> Self {
        Self {}
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        let x = input.sequence();
        let [_, positions, _] = x.dims();
        Activation::Features(x.narrow(1, positions - 1, 1).flatten(1, 2))
    }
}
