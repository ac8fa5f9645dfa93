//! Start of a task: from what the store has of it, or as a new one.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use fedra_learning::init_parameters;
use fedra_learning::safetensors;
use fedra_protocol::TaskId;
use thiserror::Error;

use super::core::{Parts, TaskCore};
use super::ledger::Ledger;
use crate::round::{Budget, Rounds, Standing, Time};
use crate::settings::TaskSettings;
use crate::status::{Counters, HISTORY, Spent, TaskMetrics, model_ref};
use crate::storage::{Checkpoint, CheckpointFiles, Lease, RoundRecord, Storage, StoreError};
use crate::writer::{CheckpointError, Position, Writer};

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
/// [`StartError`] if the store or the newest model cannot be used.
pub fn start(
    settings: &Arc<TaskSettings>,
    storage: &Storage,
    metrics: Arc<dyn TaskMetrics>,
    counters: Arc<Counters>,
    secret: [u8; 32],
) -> Result<Started, StartError> {
    let id = &settings.id;
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
