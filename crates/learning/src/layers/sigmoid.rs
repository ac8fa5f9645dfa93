//! Logistic function.

use burn::nn::Sigmoid;
use fedra_protocol::layers as spec;

use super::activation::{Activation, at_each_rank};
use super::parameters::Parameters;
use super::{LayerModule, Mode};

impl LayerModule for Sigmoid {
    type Spec = spec::Sigmoid;

    fn build(_spec: &spec::Sigmoid, _parameters: &mut Parameters<'_>) -> Self {
        Self::new()
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        at_each_rank!(input, x => self.forward(x))
    }
}
