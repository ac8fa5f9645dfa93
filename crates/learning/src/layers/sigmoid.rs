//! Logistic function.

use burn::nn::Sigmoid;
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::parameters::Parameters;
use super::{LayerModule, Mode};

impl LayerModule for Sigmoid {
    type Spec = spec::Sigmoid;

    fn build(_spec: &spec::Sigmoid, _parameters: &mut Parameters<'_>) -> Self {
        Self::new()
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        input.map(|x| self.forward(x), |x| self.forward(x))
    }
}
