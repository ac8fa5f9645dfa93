//! Evaluation of each global model on held-out examples, one model at a time on all cores:
//! rounds do not wait for it, unless their task has a gate.
//!
//! If models come faster than they can be evaluated, the oldest that wait are
//! passed over, but never one that a gate waits for.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;

use bytes::Bytes;
use fedra_data::{Dataset, DatasetError, ReadError, ReadOptions};
use fedra_learning::metrics::ConfusionMatrix;
use fedra_learning::safetensors::{self, ModelFileError};
use fedra_learning::{LearningError, WeightsView, evaluate};
use fedra_protocol::{Evaluation, ModelSpec, TaskId};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::config::{EvaluationConfig, TaskConfig};
use fedra_coordinator::storage::{Lease, StoreError};

/// Models that may wait, all tasks together.
const WAITING: usize = 64;

/// Failure to use held-out data, or to evaluate a model.
#[derive(Debug, Error)]
pub enum EvaluationError {
    /// The evaluator cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// A file is not what it should be.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The examples do not fit the model.
    #[error("the held-out examples do not fit the model: {0}")]
    Unfit(#[from] DatasetError),
    /// The evaluation itself failed.
    #[error(transparent)]
    Learning(#[from] LearningError),
    /// The frozen part of the model cannot be read.
    #[error("the frozen part of the model: {0}")]
    Frozen(#[from] ModelFileError),
    /// The result cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads the held-out examples of a task and holds them against its model; `None` if it has
/// none.
///
/// # Errors
///
/// [`EvaluationError`] with the file at fault.
pub fn load(task: &TaskConfig) -> Result<Option<Dataset>, EvaluationError> {
    let Some(EvaluationConfig { source, csv }) = &task.evaluation else { return Ok(None) };
    let model = &task.settings.model;
    let described = task.settings.data_or_bytes();
    let options = ReadOptions { csv: *csv, ..ReadOptions::default() };
    let dataset = fedra_data_files::load(source, &described, model, options)?;
    dataset.check_for(model)?;
    Ok(Some(dataset))
}

/// Result of an evaluation, with a matrix if models of the task have one.
type Evaluated = (Evaluation, Option<Arc<ConfusionMatrix>>);

type Done = Box<dyn FnOnce(Option<Evaluated>) + Send>;

/// A model to evaluate.
pub(crate) struct Job {
    /// Leadership of the task, to store the result.
    pub lease: Lease,
    pub round: u64,
    pub parameters: Arc<Vec<f32>>,
    /// File of the frozen tensors, if there are some.
    pub frozen: Option<Bytes>,
    /// True if the task's next round waits for the result.
    pub is_awaited: bool,
    /// Called on the evaluator's thread once the result is durable; with nothing if there is
    /// none.
    pub done: Done,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    signal: Condvar,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends models to the evaluator's thread, which ends when this is dropped.
pub(crate) struct Evaluator {
    shared: Arc<Shared>,
    tasks: Arc<HeldOut>,
}

/// The model and the held-out examples of each task that has some.
type HeldOut = RwLock<HashMap<TaskId, Arc<(ModelSpec, Dataset)>>>;

impl Evaluator {
    /// Starts the thread. The receiver fails once it has ended and let go of the
    /// store.
    pub(crate) fn start() -> Result<(Self, oneshot::Receiver<()>), EvaluationError> {
        let (shared, tasks) = (Arc::<Shared>::default(), Arc::<HeldOut>::default());
        let worker = Worker { shared: Arc::clone(&shared), tasks: Arc::clone(&tasks) };
        let (alive, ended) = oneshot::channel();
        thread::Builder::new().name("evaluation".to_owned()).spawn(move || {
            worker.run();
            drop(alive);
        })?;
        Ok((Self { shared, tasks }, ended))
    }

    /// Loads the held-out examples of a task, if it has some. Blocking.
    pub(crate) fn add(&self, task: &TaskConfig) -> Result<(), EvaluationError> {
        let Some(examples) = load(task)? else { return Ok(()) };
        let held_out = (task.settings.model.clone(), examples);
        let mut tasks = self.tasks.write().unwrap_or_else(PoisonError::into_inner);
        tasks.insert(task.settings.id.clone(), Arc::new(held_out));
        Ok(())
    }

    /// True if the task has held-out examples.
    pub(crate) fn covers(&self, task: &TaskId) -> bool {
        self.tasks.read().unwrap_or_else(PoisonError::into_inner).contains_key(task)
    }

    /// Has a model evaluated, if its task has held-out examples.
    pub(crate) fn submit(&self, job: Job) {
        if !self.covers(job.lease.task()) {
            return;
        }
        let mut queue = self.shared.queue();
        if queue.jobs.len() >= WAITING
            && let Some(oldest) = queue.jobs.iter().position(|job| !job.is_awaited)
            && let Some(old) = queue.jobs.remove(oldest)
        {
            tracing::warn!(task = %old.lease.task(), round = old.round, "evaluation is behind: passed over");
        }
        queue.jobs.push_back(job);
        self.shared.signal.notify_one();
    }
}

impl Drop for Evaluator {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.signal.notify_one();
    }
}

struct Worker {
    shared: Arc<Shared>,
    tasks: Arc<HeldOut>,
}

impl Worker {
    fn run(self) {
        while let Some(job) = self.next() {
            match self.evaluate(&job) {
                Ok(evaluated) => (job.done)(Some(evaluated)),
                Err(error) => {
                    tracing::error!(task = %job.lease.task(), round = job.round, %error, "no evaluation");
                    (job.done)(None);
                }
            }
        }
    }

    /// Waits for a job; `None` once the evaluator is dropped.
    fn next(&self) -> Option<Job> {
        let mut queue = self.shared.queue();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            queue = self.shared.signal.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn evaluate(&self, job: &Job) -> Result<Evaluated, EvaluationError> {
        let tasks = self.tasks.read().unwrap_or_else(PoisonError::into_inner);
        let held_out = tasks.get(job.lease.task()).cloned();
        drop(tasks);
        let held_out = held_out.expect("only covered tasks are submitted");
        let (spec, data) = &*held_out;
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let frozen = job.frozen.as_ref().map(|file| safetensors::read_frozen(spec, file));
        let frozen = frozen.transpose()?.unwrap_or_default();
        let weights = WeightsView { trained: &job.parameters, frozen: &frozen };
        let result = evaluate(spec, weights, data, threads)?;
        let evaluation = Evaluation { round: job.round, quality: result.quality };
        job.lease.set_quality(job.round, result.quality)?;
        Ok((evaluation, result.confusion.map(Arc::new)))
    }
}
