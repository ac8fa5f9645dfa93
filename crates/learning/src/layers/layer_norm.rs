//! Layer normalisation.

use burn::nn::{LayerNorm, LayerNormConfig};
use fedra_protocol::layers as spec;

use super::activation::{Activation, at_each_rank};
use super::parameters::{Parameters, TrainedTensor, trained_pair};
use super::{LayerModule, Mode};

impl LayerModule for LayerNorm {
    type Spec = spec::LayerNorm;

    fn build(spec: &spec::LayerNorm, parameters: &mut Parameters<'_>) -> Self {
        let (gamma, beta) = (parameters.next::<1>(), parameters.next());
        let mut norm = LayerNormConfig::new(gamma.dims()[0])
            .with_epsilon(f64::from(spec.epsilon))
            .init(parameters.device());
        norm.gamma = gamma;
        norm.beta = Some(beta);
        norm
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        at_each_rank!(input, x => self.forward(x))
    }

    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        trained_pair(&self.gamma, &self.beta)
    }
}
