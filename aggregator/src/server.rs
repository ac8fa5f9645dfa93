//! State that connections and sessions share: the tasks that run, their models, the
//! store, and the limits on memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::SystemTime;

use fedra_coordinator::messages::Command;
use fedra_coordinator::status::Counters;
use fedra_coordinator::storage::{RoundRecord, Storage, StoreError};
use fedra_coordinator::task::{self, ReadInitial, StartError, Started};
use fedra_learning::safetensors::{self, ModelFileError};
use fedra_protocol::{Sha256Hash, TaskId};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Access;
use crate::config::{Config, Mistakes, ServerConfig, TaskConfig};
use crate::credentials::FileError;
use crate::evaluation::{EvaluationError, Evaluator};
use crate::initial::{self, InitialError};
use crate::metrics::Metrics;
use crate::models::Models;
use crate::set_aside::SetAside;
use crate::task::{Message, Task, TaskDriver, WriterThread, unix_seconds};
use crate::tls::Tls;

/// Extra memory for unsolicited messages, as a fraction (1/8) of the upload budget.
const RESERVE_SHARE: u64 = 8;
/// Bytes in one unit of that memory.
pub(crate) const RESERVE_UNIT: u64 = 1 << 10;
/// The upload budget is counted in units of this many bytes.
const BUDGET_UNIT: u64 = 1 << 10;
/// Commands that may wait, in addition to one for every client that leaves.
const COMMANDS: usize = 1 << 10;

