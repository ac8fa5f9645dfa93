//! The loop of local training: one client's part of a round.

use std::sync::Arc;
use std::time::Duration;

use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use fedra_data::Dataset;
use fedra_protocol::{LocalTraining, ModelSpec};

use super::example_privacy::{ExamplePrivacy, PrivateSteps};
use super::examples::Examples;
use super::optimizer::{Optimizer, StepGradients};
use super::order::BatchOrder;
use crate::LearningError;
use crate::device;
use crate::layers::Mode;
use crate::loss::loss_sum;
use crate::network::{Network, clipped_gradient_sum, read};
use crate::weights::WeightsView;

/// Trains a model on local examples, one step at a time, so that the caller
/// can yield, report progress or stop between steps.
///
/// As in FedAvg (McMahan et al. 2017, algorithm 1): E epochs, or a number of steps, over
/// shuffled batches of B; the last batch of an epoch may be smaller. The plan names the
/// algorithm of a step. Its time limit is kept by the caller.
pub struct LocalTrainer {
    spec: ModelSpec,
    plan: LocalTraining,
    examples: Examples,
    network: Network,
    optimizer: Optimizer,
    order: BatchOrder,
    step: u64,
    last_loss: Option<Tensor<1>>,
    privacy: Option<PrivateSteps>,
}

impl LocalTrainer {
    /// Builds the model.
    ///
    /// # Errors
    ///
    /// [`LearningError`] if the weights or the data do not fit the model.
    pub fn new<'a>(
        spec: &ModelSpec,
        weights: impl Into<WeightsView<'a>>,
        data: Arc<Dataset>,
        plan: &LocalTraining,
    ) -> Result<Self, LearningError> {
        data.check_for(spec)?;
        let device = device::training();
        let network = Network::new(spec, weights.into(), &device)?;
        let order = BatchOrder::new(plan, data.len());
        let data = match order.chosen() {
            Some(chosen) => Arc::new(data.select(chosen)),
            None => data,
        };
        let examples = Examples::new(spec, data, &device);
        Ok(Self {
            spec: spec.clone(),
            plan: plan.clone(),
            examples,
            network,
            optimizer: Optimizer::new(plan),
            order,
            step: 0,
            last_loss: None,
            privacy: None,
        })
    }

    /// The same with SCAFFOLD's correction c - c_i, which every step adds to the gradient of its
    /// batch after clipping; an empty one is zero.
    ///
    /// # Errors
    ///
    /// [`LearningError::ParameterCount`] if it has another length than the model.
    pub fn with_correction(mut self, correction: &[f32]) -> Result<Self, LearningError> {
        if correction.is_empty() {
            return Ok(self);
        }
        let (expected, actual) = (self.spec.parameters(), correction.len());
        if expected != actual {
            return Err(LearningError::ParameterCount { expected, actual });
        }
        self.optimizer.correct(self.network.by_tensor(correction));
        Ok(self)
    }

    /// Trains with DP-SGD: every step takes a Poisson sample of the examples with
    /// B expected, clips each example's gradient, and adds noise to their sum.
    ///
    /// The rest of a step takes the noised gradient for the gradient: it is clipped as the plan
    /// says, and the optimiser moves along it.
    ///
    /// `secret` is what the noise and the samples are drawn from: 32 bytes from the
    /// system's generator, for this one training. Two trainings with the same
    /// secret protect nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Self::new`], and [`LearningError::ExamplePrivacyLayer`],
    /// [`LearningError::ExamplePrivacyNoise`] or [`LearningError::ExamplePrivacyVariates`]
    /// where the method does not cover the model, the noise or the algorithm.
    pub fn with_example_privacy<'a>(
        spec: &ModelSpec,
        weights: impl Into<WeightsView<'a>>,
        data: Arc<Dataset>,
        plan: &LocalTraining,
        privacy: ExamplePrivacy,
        secret: [u8; 32],
    ) -> Result<Self, LearningError> {
        if plan.algorithm().has_variates() {
            return Err(LearningError::ExamplePrivacyVariates);
        }
        let mut trainer = Self::new(spec, weights, data, plan)?;
        let examples = trainer.examples();
        let steps = PrivateSteps::new(spec, privacy, secret, examples, plan.batch_size())?;
        trainer.privacy = Some(steps);
        Ok(trainer)
    }

    /// Steps that the plan takes in all.
    pub fn steps(&self) -> u64 {
        self.order.steps()
    }

    /// Steps taken.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// Epochs begun, from 1 after the first step.
    pub fn epoch(&self) -> u32 {
        self.order.epochs_begun(self.step)
    }

    /// Epochs that the plan has; the last may be cut short.
    pub fn epochs(&self) -> u32 {
        self.order.epochs()
    }

    /// Different examples that the plan goes over: the client's weight, however few steps it
    /// takes.
    pub fn examples(&self) -> usize {
        self.examples.len()
    }

    /// Longest time that training may take, which the caller keeps.
    pub fn time_limit(&self) -> Option<Duration> {
        self.plan.time_limit()
    }

    /// True if single examples are promised something: see
    /// [`Self::with_example_privacy`].
    pub fn has_example_privacy(&self) -> bool {
        self.privacy.is_some()
    }

    /// Takes one step; returns the batch's size, or `None` when the plan is done.
    /// With example privacy the size is random and may be 0.
    ///
    /// Before the first step the examples go through the leading fixed layers of the model,
    /// some in each call, which returns 0.
    pub fn step(&mut self) -> Option<usize> {
        if self.examples.prepare(&self.network) {
            return Some(0);
        }
        if self.step >= self.steps() {
            return None;
        }
        let (size, gradients) =
            if self.privacy.is_some() { self.private_gradients() } else { self.gradients() };
        self.optimizer.step(&mut self.network, gradients);
        self.step += 1;
        Some(size)
    }

    /// Loss of the last step's batch, before that step. NaN before the first step. Never
    /// private: it must not leave the device.
    pub fn loss(&self) -> f32 {
        self.last_loss.clone().map_or(f32::NAN, |loss| read(loss)[0])
    }

    /// The trained flat parameter vector, without the values of frozen layers.
    ///
    /// # Errors
    ///
    /// [`LearningError::Diverged`] if a value is not finite.
    pub fn parameters(&self) -> Result<Vec<f32>, LearningError> {
        let parameters = self.network.parameters();
        if parameters.iter().any(|value| !value.is_finite()) {
            return Err(LearningError::Diverged);
        }
        Ok(parameters)
    }

    /// The values of the frozen layers.
    #[cfg(test)]
    pub(crate) fn frozen_parameters(&self) -> Vec<f32> {
        self.network.frozen_parameters()
    }

    /// Takes the steps that follow with burn's optimiser: the reference.
    #[cfg(test)]
    pub(crate) fn use_burns_optimizer(&mut self) {
        self.optimizer = Optimizer::of_burn(&self.plan);
    }

    /// Size and gradients of the next batch of the epoch.
    fn gradients(&mut self) -> (usize, StepGradients) {
        let (batch, rng) = self.order.next_batch();
        let mut factors = Vec::new();
        let mode = match self.optimizer.takes_factors() {
            true => Mode::Factored(rng, &mut factors),
            false => Mode::Training(rng),
        };
        let loss = batch_loss(&self.spec, &self.network, &self.examples, batch, mode);
        let size = batch.len();
        let gradients = loss.backward();
        self.last_loss = Some(loss.inner());
        let products = factors.into_iter().map(|factors| factors.gradient(&gradients)).collect();
        let whole = GradientsParams::from_grads(gradients, &self.network);
        (size, StepGradients { whole, products })
    }

    /// The noised sum of clipped gradients of a Poisson sample, over B.
    fn private_gradients(&mut self) -> (usize, StepGradients) {
        let privacy = self.privacy.as_mut().expect("only called with example privacy");
        let batch = privacy.sample();
        let mut sums = self.network.zero_sums(&device::inference());
        let mut losses: Option<Tensor<1>> = None;
        // In parts, because a sample may be much larger than expected.
        for part in batch.chunks(self.plan.batch_size() as usize) {
            let (inputs, targets) = (self.examples.inputs(part), self.examples.targets(part));
            let (first, clip) = (self.examples.first_layer(), privacy.clip());
            let mode = Mode::Training(privacy.rng());
            let loss = |outputs| {
                let loss = loss_sum(&self.spec, outputs, targets);
                let value = loss.clone().inner();
                losses = Some(losses.take().map_or(value.clone(), |sum| sum + value));
                loss
            };
            let part = clipped_gradient_sum(&self.network, first, inputs, clip, mode, loss);
            for (sum, part) in sums.iter_mut().zip(part) {
                sum.values = sum.values.clone() + part.values;
            }
        }
        let mut gradients = StepGradients::default();
        for mut sum in sums {
            sum.values = privacy.noised(sum.values);
            sum.register(&mut gradients.whole);
        }
        self.last_loss =
            losses.map(|sum| sum.div_scalar(batch.len() as f32)).or(self.last_loss.take());
        (batch.len(), gradients)
    }
}

