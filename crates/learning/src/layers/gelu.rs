//! Gaussian error linear unit.

use burn::nn::Gelu;
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::parameters::Parameters;
use super::{LayerModule, Mode};

impl LayerModule for Gelu {
    type Spec = spec::Gelu;

    fn build(_spec: &spec::Gelu, _parameters: &mut Parameters<'_>) -> Self {
        Self::new()
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        input.map(|x| self.forward(x), |x| self.forward(x))
    }
}
