//! Local SGD: one client's part of a round.

use std::sync::Arc;

use burn::nn::loss::{MseLoss, Reduction};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor};
use fedra_protocol::{LocalTraining, Loss, ModelSpec};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::LearningError;
use crate::data::Dataset;
use crate::device::Compute;
use crate::network::{Mode, Network, batch_tensor, read, tensor};

/// Trains a model on local examples, one step at a time, so that the caller
/// can yield, report progress or stop between steps.
///
/// Plain SGD as in FedAvg (McMahan et al. 2017, algorithm 1): E epochs over
/// shuffled batches of B; the last batch of an epoch may be smaller. Momentum
/// is classical (no dampening), weight decay is added to the gradient.
pub struct LocalTrainer {
    spec: ModelSpec,
    plan: LocalTraining,
    data: Arc<Dataset>,
    compute: Compute,
    device: Device,
    network: Network,
    optimizer: ModuleOptimizer,
    rng: ChaCha8Rng,
    order: Vec<u32>,
    position: usize,
    epoch: u32,
    step: u64,
    last_loss: Option<Tensor<1>>,
}

impl LocalTrainer {
    /// Puts the model on the device. Fails if parameters, data or plan do not fit.
    pub fn new(
        spec: &ModelSpec,
        parameters: &[f32],
        data: Arc<Dataset>,
        plan: &LocalTraining,
        compute: &Compute,
    ) -> Result<Self, LearningError> {
        plan.validate()?;
        data.check_for(spec)?;
        let device = compute.training();
        let network = Network::new(spec, parameters, &device)?;
        let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
        let order = first_examples(data.len(), plan.max_examples, &mut rng);
        Ok(Self {
            spec: spec.clone(),
            plan: plan.clone(),
            data,
            compute: compute.clone(),
            device,
            network,
            optimizer: sgd(plan),
            rng,
            order,
            position: 0,
            epoch: 0,
            step: 0,
            last_loss: None,
        })
    }

    /// Steps that the plan takes in all.
    pub fn steps(&self) -> u64 {
        self.order.len().div_ceil(self.plan.batch_size as usize) as u64
            * u64::from(self.plan.epochs)
    }

    /// Steps taken.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// Epochs begun, from 1 after the first step.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Epochs that the plan has.
    pub fn epochs(&self) -> u32 {
        self.plan.epochs
    }

    /// Different examples that are trained on: the client's weight.
    pub fn examples(&self) -> usize {
        self.order.len()
    }

    /// Takes one SGD step; returns the batch's size, or `None` when the plan is done.
    pub fn step(&mut self) -> Option<usize> {
        if self.step >= self.steps() {
            return None;
        }
        if self.position == 0 {
            self.order.shuffle(&mut self.rng);
            self.epoch += 1;
        }
        let end = (self.position + self.plan.batch_size as usize).min(self.order.len());
        let batch = &self.order[self.position..end];
        let size = batch.len();
        let mode = Mode::Training(&mut self.rng);
        let loss = batch_loss(&self.spec, &self.network, &self.data, batch, &self.device, mode);
        let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
        let rate = f64::from(self.plan.learning_rate);
        // Measured at batch 32: updating in place (a move instead of this clone) is
        // slower on burn 0.22's CPU backend; at batch 10 there is no clear difference.
        self.network = self.optimizer.step(rate, self.network.clone(), gradients);
        self.last_loss = Some(loss.inner());
        self.position = if end == self.order.len() { 0 } else { end };
        self.step += 1;
        Some(size)
    }

    /// Loss of the last step's batch, before that step. Waits for the device.
    /// NaN before the first step.
    pub async fn loss(&self) -> Result<f32, LearningError> {
        let Some(loss) = self.last_loss.clone() else {
            return Ok(f32::NAN);
        };
        Ok(read(loss, self.compute.backend()).await?[0])
    }

    /// The trained flat parameter vector. Waits for the device.
    pub async fn parameters(&self) -> Result<Vec<f32>, LearningError> {
        let parameters = self.network.parameters(self.compute.backend()).await?;
        if parameters.iter().any(|value| !value.is_finite()) {
            return Err(LearningError::Diverged);
        }
        Ok(parameters)
    }
}

/// The flat gradient of the mean loss over the examples `indices`, without dropout.
///
/// Serves to compare devices: see `fedra-edge-client`'s backend choice.
pub async fn gradient(
    spec: &ModelSpec,
    parameters: &[f32],
    data: &Dataset,
    indices: &[u32],
    compute: &Compute,
) -> Result<Vec<f32>, LearningError> {
    data.check_for(spec)?;
    let device = compute.training();
    let network = Network::new(spec, parameters, &device)?;
    let loss = batch_loss(spec, &network, data, indices, &device, Mode::Inference);
    let gradients = loss.backward();
    network.gradient(&gradients, compute.backend()).await
}

fn batch_loss(
    spec: &ModelSpec,
    network: &Network,
    data: &Dataset,
    indices: &[u32],
    device: &Device,
    mode: Mode<'_>,
) -> Tensor<1> {
    let outputs = spec.output_len();
    let input = batch_tensor(data.features_of(indices), spec.input(), device);
    let targets = data.dense_targets_of(indices, outputs);
    let targets = tensor::<2>(targets, &[indices.len(), outputs], device);
    let logits = network.forward(input, mode);
    match spec.loss() {
        // With one-hot targets this is burn's cross-entropy without its gather and scatter.
        Loss::SoftmaxCrossEntropy => {
            (log_softmax(logits, 1) * targets).sum().mul_scalar(-1.0 / indices.len() as f32)
        }
        Loss::MeanSquaredError => MseLoss::new().forward(logits, targets, Reduction::Mean),
    }
}

fn sgd(plan: &LocalTraining) -> ModuleOptimizer {
    let mut config = SgdConfig::new();
    if plan.momentum > 0.0 {
        let momentum =
            MomentumConfig::new().with_momentum(f64::from(plan.momentum)).with_dampening(0.0);
        config = config.with_momentum(Some(momentum));
    }
    if plan.weight_decay > 0.0 {
        config = config.with_weight_decay(Some(WeightDecayConfig::new(plan.weight_decay)));
    }
    config.init()
}

/// All examples, or a random `max` of them.
fn first_examples(len: usize, max: u32, rng: &mut ChaCha8Rng) -> Vec<u32> {
    let mut order: Vec<u32> = (0..len as u32).collect();
    if max > 0 && (max as usize) < len {
        order.shuffle(rng);
        order.truncate(max as usize);
    }
    order
}
