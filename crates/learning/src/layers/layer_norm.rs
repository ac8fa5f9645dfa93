//! Layer normalisation.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::module::layer_norm;
use fedra_protocol::layers as spec;

use super::activation::{Activation, at_each_rank};
use super::parameters::{Parameters, TrainedTensor};
use super::{LayerModule, Mode};

#[derive(Module, Debug)]
pub(crate) struct LayerNorm {
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
    epsilon: f32,
}

impl LayerModule for LayerNorm {
    type Spec = spec::LayerNorm;

    fn build(spec: &spec::LayerNorm, parameters: &mut Parameters<'_>) -> Self {
        Self { gamma: parameters.next(), beta: parameters.next(), epsilon: spec.epsilon }
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        let epsilon = f64::from(self.epsilon);
        at_each_rank!(input, x => layer_norm(x, gamma, Some(beta), epsilon))
    }

    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        vec![&self.gamma, &self.beta]
    }
}
