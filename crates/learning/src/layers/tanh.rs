//! Hyperbolic tangent.

use burn::nn::Tanh;
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::parameters::Parameters;
use super::{LayerModule, Mode};

impl LayerModule for Tanh {
    type Spec = spec::Tanh;

    fn build(_spec: &spec::Tanh, _parameters: &mut Parameters<'_>) -> Self {
        Self::new()
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        input.map(|x| self.forward(x), |x| self.forward(x))
    }
}
