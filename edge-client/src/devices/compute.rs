//! Devices that can train: the CPU, and a GPU with what stays on it between rounds.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fedra_data::{Dataset, Features, Targets};
use fedra_gpu::{self as gpu, Gpu, GpuError, LimitsWanted, Preference, Preset, Setup};
use fedra_learning::{LearningError, gradient, prepared};
use fedra_protocol::{LocalTraining, Loss, ModelSpec};

use super::BackendName;

/// Failure of a training.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TrainingError {
    /// The data, the plan or the numbers do not allow it.
    #[error(transparent)]
    Learning(#[from] LearningError),
    /// The WebGPU device failed, in most cases because it is lost.
    #[error("the WebGPU device failed: {0}")]
    Device(String),
    /// The thread that trained ended early.
    #[error("training ended early: {0}")]
    Ended(String),
}

impl From<GpuError> for TrainingError {
    fn from(error: GpuError) -> Self {
        Self::Device(error.to_string())
    }
}

/// A device that is ready to train on.
#[derive(Clone, Debug)]
pub enum Compute {
    /// The CPU, which is always there.
    Cpu,
    /// A GPU.
    WebGpu(Arc<WebGpu>),
}

impl Compute {
    /// The GPU of this machine, or the one that the browser gives; a software adapter if
    /// there is no other. `now` is the time since any fixed moment: commands to the device
    /// are capped by it.
    ///
    /// # Errors
    ///
    /// [`GpuError`] if there is none, or it is too weak.
    pub async fn webgpu(now: fn() -> Duration) -> Result<Self, GpuError> {
        let gpu = Gpu::request(Preference::Fastest, LimitsWanted::Adapter).await?;
        let preset = if gpu.is_software() { Preset::Registers } else { Preset::SplitK };
        Ok(Self::WebGpu(Arc::new(WebGpu {
            gpu,
            now,
            state: Mutex::new(State { preset, kept: None }),
            #[cfg(test)]
            life: lives::next(),
        })))
    }

    /// The device's name.
    pub fn backend(&self) -> BackendName {
        match self {
            Self::Cpu => BackendName::Cpu,
            Self::WebGpu(_) => BackendName::WebGpu,
        }
    }

    /// True for a graphics adapter that runs on the CPU.
    pub fn is_software(&self) -> bool {
        matches!(self, Self::WebGpu(device) if device.gpu.is_software())
    }

    /// Name of the graphics adapter, if it has one.
    pub fn adapter(&self) -> Option<&str> {
        match self {
            Self::Cpu => None,
            Self::WebGpu(device) => {
                Some(device.gpu.adapter()).filter(|adapter| !adapter.is_empty())
            }
        }
    }

    /// The flat gradients of the mean losses over `batches` of examples, one after the
    /// other, without dropout. On a GPU each is at most a batch of `plan`, and comes from the
    /// kernels that train.
    ///
    /// # Errors
    ///
    /// [`TrainingError`] if the data or the vector do not fit the model, or the device fails.
    pub async fn gradients(
        &self,
        spec: &ModelSpec,
        parameters: &[f32],
        data: &Arc<Dataset>,
        plan: &LocalTraining,
        batches: &[Vec<u32>],
    ) -> Result<Vec<f32>, TrainingError> {
        let mut gradients = Vec::with_capacity(batches.len() * spec.parameters());
        match self {
            Self::Cpu => {
                for batch in batches {
                    gradients.extend(gradient(spec, parameters, data, batch)?);
                }
            }
            Self::WebGpu(device) => {
                let mut work = device.work(spec, data, plan, parameters).await?;
                for batch in batches {
                    gradients.extend(work.trainer.gradient(batch).await?);
                }
                device.keep(work);
            }
        }
        Ok(gradients)
    }
}

/// A GPU, its faster kernels, and the last training's memory on it.
pub struct WebGpu {
    gpu: Gpu,
    now: fn() -> Duration,
    state: Mutex<State>,
    #[cfg(test)]
    life: std::sync::atomic::AtomicU32,
}

struct State {
    preset: Preset,
    kept: Option<Work>,
}

impl fmt::Debug for WebGpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebGpu").field("adapter", &self.gpu.adapter()).finish_non_exhaustive()
    }
}

/// A model with its examples on a GPU.
pub(super) struct Work {
    pub trainer: gpu::Trainer,
    spec: ModelSpec,
    data: Arc<Dataset>,
    plan: LocalTraining,
}

