//! The server as a whole: opens the store, brings back every task, starts the
//! coordinators, serves, and stops in an orderly way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fedra_learning::init_parameters;
use fedra_learning::safetensors::{self, ModelFileError};
use fedra_protocol::{Evaluation, Mechanism, Sha256Hash, TaskId};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Access, FileError};
use crate::config::{Config, Mistakes, ServerConfig, TaskConfig};
use crate::coordinator::{Command, Coordinator, Core, Health};
use crate::evaluation::{EvaluationError, Evaluator, submit};
use crate::folding::{CentralNoise, Folding, Worker, unix_seconds, weight_steps};
use crate::http::{self, tls::Tls};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::models::Models;
use crate::round::{Budget, Rounds, Standing, Time};
use crate::session::RESERVE_UNIT;
use crate::set_aside::SetAside;
use crate::signals::Signals;
use crate::storage::{Checkpoint, Quality, RedbStore, RoundRecord, Store, StoreError};
use crate::task::{HISTORY, Spent, Task, TaskView, Traffic, model_ref};

/// So large a part of the upload budget there is besides, for messages that come
/// late or unasked.
const RESERVE_SHARE: u64 = 8;
/// The upload budget is counted in units of this many bytes.
const BUDGET_UNIT: u64 = 1 << 10;
/// Commands that may wait, besides one for every client that leaves.
const COMMANDS: usize = 1 << 10;
/// How long sessions may take to close.
const DRAIN: Duration = Duration::from_secs(5);

/// Why the server could not start.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Held-out examples cannot be used.
    #[error("held-out evaluation: {0}")]
    Evaluation(#[from] EvaluationError),
    /// A stored model cannot be read.
    #[error("task {task}: the stored model is damaged: {source}")]
    Model {
        /// The task.
        task: TaskId,
        /// What is wrong with it.
        source: ModelFileError,
    },
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

/// What connections and sessions share.
pub(crate) struct Server {
    pub config: ServerConfig,
    tasks: RwLock<BTreeMap<TaskId, Arc<Task>>>,
    /// Tasks that could not start.
    pub set_aside: SetAside,
    pub models: Arc<Models>,
    pub store: Arc<dyn Store>,
    pub metrics: Arc<Metrics>,
    /// Who may connect and take part.
    pub access: Access,
    /// If the server speaks TLS itself.
    pub tls: Option<Tls>,
    /// Bytes of updates in flight, in units of [`BUDGET_UNIT`].
    pub budget: Arc<Semaphore>,
    /// Bytes of large messages that nobody has asked for and that are not whole
    /// yet, in units of [`RESERVE_UNIT`].
    pub reserve: Arc<Semaphore>,
    pub shutdown: CancellationToken,
    pub sessions: TaskTracker,
    evaluator: Arc<Evaluator>,
    coordinators: TaskTracker,
    folding_threads: Mutex<Vec<JoinHandle<()>>>,
    draining: AtomicBool,
    runtime: Handle,
}

/// Why a task could not be added to a server that runs.
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
    fn reload(&self, config: &ServerConfig) {
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

    /// Whether the server is about to stop.
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
        let id = config.id.clone();
        if self.task(&id).is_some() || self.set_aside.reason(&id).is_some() {
            return Err(CreateTaskError::Taken(id));
        }
        // What cannot be evaluated must not be in the store at the next start.
        self.evaluator.add(&config).map_err(ServeError::from)?;
        match self.store.add_task(&id, toml, unix_seconds()) {
            Err(StoreError::TaskExists(id)) => return Err(CreateTaskError::Taken(id)),
            added => added.map_err(ServeError::from)?,
        }
        self.start_task(config).map_err(|error| CreateTaskError::NotStarted(id.clone(), error))?;
        Ok(id)
    }

    /// Brings a task back, or makes it, and starts its coordinator. Blocking.
    fn start_task(&self, config: TaskConfig) -> Result<(), ServeError> {
        let capacity = self.config.max_connections + COMMANDS;
        let revived = revive(&self.store, config, &self.metrics, capacity)?;
        let Revived { task, core, worker, inbox, file } = revived;
        let commands = task.commands.clone();
        let (folding, thread) = Folding::start(worker, move |command| {
            // Without a coordinator there is nobody left to tell.
            let _ = commands.blocking_send(command);
        })?;
        let newest = task.view.borrow().model.clone();
        self.models.publish(&task.config.id, newest.sha256, file);
        evaluate_pending(self.store.as_ref(), &self.evaluator, &task);
        let coordinator = Coordinator {
            core,
            task: Arc::clone(&task),
            folding,
            evaluator: Arc::clone(&self.evaluator),
            models: Arc::clone(&self.models),
        };
        let running = coordinator.run(inbox, self.shutdown.clone());
        self.coordinators.spawn_on(running, &self.runtime);
        let mut threads = self.folding_threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.push(thread);
        let mut tasks = self.tasks.write().unwrap_or_else(PoisonError::into_inner);
        self.metrics.set_aside(&task.config.id, false);
        tasks.insert(task.config.id.clone(), task);
        Ok(())
    }

    /// Lets the rounds under way end, but not for ever; begins no other.
    async fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        tracing::info!("draining: rounds under way may end, no other begins");
        let tasks = self.tasks();
        let drained = futures_util::future::join_all(tasks.iter().map(|task| task.drain()));
        if tokio::time::timeout(self.config.drain_timeout, drained).await.is_err() {
            tracing::warn!("rounds did not end in time: they are handed back");
        }
    }
}

