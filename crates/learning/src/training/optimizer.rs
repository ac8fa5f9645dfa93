//! Steps along the gradient of a batch: SGD as in FedAvg (McMahan et al. 2017, algorithm 1)
//! with either momentum, or Adam; with clipping, FedProx's term and SCAFFOLD's correction.
//!
//! Momentum has no dampening. Weight decay is added to the gradient, but that of Adam is
//! decoupled.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use fedra_kernels::{Kernels, Sgd};
use fedra_protocol::{ClientAlgorithm, LocalTraining};

use super::adam::Adam;
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

/// Algorithm of a plan over the tensors of a network.
pub(super) enum Optimizer {
    /// In place.
    Own(Own),
    /// burn's: the reference.
    #[cfg(test)]
    Burn(of_burn::Sgd),
}

impl Optimizer {
    pub fn new(plan: &LocalTraining) -> Self {
        let sgd = |looks_ahead| {
            let (momentum, weight_decay) = (plan.momentum(), plan.weight_decay());
            Rule::Sgd(Sgd { rate: plan.learning_rate(), momentum, looks_ahead, weight_decay })
        };
        let rule = match plan.algorithm() {
            ClientAlgorithm::Sgd | ClientAlgorithm::Scaffold => sgd(false),
            ClientAlgorithm::Nesterov => sgd(true),
            ClientAlgorithm::Adam { beta1, beta2, epsilon } => {
                Rule::Adam(Adam::new(plan, [beta1, beta2], epsilon))
            }
        };
        let (clip, proximal) = (plan.clip_gradient_norm(), plan.proximal());
        let (memories, corrections) = (HashMap::new(), HashMap::new());
        Self::Own(Own { rule, clip, proximal, corrections, memories })
    }

    /// Adds these values to the gradients of the tensors, after the clipping.
    pub fn correct(&mut self, corrections: HashMap<ParamId, Vec<f32>>) {
        match self {
            Self::Own(own) => own.corrections = corrections,
            #[cfg(test)]
            Self::Burn(_) => {}
        }
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
            Self::Own(Own {
                rule: Rule::Sgd(_), clip: None, proximal: 0.0, corrections, ..
            }) => corrections.is_empty(),
            Self::Own(_) => false,
            #[cfg(test)]
            Self::Burn(_) => false,
        }
    }

    /// Moves the network along the gradients, which are whole unless [`Self::takes_factors`].
    pub fn step(&mut self, network: &mut Network, gradients: StepGradients) {
        *network = match self {
            Self::Own(own) => {
                let scale = own.scale(network, &gradients.whole);
                if let Rule::Adam(adam) = &mut own.rule {
                    adam.advance();
                }
                network.take().map(&mut Step { own, gradients, scale })
            }
            #[cfg(test)]
            Self::Burn(sgd) => sgd.step(network.take(), gradients.whole),
        };
    }
}

/// Algorithm on our kernels.
pub(super) struct Own {
    rule: Rule,
    /// Largest norm of the whole gradient.
    clip: Option<f32>,
    /// Factor of the way from where training began.
    proximal: f32,
    /// Terms of each gradient, c - c_i of SCAFFOLD; none where they are zero.
    corrections: HashMap<ParamId, Vec<f32>>,
    memories: HashMap<ParamId, Memory>,
}

/// Step of a tensor along its gradient.
enum Rule {
    Sgd(Sgd),
    Adam(Adam),
}

/// Memory of a tensor from step to step, as far as the algorithm needs it.
#[derive(Default)]
struct Memory {
    /// Values before the first step.
    start: Vec<f32>,
    /// The velocity of SGD, or the mean and the mean square of Adam's gradients.
    moments: [Vec<f32>; 2],
}

impl Own {
    /// Factor that brings the gradient to the norm that it may have.
    fn scale(&self, network: &Network, gradients: &GradientsParams) -> f32 {
        self.clip.map_or(1.0, |most| {
            let norm = network.gradient_norm(gradients);
            // A gradient that is not finite stays so: the training has diverged.
            if norm <= f64::from(most) { 1.0 } else { (f64::from(most) / norm) as f32 }
        })
    }

    /// `weights` after a step along a product of factors.
    fn along_product<const D: usize>(
        &mut self,
        id: ParamId,
        weights: Tensor<D>,
        factors: [Tensor<2>; 2],
    ) -> Tensor<D> {
        match &self.rule {
            Rule::Sgd(step) => {
                let memory = self.memories.entry(id).or_default();
                let velocity = memory.velocity(*step, weights.shape().num_elements());
                kernels::weight_step(*step, weights, factors, velocity)
            }
            Rule::Adam(_) => unreachable!("Adam takes no factors"),
        }
    }

    /// Moves the weights of a tensor along its whole gradient, times `scale`.
    fn update(&mut self, id: ParamId, weights: &mut [f32], gradient: &[f32], scale: f32) {
        let memory = self.memories.entry(id).or_default();
        let correction = self.corrections.get(&id);
        let adjusted: Vec<f32>;
        let gradient = if scale == 1.0 && self.proximal == 0.0 && correction.is_none() {
            gradient
        } else {
            let scaled = memory.adjusted(scale, self.proximal, weights, gradient);
            adjusted = match correction {
                None => scaled,
                Some(terms) => scaled.iter().zip(terms).map(|(value, term)| value + term).collect(),
            };
            &adjusted
        };
        match &self.rule {
            Rule::Sgd(step) => {
                let velocity = memory.velocity(*step, weights.len());
                Kernels::best().sgd(*step, weights, gradient, velocity);
            }
            Rule::Adam(adam) => {
                let moments = memory.moments.each_mut().map(|moment| {
                    moment.resize(weights.len(), 0.0);
                    &mut moment[..]
                });
                Kernels::best().adam(adam.kernel(), weights, gradient, moments);
            }
        }
    }
}

impl Memory {
    /// The velocity of `len` values; none without momentum.
    fn velocity(&mut self, step: Sgd, len: usize) -> Option<&mut [f32]> {
        (step.momentum > 0.0).then(|| {
            self.moments[0].resize(len, 0.0);
            &mut self.moments[0][..]
        })
    }

    /// The gradient times `scale`, and FedProx's term (Li et al. 2020, equation 2) if
    /// `proximal` is above 0.
    fn adjusted(
        &mut self,
        scale: f32,
        proximal: f32,
        weights: &[f32],
        gradient: &[f32],
    ) -> Vec<f32> {
        let mut adjusted: Vec<f32> = gradient.iter().map(|value| value * scale).collect();
        if proximal > 0.0 {
            if self.start.is_empty() {
                self.start = weights.to_vec();
            }
            for ((value, weight), start) in adjusted.iter_mut().zip(weights).zip(&self.start) {
                *value += proximal * (weight - start);
            }
        }
        adjusted
    }
}

/// One step over the tensors of a network.
struct Step<'a> {
    own: &'a mut Own,
    gradients: StepGradients,
    scale: f32,
}

impl ModuleMapper for Step<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let StepGradients { whole, products } = &mut self.gradients;
        let (product, gradient) = (products.remove(&param.id), whole.remove::<D>(param.id));
        // Takes the tensor out, so that nothing else shares its memory.
        let (id, weights, mapper) = param.consume();
        let is_trained = weights.is_require_grad();
        let weights = weights.inner();
        let weights = match (product, gradient) {
            (Some(factors), _) => self.own.along_product(id, weights, factors),
            (None, Some(gradient)) => kernels::updated(weights, gradient, |weights, gradient| {
                self.own.update(id, weights, gradient, self.scale);
            }),
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
