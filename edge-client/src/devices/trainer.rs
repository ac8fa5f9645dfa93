//! A training on either device, a step or a few at a time.

use std::sync::Arc;
use std::time::Duration;

use fedra_data::Dataset;
use fedra_learning::{BatchOrder, LearningError, LocalTrainer, WeightsView};
use fedra_protocol::{LocalTraining, ModelSpec};

use super::compute::{Compute, TrainingError, WebGpu, Work};

/// Fewest steps whose order a GPU has, until the plan ends.
const STEPS_AHEAD: u32 = 1024;

/// Training of a model on local examples by a plan, as in [`LocalTrainer`].
pub enum Trainer {
    /// On the CPU.
    Cpu(Box<LocalTrainer>),
    /// On a GPU.
    WebGpu(Box<OnGpu>),
}

/// Training on a GPU, which is set up at the first step.
pub struct OnGpu {
    device: Arc<WebGpu>,
    spec: ModelSpec,
    start: Vec<f32>,
    data: Arc<Dataset>,
    plan: LocalTraining,
    order: BatchOrder,
    work: Option<Work>,
    /// Epochs whose order the device has.
    ordered: u32,
    step: u64,
}

impl Trainer {
    /// Prepares the training. On a GPU the device is not touched before the first step.
    ///
    /// # Errors
    ///
    /// [`TrainingError::Learning`] if the weights or the data do not fit the model.
    pub fn new(
        spec: &ModelSpec,
        weights: WeightsView<'_>,
        data: Arc<Dataset>,
        plan: &LocalTraining,
        compute: &Compute,
    ) -> Result<Self, TrainingError> {
        match compute {
            Compute::Cpu => Ok(Self::Cpu(Box::new(LocalTrainer::new(spec, weights, data, plan)?))),
            Compute::WebGpu(device) => {
                data.check_for(spec).map_err(LearningError::from)?;
                Ok(Self::WebGpu(Box::new(OnGpu {
                    device: device.clone(),
                    spec: spec.clone(),
                    start: weights.trained.to_vec(),
                    order: BatchOrder::new(plan, data.len()),
                    data,
                    plan: plan.clone(),
                    work: None,
                    ordered: 0,
                    step: 0,
                })))
            }
        }
    }

    /// The same with terms that each step adds to the gradient, which only the CPU has: see
    /// [`LocalTrainer::with_correction`].
    ///
    /// # Errors
    ///
    /// [`TrainingError::Learning`] if they do not fit the model.
    pub fn with_correction(self, correction: &[f32]) -> Result<Self, TrainingError> {
        Ok(match self {
            Self::Cpu(trainer) => Self::Cpu(Box::new(trainer.with_correction(correction)?)),
            // No plan with a correction has kernels.
            gpu @ Self::WebGpu(_) => gpu,
        })
    }

    /// Takes one step on the CPU, or as many as take a GPU about 50 ms, and waits for them.
    /// Returns the number of examples, or `None` when the plan is done.
    ///
    /// # Errors
    ///
    /// [`TrainingError::Device`] if the device fails. What it has learned is lost then.
    pub async fn advance(&mut self) -> Result<Option<usize>, TrainingError> {
        match self {
            Self::Cpu(trainer) => Ok(trainer.step()),
            Self::WebGpu(training) => training.advance().await,
        }
    }

    /// Steps that the plan takes in all.
    pub fn steps(&self) -> u64 {
        match self {
            Self::Cpu(trainer) => trainer.steps(),
            Self::WebGpu(training) => training.order.steps(),
        }
    }

    /// Steps taken.
    pub fn step_count(&self) -> u64 {
        match self {
            Self::Cpu(trainer) => trainer.step_count(),
            Self::WebGpu(training) => training.step,
        }
    }

    /// Epochs begun, from 1 after the first step.
    pub fn epoch(&self) -> u32 {
        match self {
            Self::Cpu(trainer) => trainer.epoch(),
            Self::WebGpu(training) => training.order.epochs_begun(training.step),
        }
    }