/// Serves on `listener` until it is told to stop, with the store of the config.
/// In the place of [`Signals`] may be a future: the server stops when it resolves.
///
/// # Errors
///
/// [`ServeError`] if the server could not start.
pub async fn run(
    config: Config,
    listener: TcpListener,
    signals: impl Into<Signals>,
) -> Result<(), ServeError> {
    let folder = config.server.store.clone();
    let store = tokio::task::spawn_blocking(move || RedbStore::open(&folder)).await??;
    run_with_store(config, Arc::new(store), listener, signals).await
}

/// Serves on `listener` until it is told to stop, with any store.
///
/// # Errors
///
/// [`ServeError`] if the server could not start.
pub async fn run_with_store(
    config: Config,
    store: Arc<dyn Store>,
    listener: TcpListener,
    signals: impl Into<Signals>,
) -> Result<(), ServeError> {
    let Signals { shutdown, reload } = signals.into();
    let token = CancellationToken::new();
    // A server whose future is dropped takes its tasks with it.
    let _guard = token.clone().drop_guard();
    let (runtime, cancelled) = (Handle::current(), token.clone());
    let (server, evaluation_ended) =
        tokio::task::spawn_blocking(move || start(config, store, cancelled, runtime)).await??;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, tasks = server.tasks().len(), "listening");
    }
    let reloading = reload_on(reload, Arc::clone(&server));
    server.coordinators.spawn(token.clone().run_until_cancelled_owned(reloading));
    let stop = async {
        shutdown.await;
        server.drain().await;
    };
    http::serve(listener, &server, stop).await;

    tracing::info!("stopping");
    token.cancel();
    server.sessions.close();
    server.coordinators.close();
    if tokio::time::timeout(DRAIN, server.sessions.wait()).await.is_err() {
        tracing::warn!(sessions = server.sessions.len(), "sessions did not close in time");
    }
    server.coordinators.wait().await;
    // A round that is being stored is stored.
    tokio::task::spawn_blocking(move || join_threads(&server)).await?;
    // An evaluation in progress may be cut off: it is redone at the next start.
    if tokio::time::timeout(DRAIN, evaluation_ended).await.is_err() {
        tracing::info!("an evaluation is cut off");
    }
    Ok(())
}

/// Applies each config that comes, as far as that can be done.
async fn reload_on(mut configs: BoxStream<'static, Config>, server: Arc<Server>) {
    while let Some(config) = configs.next().await {
        server.reload(&config.server);
    }
}

/// Blocking.
fn join_threads(server: &Server) {
    let mut threads = server.folding_threads.lock().unwrap_or_else(PoisonError::into_inner);
    for thread in threads.drain(..) {
        if thread.join().is_err() {
            tracing::error!("a folding thread has panicked");
        }
    }
}

