//! A round's training as a job to measure the devices with.

use std::sync::Arc;

use fedra_data::Dataset;
use fedra_protocol::{LocalTraining, ModelSpec};

use super::measuring::{Candidate, DeviceError, Devices};
use super::{BackendPreference, webgpu};
use crate::devices::{Compute, Trainer};

/// Examples that the speed is measured on: one batch, and at least these.
const FEWEST_EXAMPLES: usize = 500;

/// Work on which devices are compared. A model with frozen layers has no kernels on a GPU, so
/// that it is never compared.
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

    /// Examples that gradients are compared on: a whole batch, and one as short as the last
    /// of an epoch.
    fn check_batches(&self) -> [Vec<u32>; 2] {
        let (examples, batch) = (self.data.len(), self.plan.batch_size() as usize);
        let whole = examples.min(batch);
        let short = match examples % batch {
            0 => whole.div_ceil(2),
            rest => rest,
        };
        [whole, short].map(|length| (0..length as u32).collect())
    }

    /// The job on a device.
    pub fn on(&self, compute: Compute) -> Worker {
        Worker { job: self.clone(), compute, trainer: None }
    }
}

impl Devices for Job {
    type Candidate = Worker;

    fn cpu(&self) -> Worker {
        self.on(Compute::Cpu)
    }

    async fn webgpu(
        &self,
        preference: BackendPreference,
    ) -> Result<(Compute, Worker), DeviceError> {
        let absent = |reason: &dyn ToString| DeviceError::Absent(reason.to_string());
        fedra_gpu::supports(&self.spec, &self.plan).map_err(|reason| absent(&reason))?;
        let compute = webgpu().await.map_err(|error| absent(&error))?;
        if preference == BackendPreference::Auto && compute.is_software() {
            let adapter = compute.adapter().unwrap_or("without a name");
            return Err(absent(&format!("its adapter ({adapter}) runs on the CPU")));
        }
        Ok((compute.clone(), self.on(compute)))
    }
}

/// A job on a device.
pub(crate) struct Worker {
    job: Job,
    compute: Compute,
    /// Set up at the first step.
    trainer: Option<Trainer>,
}

impl Candidate for Worker {
    async fn gradient(&mut self) -> Result<Vec<f32>, DeviceError> {
        let Job { spec, parameters, data, plan } = &self.job;
        if let Compute::WebGpu(device) = &self.compute {
            // Those that train are those to check.
            device.choose_kernels(spec, parameters, data, plan).await?;
        }
        let batches = self.job.check_batches();
        Ok(self.compute.gradients(spec, parameters, data, plan, &batches).await?)
    }

    async fn step(&mut self) -> Result<Option<usize>, DeviceError> {
        let trainer = match &mut self.trainer {
            Some(trainer) => trainer,
            None => {
                let Job { spec, parameters, data, plan } = &self.job;
                let compute = &self.compute;
                let trainer =
                    Trainer::new(spec, (&**parameters).into(), data.clone(), plan, compute)?;
                self.trainer.insert(trainer)
            }
        };
        Ok(trainer.advance().await?)
    }
}
