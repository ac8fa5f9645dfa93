//! One round's work: fetch the model, train, take the difference.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use fedra_learning::{Backend, Compute, Dataset, LearningError, LocalTrainer, safetensors};
use fedra_protocol::{ModelRef, ModelSpec, RoundAssignment, Sha256Hash};

use crate::backend::{self, BackendPreference, Probe};
use crate::events::ClientEvent;
use crate::origin::ServerUrl;
use crate::platform;
use crate::training::Progress;

/// What a client keeps between rounds: its data, its device, the last model.
pub(crate) struct Workshop {
    url: ServerUrl,
    preference: BackendPreference,
    data: RefCell<Option<Arc<Dataset>>>,
    compute: RefCell<Option<Compute>>,
    model: RefCell<Option<(Sha256Hash, Arc<Vec<f32>>)>>,
    slots: platform::TrainingSlots,
}

/// A finished round's work.
pub(crate) struct Trained {
    /// Little-endian float32, local minus global.
    pub update: Bytes,
    /// Examples it was trained on.
    pub examples: u64,
}

/// News while the work goes on.
#[derive(Debug)]
pub(crate) enum News {
    /// Bytes came over HTTP.
    Fetched(u64),
    /// The model is here.
    Downloaded,
    /// Something to tell the owner.
    Tell(ClientEvent),
    /// Training goes on.
    Progress(Progress),
}

/// Why a round's work failed: a stable name and words.
#[derive(Debug)]
pub(crate) struct WorkError {
    pub code: &'static str,
    pub reason: String,
}

impl WorkError {
    fn new(code: &'static str, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

impl Workshop {
    pub fn new(
        url: ServerUrl,
        preference: BackendPreference,
        slots: platform::TrainingSlots,
    ) -> Self {
        Self {
            url,
            preference,
            data: RefCell::default(),
            compute: RefCell::default(),
            model: RefCell::default(),
            slots,
        }
    }

    /// Replaces the local examples.
    pub fn set_data(&self, data: Dataset) {
        *self.data.borrow_mut() = Some(Arc::new(data));
    }

    pub fn has_data(&self) -> bool {
        self.data.borrow().is_some()
    }

    /// The flat parameters of `model`, fetched unless it is the last one used.
    pub async fn model(
        &self,
        spec: &ModelSpec,
        model: &ModelRef,
        tell: &impl Fn(News),
    ) -> Result<Arc<Vec<f32>>, WorkError> {
        if let Some((hash, parameters)) = &*self.model.borrow()
            && *hash == model.sha256
        {
            return Ok(parameters.clone());
        }
        let fail = |reason: String| {
            WorkError::new(
                "model-download-failed",
                format!("cannot fetch the global model: {reason}"),
            )
        };
        let url = self.url.http(&model.url);
        let file = platform::fetch(&url, model.bytes).await.map_err(fail)?;
        tell(News::Fetched(file.len() as u64));
        let hash = Sha256Hash::of(&file);
        if hash != model.sha256 {
            return Err(fail(format!("its hash is {hash}, not {}", model.sha256)));
        }
        let parameters = safetensors::read(spec, &file).map_err(|error| fail(error.to_string()))?;
        let parameters = Arc::new(parameters);
        *self.model.borrow_mut() = Some((hash, parameters.clone()));
        Ok(parameters)
    }

    /// Does a round's work.
    pub async fn work(
        self: Rc<Self>,
        spec: ModelSpec,
        assignment: RoundAssignment,
        tell: impl Fn(News) + Clone + Send + 'static,
    ) -> Result<Trained, WorkError> {
        let data = self.data.borrow().clone();
        let data =
            data.ok_or_else(|| WorkError::new("bad-dataset", "there is no data to train on"))?;
        data.check_for(&spec).map_err(|error| WorkError::new("bad-dataset", error.to_string()))?;
        let global = self.model(&spec, &assignment.model, &tell).await?;
        tell(News::Downloaded);
        let plan = &assignment.training;
        let probe = Probe { spec: &spec, parameters: &global, data: &data, plan };
        let compute = self.compute(&probe, &tell).await?;
        match self.train(&probe, &compute, &tell).await {
            // A lost GPU costs this round's time, not the round.
            Err(LearningError::Device { backend: Backend::WebGpu, message }) => {
                let reason = format!("the WebGPU device was lost ({message})");
                tell(News::Tell(ClientEvent::problem(
                    "device-lost",
                    format!("{reason}; going on with the CPU"),
                )));
                tell(News::Tell(ClientEvent::Backend {
                    backend: "cpu",
                    adapter: None,
                    reason,
                    cpu_samples_per_second: None,
                    webgpu_samples_per_second: None,
                    gradient_error: None,
                }));
                let cpu = Compute::cpu();
                *self.compute.borrow_mut() = Some(cpu.clone());
                self.train(&probe, &cpu, &tell).await
            }
            done => done,
        }
        .map_err(|error| WorkError::new("training-failed", error.to_string()))
    }

    /// The device to train on, chosen at the first round.
    async fn compute(&self, probe: &Probe<'_>, tell: &impl Fn(News)) -> Result<Compute, WorkError> {
        if let Some(compute) = self.compute.borrow().clone() {
            return Ok(compute);
        }
        let (compute, choice, event) = backend::choose(self.preference, probe)
            .await
            .map_err(|error| WorkError::new("training-failed", error.to_string()))?;
        if let Some(problem) = choice.problem {
            let message = format!("{problem}; training on the CPU");
            tell(News::Tell(ClientEvent::problem("no-webgpu", message)));
        }
        tell(News::Tell(event));
        *self.compute.borrow_mut() = Some(compute.clone());
        Ok(compute)
    }

    async fn train(
        &self,
        probe: &Probe<'_>,
        compute: &Compute,
        tell: &(impl Fn(News) + Clone + Send + 'static),
    ) -> Result<Trained, LearningError> {
        let trainer = LocalTrainer::new(
            probe.spec,
            probe.parameters,
            probe.data.clone(),
            probe.plan,
            compute,
        )?;
        let examples = trainer.examples() as u64;
        let tell = tell.clone();
        let report = move |progress| tell(News::Progress(progress));
        let local = self.slots.train(trainer, compute.backend(), report).await?;
        let update = local
            .iter()
            .zip(probe.parameters)
            .flat_map(|(local, global)| (local - global).to_le_bytes())
            .collect::<Vec<u8>>();
        Ok(Trained { update: update.into(), examples })
    }

    /// Probabilities (or values) of the model `model` for `features`.
    pub async fn predict(
        &self,
        spec: &ModelSpec,
        model: &ModelRef,
        features: Vec<f32>,
    ) -> Result<Vec<f32>, WorkError> {
        let parameters = self.model(spec, model, &|_| {}).await?;
        fedra_learning::predict(spec, &parameters, features, &Compute::cpu())
            .await
            .map_err(|error| WorkError::new("bad-features", error.to_string()))
    }
}