/// The flat gradient of the mean loss over the examples `indices`, without dropout.
///
/// Serves to compare devices: see `fedra-edge-client`'s backend choice.
///
/// # Errors
///
/// [`LearningError`] if the data or the vector do not fit the model.
pub fn gradient<'a>(
    spec: &ModelSpec,
    weights: impl Into<WeightsView<'a>>,
    data: &Dataset,
    indices: &[u32],
) -> Result<Vec<f32>, LearningError> {
    data.check_for(spec)?;
    let device = device::training();
    let network = Network::new(spec, weights.into(), &device)?;
    let all: Vec<u32> = (0..indices.len() as u32).collect();
    let mut examples = Examples::new(spec, Arc::new(data.select(indices)), &device);
    examples.prepare_all(&network);
    let loss = batch_loss(spec, &network, &examples, &all, Mode::Inference);
    Ok(network.gradient(&GradientsParams::from_grads(loss.backward(), &network)))
}

fn batch_loss(
    spec: &ModelSpec,
    network: &Network,
    examples: &Examples,
    indices: &[u32],
    mode: Mode<'_>,
) -> Tensor<1> {
    let (inputs, targets) = (examples.inputs(indices), examples.targets(indices));
    let outputs = network.forward_from(examples.first_layer(), inputs, mode);
    loss_sum(spec, outputs, targets).mul_scalar(1.0 / indices.len() as f32)
}
