//! The server as a whole: opens the store, brings back every task, starts the
//! coordinators, serves, and stops in an orderly way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use fedra_learning::init_parameters;
use fedra_learning::safetensors::{self, ModelFileError};
use fedra_protocol::{Evaluation, Mechanism, Sha256Hash, TaskId};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use rand::SeedableRng;
use rand::rngs::StdRng;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Access, FileError};
use crate::config::{Config, ServerConfig, TaskConfig};
use crate::coordinator::{Command, Coordinator, submit};
use crate::evaluation::{EvaluationError, Evaluator};
use crate::folding::{CentralNoise, Folding, Worker};
use crate::http::{self, tls::Tls};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::models::Models;
use crate::round::{Budget, Rounds};
use crate::signals::Signals;
use crate::storage::{Checkpoint, RedbStore, RoundRecord, Store, StoreError};
use crate::task::{HISTORY, Spent, Task, TaskView, Traffic, model_ref};

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
}

/// What connections and sessions share.
pub(crate) struct Server {
    pub config: ServerConfig,
    pub tasks: BTreeMap<TaskId, Arc<Task>>,
    pub models: Arc<Models>,
    pub store: Arc<dyn Store>,
    pub metrics: Arc<Metrics>,
    /// Who may connect and take part.
    pub access: Access,
    /// If the server speaks TLS itself.
    pub tls: Option<Tls>,
    /// Bytes of updates in flight, in units of [`BUDGET_UNIT`].
    pub budget: Arc<Semaphore>,
    pub shutdown: CancellationToken,
    pub sessions: TaskTracker,
}

impl Server {
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
        tracing::info!("config read again");
    }

    /// Bytes of the budget in use.
    pub(crate) fn budget_used(&self) -> u64 {
        let total = self.config.upload_budget / BUDGET_UNIT;
        total.saturating_sub(self.budget.available_permits() as u64) * BUDGET_UNIT
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
    let runtime = Handle::current();
    let prepared = tokio::task::spawn_blocking(move || prepare(config, &store, runtime)).await??;
    let Prepared { server, coordinators, folding_threads, evaluation_ended } =
        prepared(token.clone());

    let tracker = TaskTracker::new();
    for (coordinator, inbox) in coordinators {
        tracker.spawn(coordinator.run(inbox, token.clone()));
    }
    tracker.spawn(token.clone().run_until_cancelled_owned(reload_on(reload, Arc::clone(&server))));
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, tasks = server.tasks.len(), "listening");
    }
    http::serve(listener, &server, shutdown).await;

    tracing::info!("stopping");
    token.cancel();
    server.sessions.close();
    tracker.close();
    if tokio::time::timeout(DRAIN, server.sessions.wait()).await.is_err() {
        tracing::warn!(sessions = server.sessions.len(), "sessions did not close in time");
    }
    tracker.wait().await;
    // A round that is being stored is stored.
    tokio::task::spawn_blocking(move || {
        folding_threads.into_iter().for_each(|thread| {
            if thread.join().is_err() {
                tracing::error!("a folding thread has panicked");
            }
        });
    })
    .await?;
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

struct Prepared {
    server: Arc<Server>,
    coordinators: Vec<(Coordinator, mpsc::Receiver<Command>)>,
    folding_threads: Vec<JoinHandle<()>>,
    evaluation_ended: oneshot::Receiver<()>,
}

/// Everything that waits for disks: brings back all tasks. Blocking.
fn prepare(
    config: Config,
    store: &Arc<dyn Store>,
    runtime: Handle,
) -> Result<impl FnOnce(CancellationToken) -> Prepared + use<>, ServeError> {
    let metrics = Arc::new(Metrics::new());
    let access = Access::new(&config.server, Arc::clone(&metrics))?;
    let tls = config.server.tls.as_ref().map(Tls::new).transpose()?;
    let models = Arc::new(Models::new(Arc::clone(store)));
    let (evaluator, evaluation_ended) =
        Evaluator::start(&config.tasks, Arc::clone(store), runtime)?;
    let evaluator = Arc::new(evaluator);
    let Config { server: server_config, tasks: task_configs } = config;
    let (mut tasks, mut coordinators, mut folding_threads) = (BTreeMap::new(), vec![], vec![]);
    for task_config in task_configs {
        let capacity = server_config.max_connections + COMMANDS;
        let revived = revive(store.as_ref(), task_config, &metrics, capacity)?;
        let Revived { task, parameters, file, inbox, view, ledger } = revived;
        let worker = Worker {
            task: task.config.id.clone(),
            spec: task.config.model.clone(),
            optimizer: task.config.optimizer.clone(),
            parameters,
            privacy: task.config.privacy.as_ref().map(|config| Arc::clone(&config.privacy)),
            noise: central_noise(store.as_ref(), &task.config)?,
            store: Arc::clone(store),
            keep: task.config.checkpoints,
            metrics: task.metrics.clone(),
        };
        let commands = task.commands.clone();
        let (folding, thread) = Folding::start(worker, move |client, round, fault| {
            // Without a coordinator there is nobody left to tell.
            let _ = commands.blocking_send(Command::Strike(client, round, fault));
        })?;
        let newest = task.view.borrow().model.clone();
        models.publish(&task.config.id, newest.sha256, file);
        evaluate_pending(store.as_ref(), &evaluator, &task)?;
        let rounds = rounds_after(&task.config, newest.round, ledger.as_ref());
        let coordinator = Coordinator {
            task: Arc::clone(&task),
            rounds: Some(rounds),
            view,
            folding,
            evaluator: Arc::clone(&evaluator),
            models: Arc::clone(&models),
            metrics: Arc::clone(&metrics),
            rng: StdRng::seed_from_u64(rand::random()),
            ledger,
        };
        tasks.insert(task.config.id.clone(), task);
        coordinators.push((coordinator, inbox));
        folding_threads.push(thread);
    }
    let units = usize::try_from(server_config.upload_budget / BUDGET_UNIT).unwrap_or(usize::MAX);
    let budget = Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS)));
    let store = Arc::clone(store);
    Ok(move |shutdown| {
        let server = Server {
            config: server_config,
            tasks,
            models,
            store,
            metrics,
            access,
            tls,
            budget,
            shutdown,
            sessions: TaskTracker::new(),
        };
        Prepared { server: Arc::new(server), coordinators, folding_threads, evaluation_ended }
    })
}