/// Everything that waits for disks: brings back all tasks. Blocking.
fn start(
    config: Config,
    store: Arc<dyn Store>,
    shutdown: CancellationToken,
    runtime: Handle,
) -> Result<(Arc<Server>, oneshot::Receiver<()>), ServeError> {
    let Config { server: config, tasks } = config;
    let (evaluator, evaluation_ended) = Evaluator::start(Arc::clone(&store), runtime.clone())?;
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
        models: Arc::new(Models::new(Arc::clone(&store))),
        store,
        metrics,
        access,
        tls,
        budget: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
        reserve: Arc::new(Semaphore::new(reserve.min(Semaphore::MAX_PERMITS))),
        shutdown,
        sessions: TaskTracker::new(),
        evaluator: Arc::new(evaluator),
        coordinators: TaskTracker::new(),
        folding_threads: Mutex::default(),
        draining: AtomicBool::new(false),
        runtime,
    });
    for task in tasks {
        let id = task.id.clone();
        if let Err(error) = server.start_configured(task) {
            server.set_aside.add(id, &error, &server.metrics);
        }
    }
    for (id, toml) in server.store.added_tasks()? {
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

/// A task as it was left, or a new one.
pub(crate) struct Revived {
    pub task: Arc<Task>,
    pub core: Core,
    pub worker: Worker,
    pub inbox: mpsc::Receiver<Command>,
    /// The newest model.
    pub file: Bytes,
}

/// Brings a task back from the store, or makes it there. Blocking.
pub(crate) fn revive(
    store: &Arc<dyn Store>,
    config: TaskConfig,
    metrics: &Arc<Metrics>,
    capacity: usize,
) -> Result<Revived, ServeError> {
    let checkpoint = match store.load(&config.id, &config.definition(), HISTORY)? {
        Some(checkpoint) => checkpoint,
        None => create(store.as_ref(), &config)?,
    };
    let damaged = |source| ServeError::Model { task: config.id.clone(), source };
    let parameters = safetensors::read(&config.model, &checkpoint.model).map_err(damaged)?;
    let ledger = match &config.privacy {
        Some(privacy) => Some(Ledger::new(privacy, &store.debits(&config.id)?)),
        None => None,
    };
    let history = VecDeque::from(checkpoint.history);
    let newest = history.back().expect("a checkpoint has at least one record");
    let standing = store.standing(&config.id)?;
    let rounds = rounds_after(&config, newest.round, ledger.as_ref(), standing);
    tracing::info!(task = %config.id, round = newest.round, model = %newest.sha256, "task ready");
    let task_metrics = metrics.task(&config.id);
    task_metrics.resumed(newest.round);
    task_metrics.standing(standing);
    let spent = ledger.as_ref().map(|ledger| spent(&config, ledger, newest.clipping_norm));
    if let Some(spent) = spent {
        task_metrics.privacy_epsilon.set(spent.epsilon);
    }
    let (view, receiver) = watch::channel(Arc::new(TaskView {
        progress: rounds.progress(),
        health: Health::default(),
        model: model_ref(newest),
        evaluation: last_evaluation(&history),
        privacy: spent,
        history: Arc::new(history),
    }));
    let (commands, inbox) = mpsc::channel(capacity);
    let task = Arc::new(Task {
        commands,
        view: receiver,
        traffic: Traffic::default(),
        metrics: task_metrics,
        contested: AtomicU64::default(),
        epoch: Instant::now(),
        epoch_date: SystemTime::now(),
        config,
    });
    let worker = worker(store, &task, parameters)?;
    let metrics = Arc::clone(metrics);
    let core = Core::new(Arc::clone(&task), metrics, view, rounds, ledger, Time::default());
    Ok(Revived { task, core, worker, inbox, file: checkpoint.model })
}

fn worker(store: &Arc<dyn Store>, task: &Task, parameters: Vec<f32>) -> Result<Worker, StoreError> {
    let config = &task.config;
    Ok(Worker {
        task: config.id.clone(),
        spec: config.model.clone(),
        update_range: config.update_range,
        mode: config.plan.mode,
        weight_steps: weight_steps(&config.plan),
        optimizer: config.optimizer.clone(),
        parameters: Arc::new(parameters),
        keep: config.checkpoints,
        privacy: config.privacy.as_ref().map(|config| Arc::clone(&config.privacy)),
        noise: central_noise(store.as_ref(), config)?,
        store: Arc::clone(store),
        metrics: task.metrics.clone(),
        attempt: None,
    })
}

fn spent(config: &TaskConfig, ledger: &Ledger, clipping_norm: Option<f64>) -> Spent {
    Spent {
        epsilon: ledger.spent_epsilon(),
        participations: ledger.most_participations(),
        debits: ledger.debits(),
        subjects: ledger.subjects(),
        clipping_norm: clipping_norm
            .or(config.policy().map(|policy| policy.clipping_norm))
            .unwrap_or(1.0),
    }
}

fn last_evaluation(history: &VecDeque<RoundRecord>) -> Option<Evaluation> {
    history.iter().rev().find_map(|record| {
        let Quality { accuracy, loss } = record.quality?;
        Some(Evaluation { round: record.round, accuracy, loss })
    })
}

/// The machine of a task with so many completed rounds.
fn rounds_after(
    config: &TaskConfig,
    completed: u64,
    ledger: Option<&Ledger>,
    standing: Standing,
) -> Rounds {
    let (attempt, budget) = ledger
        .map_or((0, Budget::Left), |ledger| (ledger.next_attempt(completed + 1), ledger.budget()));
    Rounds::new(config.plan.clone(), completed, attempt, budget, standing)
}

/// The generator of the server's own noise, for a central policy. Its secret is
/// in the store: the noise of a tree's nodes must be the same after a restart.
fn central_noise(
    store: &dyn Store,
    config: &TaskConfig,
) -> Result<Option<CentralNoise>, StoreError> {
    let Some(privacy) = &config.privacy else { return Ok(None) };
    let mechanism = privacy.privacy.policy().mechanism;
    let (Some(central), Mechanism::Central { tree_rounds }) =
        (privacy.privacy.central(), mechanism)
    else {
        return Ok(None);
    };
    let secret = store.secret(&config.id, rand::random())?;
    Ok(Some(CentralNoise::new(central.clone(), secret, tree_rounds)))
}

/// A new task with its initial model, durable.
fn create(store: &dyn Store, config: &TaskConfig) -> Result<Checkpoint, ServeError> {
    let parameters = init_parameters(&config.model, config.seed);
    let damaged = |source| ServeError::Model { task: config.id.clone(), source };
    let model = Bytes::from(safetensors::write(&config.model, &parameters).map_err(damaged)?);
    let record = RoundRecord {
        round: 0,
        attempt: 0,
        sha256: Sha256Hash::of(&model),
        model_bytes: model.len() as u64,
        cohort: 0,
        reports: 0,
        weight: 0,
        seconds: 0.0,
        bytes_up: 0,
        bytes_down: 0,
        quality: None,
        clipping_norm: config.policy().map(|policy| policy.clipping_norm),
        restored: None,
    };
    store.create(&config.id, &config.definition(), &record, &model)?;
    Ok(Checkpoint { history: vec![record], model })
}

/// Evaluates what a stop has left unevaluated, as far as the models are kept.
fn evaluate_pending(store: &dyn Store, evaluator: &Evaluator, task: &Arc<Task>) {
    let id = &task.config.id;
    if !evaluator.covers(id) {
        return;
    }
    let parameters = |record: &RoundRecord| {
        let Some(file) = store.model(id, &record.sha256)? else { return Ok(None) };
        let damaged = |source| ServeError::Model { task: id.clone(), source };
        Ok::<_, ServeError>(Some(safetensors::read(&task.config.model, &file).map_err(damaged)?))
    };
    let history = Arc::clone(&task.view.borrow().history);
    for record in history.iter().filter(|record| record.quality.is_none()) {
        let round = record.round;
        match parameters(record) {
            Ok(None) => {}
            Ok(Some(parameters)) => submit(evaluator, task, round, Arc::new(parameters)),
            Err(error) => tracing::warn!(task = %id, round, %error, "the model is not evaluated"),
        }
    }
}
