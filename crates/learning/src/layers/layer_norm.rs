//! Layer normalisation.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use fedra_protocol::layers as spec;

use super::activation::{Activation, at_each_rank};
use super::parameters::{Parameters, TrainedTensor};
use super::{LayerModule, Mode};
use crate::kernels;

#[derive(Module, Debug)]
pub(crate) struct LayerNorm {
    pub gamma: Param<Tensor<1>>,
    pub beta: Param<Tensor<1>>,
    pub epsilon: f32,
}

impl LayerModule for LayerNorm {
    type Spec = spec::LayerNorm;

    fn build(spec: &spec::LayerNorm, parameters: &mut Parameters<'_>) -> Self {
        Self { gamma: parameters.next(), beta: parameters.next(), epsilon: spec.epsilon }
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        at_each_rank!(input, x => kernels::layer_norm(x, gamma, beta, self.epsilon))
    }

    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        vec![&self.gamma, &self.beta]
    }
}
