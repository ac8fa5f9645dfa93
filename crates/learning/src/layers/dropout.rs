//! Dropout.

use burn::module::Module;
use burn::tensor::Tensor;
use fedra_protocol::layers as spec;
use rand::Rng;

use super::activation::{Activation, at_each_rank, tensor};
use super::parameters::Parameters;
use super::{LayerModule, Mode};
use crate::parameters::unit;

/// Dropout whose mask comes from a seeded generator of ours: burn's draws from
/// one generator a process, which clients of a swarm would share.
#[derive(Module, Debug)]
pub(crate) struct Dropout {
    probability: f32,
}

impl LayerModule for Dropout {
    type Spec = spec::Dropout;

    /// It has nothing to clip.
    const EXAMPLE_GRADIENT: bool = true;

    fn build(spec: &spec::Dropout, _parameters: &mut Parameters<'_>) -> Self {
        Self { probability: spec.probability }
    }

    fn apply(&self, input: Activation, mode: &mut Mode<'_>) -> Activation {
        match mode {
            Mode::Inference => input,
            Mode::Training(rng) | Mode::Factored(rng, _) => {
                at_each_rank!(input, x => self.masked(x, *rng))
            }
        }
    }
}

impl Dropout {
    fn masked<const D: usize>(&self, x: Tensor<D>, rng: &mut dyn Rng) -> Tensor<D> {
        let scale = 1.0 / (1.0 - self.probability);
        let dims = x.dims();
        let mask = (0..dims.iter().product())
            .map(|_| if unit(rng) < self.probability { 0.0 } else { scale })
            .collect();
        let mask = tensor(mask, &dims, &x.device());
        x * mask
    }
}
