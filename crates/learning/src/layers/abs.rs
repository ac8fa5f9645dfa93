//! Magnitude.

use burn::module::Module;
use fedra_protocol::layers as spec;

use super::activation::{Activation, at_each_rank};
use super::parameters::Parameters;
use super::{LayerModule, Mode};

#[derive(Module, Debug)]
pub(crate) struct Abs {}

impl LayerModule for Abs {
    type Spec = spec::Abs;

    fn build(_spec: &spec::Abs, _parameters: &mut Parameters<'_>) -> Self {
        Self {}
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        at_each_rank!(input, x => x.abs())
    }
}
