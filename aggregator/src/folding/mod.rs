//! The thread of a task that folds updates and makes the new model.
//!
//! Jobs run in the order in which they come, so a round is finalised after
//! everything that was accepted into it. The thread is the only one that holds
//! the sum and writes rounds to the store; it decides nothing about rounds.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fedra_aggregation::{ApplyError, CheckedUpdate, FixedPointSum, FoldError, ServerOptimizer};
use fedra_learning::safetensors::{self, ModelFileError};
use fedra_protocol::{ModelSpec, Sha256Hash, TaskId};
use thiserror::Error;
use tokio::sync::OwnedSemaphorePermit;

use crate::metrics::TaskMetrics;
use crate::storage::{RoundRecord, Store, StoreError};

/// A sound update, and its share of the upload budget until it is folded.
#[derive(Debug)]
pub(crate) struct ReceivedUpdate {
    pub update: CheckedUpdate<Bytes>,
    /// Held, not read.
    pub _permit: OwnedSemaphorePermit,
}

/// What is known of a round before its model is made.
#[derive(Debug, Clone)]
pub(crate) struct RoundFigures {
    pub round: u64,
    pub attempt: u32,
    pub cohort: u32,
    pub reports: u32,
    pub weight: u64,
    pub elapsed: Duration,
    pub traffic: (u64, u64),
}

/// A global model, durable.
#[derive(Debug, Clone)]
pub(crate) struct GlobalModel {
    pub record: RoundRecord,
    pub file: Bytes,
    pub parameters: Arc<Vec<f32>>,
}

/// Why a round's model was not made.
#[derive(Debug, Error)]
pub(crate) enum FinalizeError {
    #[error(transparent)]
    Fold(#[from] FoldError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    File(#[from] ModelFileError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Finished = Box<dyn FnOnce(Result<GlobalModel, FinalizeError>) + Send>;

enum Job {
    Open,
    Fold(ReceivedUpdate, u64),
    Finalize(RoundFigures, Finished),
}

/// Sends jobs to the thread, which ends when this is dropped.
pub(crate) struct Folding {
    jobs: mpsc::Sender<Job>,
}

impl Folding {
    /// Starts the thread at the given model.
    pub(crate) fn start(worker: Worker) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (jobs, inbox) = mpsc::channel();
        let name = format!("fold-{}", worker.task);
        let thread = std::thread::Builder::new().name(name).spawn(move || worker.run(&inbox))?;
        Ok((Self { jobs }, thread))
    }

    /// Empties the sum for a new attempt.
    pub(crate) fn open(&self) {
        self.send(Job::Open);
    }

    /// Folds an accepted update.
    pub(crate) fn fold(&self, update: ReceivedUpdate, weight: u64) {
        self.send(Job::Fold(update, weight));
    }

    /// Makes the new model and stores it, then calls `finished` on the thread.
    pub(crate) fn finalize(
        &self,
        figures: RoundFigures,
        finished: impl FnOnce(Result<GlobalModel, FinalizeError>) + Send + 'static,
    ) {
        self.send(Job::Finalize(figures, Box::new(finished)));
    }

    fn send(&self, job: Job) {
        if self.jobs.send(job).is_err() {
            tracing::error!("the folding thread is gone");
        }
    }
}

/// What the thread works with.
pub(crate) struct Worker {
    pub task: TaskId,
    pub spec: ModelSpec,
    pub optimizer: ServerOptimizer,
    pub parameters: Arc<Vec<f32>>,
    pub store: Arc<dyn Store>,
    pub metrics: TaskMetrics,
}

impl Worker {
    fn run(mut self, inbox: &mpsc::Receiver<Job>) {
        let mut sum = FixedPointSum::new(self.parameters.len());
        let mut broken = None;
        for job in inbox {
            match job {
                Job::Open => {
                    sum.clear();
                    broken = None;
                }
                Job::Fold(received, weight) => {
                    let start = Instant::now();
                    if let Err(error) = sum.fold(&received.update, weight) {
                        broken = Some(error);
                    }
                    self.metrics.folded.increment(4 * received.update.len() as u64);
                    self.metrics.fold_seconds.increment(start.elapsed().as_secs_f64());
                }
                Job::Finalize(figures, finished) => {
                    let sound = broken.map_or(Ok(()), |error| Err(error.into()));
                    let made = sound.and_then(|()| self.make_model(&figures, &sum));
                    if let Ok(model) = &made {
                        self.parameters = Arc::clone(&model.parameters);
                    }
                    finished(made);
                }
            }
        }
    }

    /// Durable when it returns.
    fn make_model(
        &mut self,
        figures: &RoundFigures,
        sum: &FixedPointSum,
    ) -> Result<GlobalModel, FinalizeError> {
        let start = Instant::now();
        let parameters = self.optimizer.step(&self.parameters, sum)?;
        let file = Bytes::from(safetensors::write(&self.spec, &parameters)?);
        let record = RoundRecord {
            round: figures.round,
            attempt: figures.attempt,
            sha256: Sha256Hash::of(&file),
            model_bytes: file.len() as u64,
            cohort: figures.cohort,
            reports: figures.reports,
            weight: figures.weight,
            seconds: (figures.elapsed + start.elapsed()).as_secs_f64(),
            bytes_up: figures.traffic.0,
            bytes_down: figures.traffic.1,
            quality: None,
        };
        self.store.commit(&self.task, &record, &file)?;
        Ok(GlobalModel { record, file, parameters: Arc::new(parameters) })
    }
}
