//! Start of a task: from what the store has of it, or as a new one.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use fedra_learning::{Weights, init_parameters, init_weights, safetensors};
use fedra_protocol::limits::{MAX_MODEL_HEAD_BYTES, MAX_MODEL_STEPS, MAX_UPDATE_BYTES};
use fedra_protocol::{DrawnModel, ModelRef, RoundId, Sha256Hash, TaskId};
use thiserror::Error;

use super::core::{Parts, TaskCore};
use super::ledger::Ledger;
use crate::round::{Budget, RoundCounts, Rounds, Standing, Time};
use crate::settings::TaskSettings;
use crate::status::{Counters, HISTORY, Spent, TaskMetrics, model_ref};
use crate::storage::{Checkpoint, CheckpointFiles, Lease, RoundRecord, Storage, StoreError};
use crate::writer::{CheckpointError, GlobalModel, Position, SumError, Writer, round_bounds};

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
    /// The file that a new task begins with cannot be used.
    #[error("task {task}: its initial file: {problem}")]
    Initial {
        /// The task.
        task: TaskId,
        /// The file, and the problem with it.
        problem: String,
    },
    /// The task was made with another file.
    #[error(
        "task {0}: the store has this task with another frozen part than that of its initial \
         file; take the earlier file or leave the key out, or give the task another id"
    )]
    FrozenChanged(TaskId),
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
    /// A round takes more memory than it may.
    #[error(
        "task {task}: the sum of a round, or what its estimator holds, takes up to {needed} bytes \
         of memory, more than server.round_memory ({limit} bytes); raise that, or use a smaller \
         model"
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

/// Reads the file that a new task begins with. The error is a sentence about it.
pub type ReadInitial<'a> = &'a dyn Fn() -> Result<Weights, String>;

/// Task that is ready to run.
pub struct Started {
    /// The settings, with the file of the frozen tensors.
    pub settings: Arc<TaskSettings>,
    /// The core.
    pub core: TaskCore,
    /// The writer.
    pub writer: Writer,
    /// File of the newest model that is announced.
    pub model: Bytes,
    /// File of the frozen tensors, if there are some.
    pub frozen: Option<Bytes>,
    /// File of the server's control variate beside the model, if there is one.
    pub control: Option<Bytes>,
    /// The right to write the task, which the writer has too.
    pub lease: Lease,
}

/// Starts a task from the store, or makes it there. From then on no other server writes it:
/// the caller is its leader. Blocking. `secret` is kept in the
/// store if the task needs one and has none. A new task begins with what `initial` reads, or
/// at random. Of a task that is there, the frozen part alone is compared with that file, if
/// it can still be read.
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
    initial: Option<ReadInitial<'_>>,
) -> Result<Started, StartError> {
    let id = &settings.id;
    check_bounds(settings)?;
    let lease = Lease::take(storage, id)?;
    let stored = storage.tasks.definition(id)?;
    let granting = stored.and_then(|stored| settings.granting_as(&stored)).map(Arc::new);
    let settings = granting.as_ref().unwrap_or(settings);
    let mut checkpoint = match lease.load(&settings.definition(), HISTORY)? {
        Some(checkpoint) => {
            check_initial(settings, storage, initial)?;
            checkpoint
        }
        None => create(&lease, settings, initial)?,
    };
    let damaged = |source| StartError::Model { task: id.clone(), source };
    let frozen = storage.frozen(id)?;
    let settings = match &frozen {
        Some((sha256, file)) => {
            let values = safetensors::read_frozen(&settings.model, file);
            values.map_err(|error| damaged(error.into()))?;
            let frozen = Some(frozen_ref(*sha256, file));
            &Arc::new(TaskSettings { frozen, ..TaskSettings::clone(settings) })
        }
        None => settings,
    };
    let position = Position::of(settings, &checkpoint.files).map_err(damaged)?;
    let unjudged = before_gate(settings, storage, &mut checkpoint)?;
    let ledger = match &settings.privacy {
        Some(privacy) => Some(Ledger::new(privacy, &storage.tasks.debits(id)?)),
        None => None,
    };
    let history = VecDeque::from(checkpoint.history);
    let newest = history.back().expect("a checkpoint has at least one record");
    let standing = storage.tasks.standing(id)?;
    let rounds = match &unjudged {
        None => rounds_after(settings, newest.round, ledger.as_ref(), standing),
        Some((record, _)) => rounds_storing(settings, record, ledger.as_ref(), standing),
    };
    tracing::info!(task = %id, round = newest.round, model = %newest.sha256, "task ready");
    metrics.newest(newest.round);
    metrics.standing(standing);
    let spent = ledger.as_ref().map(|ledger| spent(settings, ledger, newest.clipping_norm));
    if let Some(spent) = spent {
        metrics.spent(spent.epsilon);
    }
    let model = model_ref(newest);
    let drawn = drawn_model(settings, newest.round)?;
    let parameters = Arc::clone(&position.parameters);
    let writer = Writer::new(Arc::clone(settings), lease.clone(), position, secret)?;
    let CheckpointFiles { model: file, control, .. } = checkpoint.files;
    let control = control.map(|control| control.file);
    let (file, control, ready) = match unjudged {
        None => (file, control, None),
        // No client is invited before the gate's verdict.
        Some((record, earlier)) => {
            (earlier, None, Some(GlobalModel { record, file, step: None, parameters, control }))
        }
    };
    let own = Arc::clone(settings);
    let parts = Parts {
        settings: own,
        metrics,
        counters,
        rounds,
        ledger,
        history,
        model,
        drawn,
        ready,
        spent,
    };
    let core = TaskCore::new(parts, Time::default());
    let (settings, frozen) = (Arc::clone(settings), frozen.map(|(_, file)| file));
    Ok(Started { settings, core, writer, model: file, frozen, control, lease })
}

