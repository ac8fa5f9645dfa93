//! Rectified linear unit with a slope below 0.

use burn::module::Module;
use burn::tensor::activation::relu;
use fedra_protocol::layers as spec;

use super::activation::{Activation, at_each_rank};
use super::parameters::Parameters;
use super::{LayerModule, Mode};

#[derive(Module, Debug)]
pub(crate) struct LeakyRelu {
    slope: f32,
}

impl LayerModule for LeakyRelu {
    type Spec = spec::LeakyRelu;

    fn build(spec: &spec::LeakyRelu, _parameters: &mut Parameters<'_>) -> Self {
        Self { slope: spec.slope }
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        at_each_rank!(input, x => relu(x.clone()) + x.clamp_max(0.0).mul_scalar(self.slope))
    }
}