/// Failure of the server to start.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Held-out examples cannot be used.
    #[error("held-out evaluation: {0}")]
    Evaluation(#[from] EvaluationError),
    /// The file that a task is to begin with cannot be used.
    #[error("the initial file: {0}")]
    Initial(#[from] InitialError),
    /// A task cannot start.
    #[error(transparent)]
    Task(#[from] StartError),
    /// A key or a certificate cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system has no thread to give.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// A thread that prepares the start has failed.
    #[error("the start failed: {0}")]
    Start(#[from] tokio::task::JoinError),
    /// Every task is set aside, for the reasons given.
    #[error("no task can start: {}", .0.join("; "))]
    NoTask(Vec<String>),
}

/// State that connections and sessions share.
pub(crate) struct Server {
    pub config: ServerConfig,
    tasks: RwLock<BTreeMap<TaskId, Arc<Task>>>,
    /// Tasks that could not start.
    pub set_aside: SetAside,
    pub models: Arc<Models>,
    pub store: Storage,
    pub metrics: Arc<Metrics>,
    /// Access control for connections and check-ins.
    pub access: Access,
    /// TLS, if the server speaks it itself.
    pub tls: Option<Tls>,
    /// Bytes of updates in flight, in units of [`BUDGET_UNIT`].
    pub budget: Arc<Semaphore>,
    /// Bytes of large unsolicited messages that are not whole yet, in units of
    /// [`RESERVE_UNIT`].
    pub reserve: Arc<Semaphore>,
    pub shutdown: CancellationToken,
    pub sessions: TaskTracker,
    evaluator: Arc<Evaluator>,
    pub drivers: TaskTracker,
    writer_threads: Mutex<Vec<JoinHandle<()>>>,
    draining: AtomicBool,
    runtime: Handle,
}

/// Failure to add a task to a running server.
#[derive(Debug, Error)]
pub(crate) enum CreateTaskError {
    /// The section has mistakes.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
    /// There is, or was, a task of this name.
    #[error("the name {0} is taken by a task that there is or was")]
    Taken(TaskId),
    /// It could not be made.
    #[error(transparent)]
    Start(#[from] ServeError),
    /// It is in the store already.
    #[error(
        "the task {0} is made, but could not be started; it starts with the server's next start"
    )]
    NotStarted(TaskId, #[source] ServeError),
}

impl Server {
    /// Starts a task of the config. Blocking.
    fn start_configured(&self, config: TaskConfig) -> Result<(), ServeError> {
        self.evaluator.add(&config)?;
        self.start_task(config)
    }

    /// Starts a task that an operator has added. Blocking.
    fn start_added(&self, toml: &str) -> Result<(), CreateTaskError> {
        let config = Config::task_from_toml(toml, &self.config)?;
        Ok(self.start_configured(config)?)
    }

    /// Units of the budget that an update takes.
    pub(crate) fn budget_share(bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(BUDGET_UNIT)).unwrap_or(u32::MAX)
    }

    /// Goes by the token keys, origins, limits and certificate of this config from
    /// now on; whichever of them cannot be used stays as it was.
    pub(crate) fn reload(&self, config: &ServerConfig) {
        if let Err(error) = self.access.reload(config) {
            tracing::error!(%error, "token keys, origins and limits stay as they were");
        }
        match (&self.tls, &config.tls) {
            (Some(tls), Some(config)) => {
                if let Err(error) = tls.reload(config) {
                    tracing::error!(%error, "the certificate stays as it was");
                }
            }
            (None, None) => {}
            _ => tracing::error!("TLS cannot be turned on or off while the server runs"),
        }
        tracing::info!(
            "config read again: tokens, keys, origins, limits and certificate; whatever else has \
             changed waits for a restart"
        );
    }

    /// Bytes of the budget in use.
    pub(crate) fn budget_used(&self) -> u64 {
        let total = self.config.upload_budget / BUDGET_UNIT;
        total.saturating_sub(self.budget.available_permits() as u64) * BUDGET_UNIT
    }

    /// A task by its name.
    pub(crate) fn task(&self, id: &TaskId) -> Option<Arc<Task>> {
        self.tasks.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// All tasks as of now, by name.
    pub(crate) fn tasks(&self) -> Vec<Arc<Task>> {
        self.tasks.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// True if the server is about to stop.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Adds a task, durably. `toml` is one `[[task]]` of a config. The name of
    /// the task is the answer.
    pub(crate) async fn create_task(
        self: &Arc<Self>,
        toml: String,
    ) -> Result<TaskId, CreateTaskError> {
        let server = Arc::clone(self);
        let created = tokio::task::spawn_blocking(move || server.create_task_now(&toml));
        created.await.map_err(ServeError::from)?
    }

    /// Blocking.
    fn create_task_now(&self, toml: &str) -> Result<TaskId, CreateTaskError> {
        let config = Config::task_from_toml(toml, &self.config)?;
        let id = config.settings.id.clone();
        if self.task(&id).is_some() || self.set_aside.reason(&id).is_some() {
            return Err(CreateTaskError::Taken(id));
        }
        // What cannot be begun or evaluated must not be in the store at the next start.
        if let Some(initial) = &config.initial {
            initial::load(&config.settings.model, initial).map_err(ServeError::from)?;
        }
        self.evaluator.add(&config).map_err(ServeError::from)?;
        match self.store.tasks.add_task(&id, toml, unix_seconds()) {
            Err(StoreError::TaskExists(id)) => return Err(CreateTaskError::Taken(id)),
            added => added.map_err(ServeError::from)?,
        }
        self.start_task(config).map_err(|error| CreateTaskError::NotStarted(id.clone(), error))?;
        Ok(id)
    }

    /// Brings a task back, or makes it, and starts its driver. Blocking.
    fn start_task(&self, config: TaskConfig) -> Result<(), ServeError> {
        let summary = config.summary();
        let TaskConfig { settings, initial, access, evaluation, .. } = config;
        let settings = Arc::new(settings);
        let read = initial.map(|initial| {
            let model = settings.model.clone();
            move || initial::load(&model, &initial).map_err(|error| error.to_string())
        });
        let metrics = Arc::new(self.metrics.task(&settings.id));
        let counters = Arc::<Counters>::default();
        let started = task::start(
            &settings,
            &self.store,
            metrics.clone(),
            Arc::clone(&counters),
            rand::random(),
            read.as_ref().map(|read| read as ReadInitial<'_>),
        )?;
        let Started { settings, core, writer, model, frozen, control, lease } = started;
        let (view, receiver) = watch::channel(Arc::clone(core.view()));
        let (messages, inbox) = mpsc::channel(self.config.max_connections + COMMANDS);
        let name = format!("write-{}", settings.id);
        let results = messages.clone();
        let (writer, thread) = WriterThread::start(writer, name, metrics.clone(), move |event| {
            // Fails only when the driver has ended.
            let _ =
                results.blocking_send(Message::Command(Box::new(Command::Writer(Box::new(event)))));
        })?;
        let task = Arc::new(Task {
            settings,
            frozen,
            summary,
            evaluated: evaluation.is_some(),
            access,
            lease,
            messages,
            view: receiver,
            counters,
            metrics,
            epoch: Instant::now(),
            epoch_date: SystemTime::now(),
        });
        let newest = core.view().model.sha256;
        self.models.publish(&task.settings.id, newest, model);
        if let Some(file) = control {
            self.models.publish_control(&task.settings.id, Sha256Hash::of(&file), file);
        }
        evaluate_pending(&self.store, &self.evaluator, &task);
        let driver = TaskDriver {
            core,
            task: Arc::clone(&task),
            view,
            writer,
            evaluator: Arc::clone(&self.evaluator),
            models: Arc::clone(&self.models),
        };
        let running = driver.run(inbox, self.shutdown.clone());
        self.drivers.spawn_on(running, &self.runtime);
        let mut threads = self.writer_threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.push(thread);
        let mut tasks = self.tasks.write().unwrap_or_else(PoisonError::into_inner);
        self.metrics.set_aside(&task.settings.id, false);
        tasks.insert(task.settings.id.clone(), task);
        Ok(())
    }

    /// Waits until the writers have stored what is under way. Blocking.
    pub(crate) fn join_writers(&self) {
        let mut threads = self.writer_threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a writer's thread has panicked");
            }
        }
    }

    /// Lets the rounds under way end, but not for ever; begins no other.
    pub(crate) async fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        tracing::info!("draining: rounds under way may end, no other begins");
        let tasks = self.tasks();
        let drained = futures_util::future::join_all(tasks.iter().map(|task| task.drain()));
        if tokio::time::timeout(self.config.drain_timeout, drained).await.is_err() {
            tracing::warn!("rounds did not end in time: they are handed back");
        }
    }
}

/// Evaluates the models that a stop has left unevaluated, if they are kept, and the newest
/// once more: its matrix is not stored, and an older server measured less.
fn evaluate_pending(store: &Storage, evaluator: &Evaluator, task: &Arc<Task>) {
    let id = &task.settings.id;
    if !evaluator.covers(id) {
        return;
    }
    let parameters = |record: &RoundRecord| {
        let Some(file) = store.model(id, &record.sha256)? else { return Ok(None) };
        let damaged =
            |error: ModelFileError| StartError::Model { task: id.clone(), source: error.into() };
        Ok::<_, StartError>(Some(safetensors::read(&task.settings.model, &file).map_err(damaged)?))
    };
    let (history, newest) = {
        let view = task.view.borrow();
        (Arc::clone(&view.history), view.model.round)
    };
    let is_due = |record: &&RoundRecord| {
        // The model of a round of evaluation is that of the round before.
        let is_missing = record.quality.is_none() && record.client_quality.is_none();
        is_missing || record.round == newest
    };
    for record in history.iter().filter(is_due) {
        let round = record.round;
        match parameters(record) {
            Ok(None) => {}
            Ok(Some(parameters)) => task.evaluate(evaluator, round, Arc::new(parameters)),
            Err(error) => tracing::warn!(task = %id, round, %error, "the model is not evaluated"),
        }
    }
}

/// Everything that waits for disks: brings back all tasks. Blocking.
pub(crate) fn start(
    config: Config,
    store: Storage,
    shutdown: CancellationToken,
    runtime: Handle,
) -> Result<(Arc<Server>, oneshot::Receiver<()>), ServeError> {
    let Config { server: config, tasks } = config;
    let (evaluator, evaluation_ended) = Evaluator::start()?;
    let units = usize::try_from(config.upload_budget / BUDGET_UNIT).unwrap_or(usize::MAX);
    let reserve = config.upload_budget / RESERVE_SHARE / RESERVE_UNIT;
    let reserve = usize::try_from(reserve).unwrap_or(usize::MAX);
    let metrics = Arc::new(Metrics::new());
    let access = Access::new(&config, Arc::clone(&metrics))?;
    let tls = config.tls.as_ref().map(Tls::new).transpose()?;
    let server = Arc::new(Server {
        config,
        tasks: RwLock::default(),
        set_aside: SetAside::default(),
        models: Arc::new(Models::new(store.clone())),
        store,
        metrics,
        access,
        tls,
        budget: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
        reserve: Arc::new(Semaphore::new(reserve.min(Semaphore::MAX_PERMITS))),
        shutdown,
        sessions: TaskTracker::new(),
        evaluator: Arc::new(evaluator),
        drivers: TaskTracker::new(),
        writer_threads: Mutex::default(),
        draining: AtomicBool::new(false),
        runtime,
    });
    for task in tasks {
        let id = task.settings.id.clone();
        if let Err(error) = server.start_configured(task) {
            server.set_aside.add(id, &error, &server.metrics);
        }
    }
    for (id, toml) in server.store.tasks.added_tasks()? {
        if server.task(&id).is_some() || server.set_aside.reason(&id).is_some() {
            tracing::warn!(task = %id, "the config's task hides one that an operator has added");
        } else if let Err(error) = server.start_added(&toml) {
            server.set_aside.add(id, &error, &server.metrics);
        }
    }
    if server.tasks().is_empty() {
        let reasons = server.set_aside.list();
        return Err(ServeError::NoTask(reasons.into_iter().map(|task| task.reason).collect()));
    }
    Ok((server, evaluation_ended))
}