    /// Epochs that the plan has; the last may be cut short.
    pub fn epochs(&self) -> u32 {
        match self {
            Self::Cpu(trainer) => trainer.epochs(),
            Self::WebGpu(training) => training.order.epochs(),
        }
    }

    /// Different examples that the plan goes over: the client's weight, however few steps it
    /// takes.
    pub fn examples(&self) -> usize {
        match self {
            Self::Cpu(trainer) => trainer.examples(),
            Self::WebGpu(training) => training.order.examples(),
        }
    }

    /// True if single examples are promised something.
    pub fn has_example_privacy(&self) -> bool {
        match self {
            Self::Cpu(trainer) => trainer.has_example_privacy(),
            Self::WebGpu(_) => false,
        }
    }

    /// Longest time that training may take, which the caller keeps.
    pub fn time_limit(&self) -> Option<Duration> {
        match self {
            Self::Cpu(trainer) => trainer.time_limit(),
            Self::WebGpu(training) => training.plan.time_limit(),
        }
    }

    /// Loss of the last step's batch, before that step; NaN before the first step. Never
    /// private: it must not leave the device.
    ///
    /// # Errors
    ///
    /// [`TrainingError::Device`] if the device fails.
    pub async fn loss(&self) -> Result<f32, TrainingError> {
        match self {
            Self::Cpu(trainer) => Ok(trainer.loss()),
            Self::WebGpu(training) => match &training.work {
                Some(work) => Ok(work.trainer.loss().await?),
                None => Ok(f32::NAN),
            },
        }
    }

    /// Ends the training: its flat parameter vector. A GPU keeps kernels and examples for
    /// the next training.
    ///
    /// # Errors
    ///
    /// [`LearningError::Diverged`] if a value is not finite, [`TrainingError::Device`] if the
    /// device fails.
    pub async fn finish(self) -> Result<Vec<f32>, TrainingError> {
        match self {
            Self::Cpu(trainer) => Ok(trainer.parameters()?),
            Self::WebGpu(training) => training.finish().await,
        }
    }
}

impl OnGpu {
    async fn advance(&mut self) -> Result<Option<usize>, TrainingError> {
        let left = self.order.steps() - self.step;
        if left == 0 {
            return Ok(None);
        }
        let mut work = match self.work.take() {
            Some(work) => work,
            None => self.device.work(&self.spec, &self.data, &self.plan, &self.start).await?,
        };
        // Some epochs ahead, so that a submit does not end with a short one.
        while self.ordered < self.order.epochs() && work.trainer.remaining() < STEPS_AHEAD {
            let epoch = self.order.next_epoch();
            match self.ordered {
                0 => work.trainer.set_order(&epoch)?,
                _ => work.trainer.extend_order(&epoch)?,
            }
            self.ordered += 1;
        }
        let most = u32::try_from(left).unwrap_or(u32::MAX);
        #[cfg(test)]
        let most = most.min(self.device.live());
        let before = self.examples_of(self.step);
        let steps = work.trainer.run(most).await?;
        self.work = Some(work);
        self.step += u64::from(steps);
        Ok(Some(self.examples_of(self.step) - before))
    }

    /// Examples in the first `steps` steps.
    fn examples_of(&self, steps: u64) -> usize {
        let an_epoch = self.order.steps_an_epoch();
        let (epochs, rest) = (steps / an_epoch, steps % an_epoch);
        let rest = rest as usize * self.plan.batch_size() as usize;
        epochs as usize * self.order.examples() + rest
    }

    async fn finish(self) -> Result<Vec<f32>, TrainingError> {
        let Some(work) = self.work else { return Ok(self.start) };
        let parameters = work.trainer.parameters().await?;
        self.device.keep(work);
        if parameters.iter().any(|value| !value.is_finite()) {
            return Err(LearningError::Diverged.into());
        }
        Ok(parameters)
    }
}
