//! A round's training as a job to measure the devices with.

use std::sync::Arc;

use fedra_learning::{Compute, Dataset, LocalTrainer, gradient};
use fedra_protocol::{LocalTraining, ModelSpec};

use super::measuring::{Candidate, DeviceError, Devices};

/// Examples that the gradients are compared on.
const CHECK_EXAMPLES: usize = 10;
/// Examples that the speed is measured on: one batch, and at least these.
const FEWEST_EXAMPLES: usize = 500;

/// Work on which devices are compared.
#[derive(Clone)]
pub(crate) struct Job {
    spec: ModelSpec,
    parameters: Arc<Vec<f32>>,
    data: Arc<Dataset>,
    plan: LocalTraining,
}

impl Job {
    /// Training from `parameters` on some of the examples of `data`: their number does
    /// not change the time of a step.
    pub fn new(
        spec: &ModelSpec,
        parameters: &Arc<Vec<f32>>,
        data: &Arc<Dataset>,
        plan: &LocalTraining,
    ) -> Self {
        let enough = (plan.batch_size() as usize).max(FEWEST_EXAMPLES);
        let first: Vec<u32> = (0..data.len().min(enough) as u32).collect();
        let data =
            if first.len() < data.len() { Arc::new(data.select(&first)) } else { data.clone() };
        Self { spec: spec.clone(), parameters: parameters.clone(), data, plan: plan.longest() }
    }

    /// The job on a device.
    pub fn on(&self, compute: Compute) -> Worker {
        Worker { job: self.clone(), compute, trainer: None }
    }
}

impl Devices for Job {
    type Candidate = Worker;

    fn cpu(&self) -> Worker {
        self.on(Compute::cpu())
    }

    #[cfg(feature = "webgpu")]
    async fn webgpu(&self) -> Result<(Compute, Worker), DeviceError> {
        let compute = Compute::webgpu().await;
        let compute = compute.map_err(|error| DeviceError::Absent(error.to_string()))?;
        Ok((compute.clone(), self.on(compute)))
    }

    #[cfg(not(feature = "webgpu"))]
    async fn webgpu(&self) -> Result<(Compute, Worker), DeviceError> {
        Err(DeviceError::Absent(super::chooser::NO_WEBGPU.into()))
    }
}

/// A job on a device.
pub(crate) struct Worker {
    job: Job,
    compute: Compute,
    /// Set up at the first step.
    trainer: Option<LocalTrainer>,
}

impl Candidate for Worker {
    async fn gradient(&mut self) -> Result<Vec<f32>, DeviceError> {
        let Job { spec, parameters, data, .. } = &self.job;
        let indices: Vec<u32> = (0..data.len().min(CHECK_EXAMPLES) as u32).collect();
        Ok(gradient(spec, parameters, data, &indices, &self.compute).await?)
    }

    async fn step(&mut self) -> Result<Option<usize>, DeviceError> {
        let trainer = match &mut self.trainer {
            Some(trainer) => trainer,
            None => {
                let Job { spec, parameters, data, plan } = &self.job;
                let compute = &self.compute;
                let trainer = LocalTrainer::new(spec, parameters, data.clone(), plan, compute)?;
                self.trainer.insert(trainer)
            }
        };
        let samples = trainer.step();
        trainer.loss().await?;
        Ok(samples)
    }
}