/// A task as it was left, or a new one.
struct Revived {
    task: Arc<Task>,
    parameters: Arc<Vec<f32>>,
    file: Bytes,
    inbox: mpsc::Receiver<Command>,
    view: watch::Sender<Arc<TaskView>>,
    ledger: Option<Ledger>,
}

fn revive(
    store: &dyn Store,
    config: TaskConfig,
    metrics: &Metrics,
    capacity: usize,
) -> Result<Revived, ServeError> {
    let checkpoint = match store.load(&config.id, &config.definition(), HISTORY)? {
        Some(checkpoint) => checkpoint,
        None => create(store, &config)?,
    };
    let damaged = |source| ServeError::Model { task: config.id.clone(), source };
    let parameters = safetensors::read(&config.model, &checkpoint.model).map_err(damaged)?;
    let history = VecDeque::from(checkpoint.history);
    let newest = history.back().expect("a checkpoint has at least one record");
    let ledger = match &config.privacy {
        Some(privacy) => Some(Ledger::new(privacy, &store.debits(&config.id)?)),
        None => None,
    };
    let clipping_norm = newest.clipping_norm;
    let spent = ledger.as_ref().map(|ledger| Spent {
        epsilon: ledger.spent_epsilon(),
        participations: ledger.most_participations(),
        debits: ledger.debits(),
        subjects: ledger.subjects(),
        clipping_norm: clipping_norm
            .or(config.policy().map(|policy| policy.clipping_norm))
            .unwrap_or(1.0),
    });
    let rounds = rounds_after(&config, newest.round, ledger.as_ref());
    let evaluated = history.iter().rev().find_map(|record| {
        let quality = record.quality?;
        Some(Evaluation { round: record.round, accuracy: quality.accuracy, loss: quality.loss })
    });
    tracing::info!(task = %config.id, round = newest.round, model = %newest.sha256, "task ready");
    let task_metrics = metrics.task(&config.id);
    task_metrics.resumed(newest.round);
    if let Some(spent) = spent {
        task_metrics.privacy_epsilon.set(spent.epsilon);
    }
    let (view, receiver) = watch::channel(Arc::new(TaskView {
        progress: rounds.progress(),
        deadline: None,
        model: model_ref(newest),
        evaluation: evaluated,
        privacy: spent,
        history: Arc::new(history),
    }));
    let (commands, inbox) = mpsc::channel(capacity);
    let task = Task {
        config,
        commands,
        view: receiver,
        traffic: Traffic::default(),
        metrics: task_metrics,
    };
    let (task, parameters) = (Arc::new(task), Arc::new(parameters));
    Ok(Revived { task, parameters, file: checkpoint.model, inbox, view, ledger })
}

/// The machine of a task with so many completed rounds.
fn rounds_after(config: &TaskConfig, completed: u64, ledger: Option<&Ledger>) -> Rounds {
    let (attempt, budget) = ledger
        .map_or((0, Budget::Left), |ledger| (ledger.next_attempt(completed + 1), ledger.budget()));
    Rounds::new(config.plan.clone(), completed, attempt, budget)
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
fn evaluate_pending(
    store: &dyn Store,
    evaluator: &Evaluator,
    task: &Arc<Task>,
) -> Result<(), ServeError> {
    if !evaluator.covers(&task.config.id) {
        return Ok(());
    }
    let history = Arc::clone(&task.view.borrow().history);
    for record in history.iter().filter(|record| record.quality.is_none()) {
        let Some(file) = store.model(&task.config.id, &record.sha256)? else { continue };
        let parameters = safetensors::read(&task.config.model, &file)
            .map_err(|source| ServeError::Model { task: task.config.id.clone(), source })?;
        submit(evaluator, task, record.round, Arc::new(parameters));
    }
    Ok(())
}