impl Work {
    /// True if the kernels and the memory are those of this training.
    fn serves(&self, spec: &ModelSpec, data: &Arc<Dataset>, plan: &LocalTraining) -> bool {
        let kernels =
            |plan: &LocalTraining| (plan.batch_size(), plan.momentum() > 0.0, plan.algorithm());
        Arc::ptr_eq(&self.data, data) && self.spec == *spec && kernels(&self.plan) == kernels(plan)
    }
}

impl WebGpu {
    /// Times the two kinds of kernels on a training, and uses the faster from now on. On a
    /// software adapter it is known which.
    pub async fn choose_kernels(
        &self,
        spec: &ModelSpec,
        parameters: &[f32],
        data: &Arc<Dataset>,
        plan: &LocalTraining,
    ) -> Result<(), TrainingError> {
        if self.gpu.is_software() {
            return Ok(());
        }
        let mut work = self.work(spec, data, plan, parameters).await?;
        let preset = work.trainer.faster_preset().await?;
        self.state().preset = preset;
        self.keep(work);
        Ok(())
    }

    /// A training from `parameters`: the last one's kernels and examples if they are the
    /// same.
    pub(super) async fn work(
        &self,
        spec: &ModelSpec,
        data: &Arc<Dataset>,
        plan: &LocalTraining,
        parameters: &[f32],
    ) -> Result<Work, TrainingError> {
        let (kept, preset) = {
            let mut state = self.state();
            (state.kept.take(), state.preset)
        };
        if let Some(mut work) = kept.filter(|work| work.serves(spec, data, plan)) {
            work.trainer.begin(plan, parameters)?;
            return Ok(work);
        }
        let prepared = prepared(spec, data)?;
        let first = if prepared.is_some() { spec.fixed_layers() } else { 0 };
        let features: Arc<dyn gpu::Features> = match prepared {
            Some(prepared) => Arc::new(prepared),
            None => Arc::new(Raw(data.clone())),
        };
        let examples = Arc::new(gpu::Examples { features, targets: targets(spec, data) });
        let setup =
            Setup { spec: spec.clone(), first, training: plan.clone(), preset, now: self.now };
        let trainer = gpu::Trainer::new(&self.gpu, &setup, parameters, examples).await?;
        Ok(Work { trainer, spec: spec.clone(), data: data.clone(), plan: plan.clone() })
    }

    /// Keeps a training's kernels and examples for the next.
    pub(super) fn keep(&self, work: Work) {
        self.state().kept = Some(work);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The features of a data set as they are.
struct Raw(Arc<Dataset>);

impl gpu::Features for Raw {
    fn values(&self) -> &[f32] {
        match self.0.features() {
            Features::Values(values) => values,
            // No model of token ids has kernels.
            Features::Tokens(_) => &[],
        }
    }
}

/// The targets of data that fit the model.
fn targets(spec: &ModelSpec, data: &Dataset) -> gpu::Targets {
    let classifies = spec.loss() == Loss::SoftmaxCrossEntropy;
    match data.targets() {
        Targets::Classes(classes) | Targets::PositionClasses { classes, .. } if classifies => {
            gpu::Targets::Classes(classes.clone())
        }
        Targets::Values { values, .. } if classifies => {
            gpu::Targets::Classes(values.iter().map(|&value| value as u32).collect())
        }
        Targets::Classes(classes) | Targets::PositionClasses { classes, .. } => {
            gpu::Targets::Values(classes.iter().map(|&class| class as f32).collect())
        }
        Targets::Values { values, .. } => gpu::Targets::Values(values.clone()),
    }
}

/// Devices that are lost after a number of steps, so that tests see what comes of it.
#[cfg(test)]
pub(crate) mod lives {
    use std::cell::RefCell;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::WebGpu;

    thread_local! {
        static LIVES: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    }

    /// Sets how many times each of the next devices of this thread can be told to take
    /// steps. Those after them are never lost.
    pub(crate) fn set(lives: &[u32]) {
        LIVES.with_borrow_mut(|all| *all = lives.iter().rev().copied().collect());
    }

    pub(super) fn next() -> AtomicU32 {
        LIVES.with_borrow_mut(|all| AtomicU32::new(all.pop().unwrap_or(u32::MAX)))
    }

    impl WebGpu {
        /// Counts commands, and loses the device when its life is over. Returns the most
        /// steps of a command, few, so that there are many.
        pub(in crate::devices) fn live(&self) -> u32 {
            let spend = |life: u32| (life != u32::MAX).then(|| life.saturating_sub(1));
            if self.life.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend) == Ok(0) {
                self.gpu.destroy();
            }
            2
        }
    }
}
