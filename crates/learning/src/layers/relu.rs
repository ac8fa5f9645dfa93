//! Rectified linear unit.

use burn::nn::Relu;
use fedra_protocol::layers as spec;

use super::activation::{Activation, at_each_rank};
use super::parameters::Parameters;
use super::{LayerModule, Mode};

impl LayerModule for Relu {
    type Spec = spec::Relu;

    fn build(_spec: &spec::Relu, _parameters: &mut Parameters<'_>) -> Self {
        Self::new()
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        at_each_rank!(input, x => self.forward(x))
    }
}
