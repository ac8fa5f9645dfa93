//! Plain SGD, as in FedAvg (McMahan et al. 2017, algorithm 1).
//!
//! Momentum is classical (no dampening), weight decay is added to the gradient.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{Device, Tensor};
use fedra_kernels::Sgd;
use fedra_protocol::LocalTraining;

use crate::kernels;
use crate::network::Network;

/// SGD on one device.
pub(super) enum Optimizer {
    /// In place, on the CPU.
    Own(Own),
    /// burn's, on every other device.
    Burn(ModuleOptimizer, f64),
}

impl Optimizer {
    pub fn new(plan: &LocalTraining, device: &Device) -> Self {
        if kernels::take(device) {
            let (momentum, weight_decay) = (plan.momentum(), plan.weight_decay());
            let step = Sgd { rate: plan.learning_rate(), momentum, weight_decay };
            return Self::Own(Own { step, velocities: HashMap::new() });
        }
        Self::of_burn(plan)
    }

    /// burn's optimiser, whatever the device.
    pub fn of_burn(plan: &LocalTraining) -> Self {
        Self::Burn(of_burn(plan), f64::from(plan.learning_rate()))
    }

    /// The network after a step along the gradients.
    pub fn step(&mut self, network: &mut Network, gradients: GradientsParams) {
        *network = match self {
            Self::Own(own) => network.take().map(&mut Step { own, gradients }),
            Self::Burn(optimizer, rate) => optimizer.step(*rate, network.take(), gradients),
        };
    }
}

/// burn's optimiser for a plan.
fn of_burn(plan: &LocalTraining) -> ModuleOptimizer {
    let mut config = SgdConfig::new();
    if plan.momentum() > 0.0 {
        let momentum =
            MomentumConfig::new().with_momentum(f64::from(plan.momentum())).with_dampening(0.0);
        config = config.with_momentum(Some(momentum));
    }
    if plan.weight_decay() > 0.0 {
        config = config.with_weight_decay(Some(WeightDecayConfig::new(plan.weight_decay())));
    }
    config.init()
}

/// SGD on our kernels.
pub(super) struct Own {
    step: Sgd,
    /// Of each tensor that has one: none without momentum.
    velocities: HashMap<ParamId, Vec<f32>>,
}

/// One step over the tensors of a network.
struct Step<'a> {
    own: &'a mut Own,
    gradients: GradientsParams,
}

impl ModuleMapper for Step<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else {
            return param;
        };
        // Takes the tensor out, so that nothing else shares its memory.
        let (id, weights, mapper) = param.consume();
        let Own { step, velocities } = &mut *self.own;
        let velocity = (step.momentum > 0.0).then(|| {
            velocities.entry(id).or_insert_with(|| vec![0.0; weights.shape().num_elements()])
        });
        let velocity = velocity.map(Vec::as_mut_slice);
        let weights = kernels::sgd(*step, weights.inner(), gradient, velocity);
        Param::from_mapped_value(id, Tensor::from_inner(weights).require_grad(), mapper)
    }
}
