//! Images and sequences as features.

use burn::module::Module;
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::parameters::Parameters;
use super::{LayerModule, Mode};

#[derive(Module, Debug)]
pub(crate) struct Flatten {}

impl LayerModule for Flatten {
    type Spec = spec::Flatten;

    fn build(_spec: &spec::Flatten, _parameters: &mut Parameters<'_>) -> Self {
        Self {}
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        Activation::Features(input.flatten())
    }
}
