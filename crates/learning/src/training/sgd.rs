//! Plain SGD, as in FedAvg (McMahan et al. 2017, algorithm 1).
//!
//! Momentum is classical (no dampening), weight decay is added to the gradient.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use fedra_kernels::Sgd;
use fedra_protocol::LocalTraining;

use crate::kernels;
use crate::network::Network;

/// Gradients of one step.
#[derive(Default)]
pub(super) struct StepGradients {
    /// In full.
    pub whole: GradientsParams,
    /// Of weights of linear layers: the factors `[batch, inputs]` and `[batch, outputs]`.
    pub products: HashMap<ParamId, [Tensor<2>; 2]>,
}

/// SGD over the tensors of a network.
pub(super) enum Optimizer {
    /// In place.
    Own(Own),
    /// burn's: the reference.
    #[cfg(test)]
    Burn(of_burn::Sgd),
}

impl Optimizer {
    pub fn new(plan: &LocalTraining) -> Self {
        let (momentum, weight_decay) = (plan.momentum(), plan.weight_decay());
        let step = Sgd { rate: plan.learning_rate(), momentum, weight_decay };
        Self::Own(Own { step, velocities: HashMap::new() })
    }

    /// burn's optimiser.
    #[cfg(test)]
    pub fn of_burn(plan: &LocalTraining) -> Self {
        Self::Burn(of_burn::Sgd::new(plan))
    }

    /// True if [`Self::step`] takes products. Their gradients are never written to memory
    /// in full, which for a wide layer takes as long as computing them.
    pub fn takes_factors(&self) -> bool {
        match self {
            Self::Own(_) => true,
            #[cfg(test)]
            Self::Burn(_) => false,
        }
    }

    /// Moves the network along the gradients.
    pub fn step(&mut self, network: &mut Network, gradients: StepGradients) {
        *network = match self {
            Self::Own(own) => network.take().map(&mut Step { own, gradients }),
            #[cfg(test)]
            Self::Burn(sgd) => sgd.step(network.take(), gradients.whole),
        };
    }
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
    gradients: StepGradients,
}

impl ModuleMapper for Step<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let StepGradients { whole, products } = &mut self.gradients;
        let (product, gradient) = (products.remove(&param.id), whole.remove::<D>(param.id));
        // Takes the tensor out, so that nothing else shares its memory.
        let (id, weights, mapper) = param.consume();
        let Own { step, velocities } = &mut *self.own;
        let velocity = (step.momentum > 0.0).then(|| {
            velocities.entry(id).or_insert_with(|| vec![0.0; weights.shape().num_elements()])
        });
        let velocity = velocity.map(Vec::as_mut_slice);
        let is_trained = weights.is_require_grad();
        let weights = weights.inner();
        let weights = match (product, gradient) {
            (Some(factors), _) => kernels::weight_step(*step, weights, factors, velocity),
            (None, Some(gradient)) => kernels::sgd(*step, weights, gradient, velocity),
            (None, None) => weights,
        };
        let weights = Tensor::from_inner(weights).set_require_grad(is_trained);
        Param::from_mapped_value(id, weights, mapper)
    }
}

#[cfg(test)]
mod of_burn {
    //! The same by burn's optimiser.

    use burn::optim::decay::WeightDecayConfig;
    use burn::optim::momentum::MomentumConfig;
    use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
    use fedra_protocol::LocalTraining;

    use crate::network::Network;

    /// burn's optimiser and its learning rate.
    pub struct Sgd {
        optimizer: ModuleOptimizer,
        rate: f64,
    }

    impl Sgd {
        pub fn new(plan: &LocalTraining) -> Self {
            let mut config = SgdConfig::new();
            if plan.momentum() > 0.0 {
                let momentum = MomentumConfig::new()
                    .with_momentum(f64::from(plan.momentum()))
                    .with_dampening(0.0);
                config = config.with_momentum(Some(momentum));
            }
            if plan.weight_decay() > 0.0 {
                let decay = WeightDecayConfig::new(plan.weight_decay());
                config = config.with_weight_decay(Some(decay));
            }
            Self { optimizer: config.init(), rate: f64::from(plan.learning_rate()) }
        }

        pub fn step(&mut self, network: Network, gradients: GradientsParams) -> Network {
            self.optimizer.step(self.rate, network, gradients)
        }
    }
}
