//! Start of a task: from what the store has of it, or as a new one.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use fedra_learning::init_parameters;
use fedra_learning::safetensors;
use fedra_protocol::TaskId;
use fedra_protocol::limits::MAX_UPDATE_BYTES;
use thiserror::Error;

use super::core::{Parts, TaskCore};
use super::ledger::Ledger;
use crate::round::{Budget, Rounds, Standing, Time};
use crate::settings::TaskSettings;
use crate::status::{Counters, HISTORY, Spent, TaskMetrics, model_ref};
use crate::storage::{Checkpoint, CheckpointFiles, Lease, RoundRecord, Storage, StoreError};
use crate::writer::{CheckpointError, Position, SumError, Writer, round_bounds};

/// Reason why a task cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored model cannot be read.
    #[error("task {task}: the stored model is damaged: {source}")]
    Model {
        /// The task.
        task: TaskId,
        /// The damage.
        source: CheckpointError,
    },
    /// The task's settings do not make a round.
    #[error("task {task}: {source}")]
    Round {
        /// The task.
        task: TaskId,
        /// The reason.
        source: SumError,
    },
    /// An update is longer than any that the protocol takes.
    #[error(
        "task {task}: an update has up to {bytes} bytes, the protocol takes {MAX_UPDATE_BYTES}"
    )]
    UpdateTooLong {
        /// The task.
        task: TaskId,
        /// Bytes of an update at most.
        bytes: u64,
    },
    /// The sum of a round takes more memory than it may.
    #[error(
        "task {task}: the sum of a round takes up to {needed} bytes of memory, more than \
         server.round_memory ({limit} bytes); raise that, or use a smaller model"
    )]
    RoundTooLarge {
        /// The task.
        task: TaskId,
        /// Bytes that a round takes at most.
        needed: u64,
        /// Bytes that it may take.
        limit: u64,
    },
}

/// Task that is ready to run.
pub struct Started {
    /// The core.
    pub core: TaskCore,
    /// The writer.
    pub writer: Writer,
    /// File of the newest model.
    pub model: Bytes,
    /// The right to write the task, which the writer has too.
    pub lease: Lease,
}

/// Starts a task from the store, or makes it there. From then on no other server writes it:
/// the caller is its leader. Blocking. `secret` is kept in the
/// store if the task needs one and has none.
///
/// # Errors
///
/// [`StartError`] if the task's rounds cannot be made within their bounds, or the store or
/// the newest model cannot be used.
pub fn start(
    settings: &Arc<TaskSettings>,
    storage: &Storage,
    metrics: Arc<dyn TaskMetrics>,
    counters: Arc<Counters>,
    secret: [u8; 32],
) -> Result<Started, StartError> {
    let id = &settings.id;
    check_bounds(settings)?;
    let lease = Lease::take(storage, id)?;
    let checkpoint = match lease.load(&settings.definition(), HISTORY)? {
        Some(checkpoint) => checkpoint,
        None => create(&lease, settings)?,
    };
    let damaged = |source| StartError::Model { task: id.clone(), source };
    let position = Position::of(settings, &checkpoint.files).map_err(damaged)?;
    let ledger = match &settings.privacy {
        Some(privacy) => Some(Ledger::new(privacy, &storage.tasks.debits(id)?)),
        None => None,
    };
    let history = VecDeque::from(checkpoint.history);
    let newest = history.back().expect("a checkpoint has at least one record");
    let standing = storage.tasks.standing(id)?;
    let rounds = rounds_after(settings, newest.round, ledger.as_ref(), standing);
    tracing::info!(task = %id, round = newest.round, model = %newest.sha256, "task ready");
    metrics.newest(newest.round);
    metrics.standing(standing);
    let spent = ledger.as_ref().map(|ledger| spent(settings, ledger, newest.clipping_norm));
    if let Some(spent) = spent {
        metrics.spent(spent.epsilon);
    }
    let model = model_ref(newest);
    let writer = Writer::new(Arc::clone(settings), lease.clone(), position, secret)?;
    let settings = Arc::clone(settings);
    let parts = Parts { settings, metrics, counters, rounds, ledger, history, model, spent };
    let core = TaskCore::new(parts, Time::default());
    Ok(Started { core, writer, model: checkpoint.files.model, lease })
}

/// Asks codec and accumulator for their bounds.
fn check_bounds(settings: &TaskSettings) -> Result<(), StartError> {
    let task = || settings.id.clone();
    let round = round_bounds(settings);
    let needed = round.map_err(|source| StartError::Round { task: task(), source })?.memory;
    let (bytes, limit) = (settings.codec.bounds().bytes.most(), settings.round_memory);
    if bytes > MAX_UPDATE_BYTES {
        return Err(StartError::UpdateTooLong { task: task(), bytes });
    }
    if needed > limit {
        return Err(StartError::RoundTooLarge { task: task(), needed, limit });
    }
    Ok(())
}

fn spent(settings: &TaskSettings, ledger: &Ledger, clipping_norm: Option<f64>) -> Spent {
    Spent {
        epsilon: ledger.spent_epsilon(),
        participations: ledger.most_participations(),
        debits: ledger.debits(),
        subjects: ledger.subjects(),
        clipping_norm: clipping_norm
            .or(settings.policy().map(|policy| policy.clipping_norm))
            .unwrap_or(1.0),
    }
}

/// The machine of a task with this many completed rounds.
fn rounds_after(
    settings: &TaskSettings,
    completed: u64,
    ledger: Option<&Ledger>,
    standing: Standing,
) -> Rounds {
    let (attempt, budget) = ledger
        .map_or((0, Budget::Left), |ledger| (ledger.next_attempt(completed + 1), ledger.budget()));
    Rounds::new(settings.plan.clone(), completed, attempt, budget, standing)
}

/// A new task with its initial model, durable.
fn create(lease: &Lease, settings: &TaskSettings) -> Result<Checkpoint, StartError> {
    let parameters = init_parameters(&settings.model, settings.seed);
    let damaged = |source| StartError::Model {
        task: settings.id.clone(),
        source: CheckpointError::Model(source),
    };
    let model = Bytes::from(safetensors::write(&settings.model, &parameters).map_err(damaged)?);
    let record = RoundRecord::initial(&model, settings.policy().map(|policy| policy.clipping_norm));
    lease.create(&settings.definition(), &record, &model)?;
    Ok(Checkpoint { history: vec![record], files: CheckpointFiles::without_state(model) })
}