/// Takes the newest round out of the history if the task's gate has it still to judge, or has
/// refused it and a stop came before the roll-back. Its record, and the file of the model
/// before it.
fn before_gate(
    settings: &TaskSettings,
    storage: &Storage,
    checkpoint: &mut Checkpoint,
) -> Result<Option<(RoundRecord, Bytes)>, StoreError> {
    let history = &mut checkpoint.history;
    let Some((newest, before)) = history.split_last() else { return Ok(None) };
    let Some(earlier) = before.last() else { return Ok(None) };
    let Some(gate) = settings.gate.filter(|gate| gate.judges(newest)) else { return Ok(None) };
    if gate.loss(newest).is_some() && gate.refusal(newest, before.iter()).is_none() {
        return Ok(None);
    }
    // Without a gate the model before may not have been kept.
    let file = storage.model(&settings.id, &earlier.sha256)?;
    Ok(file.and_then(|file| Some((history.pop()?, file))))
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

/// The machine of a task whose newest round, that of this record, is not announced.
fn rounds_storing(
    settings: &TaskSettings,
    record: &RoundRecord,
    ledger: Option<&Ledger>,
    standing: Standing,
) -> Rounds {
    let budget = ledger.map_or(Budget::Left, Ledger::budget);
    let round = RoundId { round: record.round, attempt: record.attempt };
    let RoundRecord { cohort, reports, weight, .. } = *record;
    let counts = RoundCounts { cohort: cohort as usize, reported: reports as usize, weight };
    Rounds::storing(settings.plan.clone(), round, counts, budget, standing)
}

/// Reference to the file of frozen tensors, as clients are told of it.
fn frozen_ref(sha256: Sha256Hash, file: &Bytes) -> ModelRef {
    ModelRef { round: 0, sha256, url: format!("models/{sha256}"), bytes: file.len() as u64 }
}

/// Compares the initial file of a task that is in the store with its frozen part.
fn check_initial(
    settings: &TaskSettings,
    storage: &Storage,
    initial: Option<ReadInitial<'_>>,
) -> Result<(), StartError> {
    let id = &settings.id;
    let Some(read) = initial else { return Ok(()) };
    let Some((sha256, _)) = storage.frozen(id)? else {
        tracing::info!(task = %id, "the task is in the store: its initial file is not read again");
        return Ok(());
    };
    match read() {
        Ok(weights) if Sha256Hash::of(&frozen_file(settings, &weights)?) == sha256 => Ok(()),
        Ok(_) => Err(StartError::FrozenChanged(id.clone())),
        Err(problem) => {
            tracing::info!(
                task = %id, problem,
                "the task is in the store: it goes on without its initial file"
            );
            Ok(())
        }
    }
}

fn frozen_file(settings: &TaskSettings, weights: &Weights) -> Result<Bytes, StartError> {
    let file = safetensors::write_frozen(&settings.model, &weights.frozen);
    let damaged = |source| StartError::Model {
        task: settings.id.clone(),
        source: CheckpointError::Model(source),
    };
    Ok(file.map_err(damaged)?.into())
}

/// The initial model for clients that have none, as long as the steps to the newest one may begin
/// there.
fn drawn_model(
    settings: &TaskSettings,
    newest: u64,
) -> Result<Option<Box<DrawnModel>>, StartError> {
    if settings.model_codec.is_none() || newest > MAX_MODEL_STEPS as u64 {
        return Ok(None);
    }
    let (spec, seed) = (&settings.model, settings.seed);
    let file = safetensors::write(spec, &init_parameters(spec, seed));
    let damaged = |source| StartError::Model {
        task: settings.id.clone(),
        source: CheckpointError::Model(source),
    };
    let file = file.map_err(damaged)?;
    let head = Bytes::copy_from_slice(safetensors::head(spec, &file));
    let is_short = head.len() <= MAX_MODEL_HEAD_BYTES;
    Ok(is_short.then(|| Box::new(DrawnModel { sha256: Sha256Hash::of(&file), seed, head })))
}

/// A new task with its initial model, durable.
fn create(
    lease: &Lease,
    settings: &TaskSettings,
    initial: Option<ReadInitial<'_>>,
) -> Result<Checkpoint, StartError> {
    let task = || settings.id.clone();
    let weights = match initial {
        Some(read) => read().map_err(|problem| StartError::Initial { task: task(), problem })?,
        None => init_weights(&settings.model, settings.seed),
    };
    let model = safetensors::write(&settings.model, &weights.trained);
    let damaged =
        |source| StartError::Model { task: task(), source: CheckpointError::Model(source) };
    let mut files = CheckpointFiles::of_model(model.map_err(damaged)?.into());
    if !settings.model.frozen_layers().is_empty() {
        files.frozen = Some(frozen_file(settings, &weights)?);
    }
    let record = RoundRecord::initial(&files, settings.policy().map(|policy| policy.clipping_norm));
    lease.create(&settings.definition(), &record, &files)?;
    Ok(Checkpoint { history: vec![record], files })
}
