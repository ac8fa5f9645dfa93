//! Check and repair of a whole store, for operators. A repair never changes a record: it
//! adds a roll-back.

use std::fmt;

use fedra_coordinator::round::Standing;
use fedra_coordinator::storage::{
    BlobError, BlobKey, CheckpointCheck, Inspection, Lease, RoundRecord, refused_rounds, rounds,
};
use fedra_protocol::TaskId;

use super::{Storage, StoreError};

/// Result of the check of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskCheck {
    /// The task.
    pub task: TaskId,
    /// Completed rounds.
    pub round: u64,
    /// Its standing, as set by operators.
    pub standing: Standing,
    /// The models that should be there, oldest first.
    pub models: Vec<CheckpointCheck>,
    /// Steps between models that are damaged, oldest first. The models are whole without them.
    pub steps: Vec<DamagedStep>,
    /// Damage of the frozen part, without which no model can be used, and its remedy.
    pub frozen: Option<String>,
    /// Files that a crash has left, which the next start removes.
    pub leftovers: usize,
    /// Entries of the privacy ledger.
    pub debits: usize,
    /// Decisions of operators.
    pub decisions: usize,
}

impl TaskCheck {
    /// True if every file is as it was written.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        let mut models = self.models.iter();
        self.frozen.is_none()
            && self.steps.is_empty()
            && models.all(|model| model.problem.is_none())
    }
}

/// A step to a round's model whose file is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedStep {
    /// The round.
    pub round: u64,
    /// The damage, with the file's place.
    pub problem: String,
}

impl fmt::Display for TaskCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let intact = self.models.iter().filter(|model| model.problem.is_none());
        let intact: Vec<u64> = intact.map(|model| model.round).collect();
        let Self { task, round, standing, debits, decisions, .. } = self;
        write!(
            f,
            "task {task}: {round} completed, {standing}; intact are the models of {}; \
             privacy debits {debits}, operators' decisions {decisions}",
            rounds(&intact)
        )?;
        for model in &self.models {
            let Some(problem) = &model.problem else { continue };
            write!(f, "\n  damaged: the model of round {}: {problem}", model.round)?;
        }
        for DamagedStep { round, problem } in &self.steps {
            write!(f, "\n  damaged: the step to the model of round {round}: {problem}")?;
        }
        if let Some(frozen) = &self.frozen {
            write!(f, "\n  {frozen}")?;
        }
        if self.leftovers > 0 {
            write!(
                f,
                "\n  left by a crash, harmless, removed at the next start: {}",
                self.leftovers
            )?;
        }
        Ok(())
    }
}

/// Result of a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// An older model was damaged or gone; it is not kept any more.
    SetAside(TaskId, CheckpointCheck),
    /// The newest model was; the task goes on from an earlier one.
    WentBack {
        /// The task.
        task: TaskId,
        /// The newest model as it was.
        damaged: CheckpointCheck,
        /// The round whose model is the newest again.
        to: u64,
        /// The round that was added for that.
        round: u64,
    },
    /// The newest model was, and no other is intact: nothing was done.
    Lost(TaskId, CheckpointCheck),
    /// The frozen part was, with its remedy: nothing was done.
    LostFrozen(String),
    /// A step to a model was; it was removed, and clients fetch the model.
    RemovedStep(TaskId, DamagedStep),
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = |check: &CheckpointCheck| {
            let problem = check.problem.as_deref().unwrap_or("it is intact");
            format!("the model of round {} is damaged ({problem})", check.round)
        };
        match self {
            Self::SetAside(task, check) => {
                write!(f, "task {task}: {}; it is not kept any more", what(check))
            }
            Self::WentBack { task, damaged, to, round } => write!(
                f,
                "task {task}: {}, and it was the newest; the task goes on with that of round {to}, \
                 as round {round}",
                what(damaged)
            ),
            Self::Lost(task, check) => write!(
                f,
                "task {task}: {}, and no other is intact; put it back from a backup, or give the \
                 task another id",
                what(check)
            ),
            Self::LostFrozen(problem) => f.write_str(problem),
            Self::RemovedStep(task, DamagedStep { round, problem }) => write!(
                f,
                "task {task}: the step to the model of round {round} is damaged ({problem}); it \
                 was removed, and clients fetch the model"
            ),
        }
    }
}

/// The error of a damaged frozen part.
fn frozen_damage(storage: &Storage, task: &TaskId) -> Result<Option<String>, StoreError> {
    match storage.frozen(task) {
        Ok(_) => Ok(None),
        Err(damage @ StoreError::Frozen { .. }) => Ok(Some(damage.to_string())),
        Err(other) => Err(other),
    }
}

/// Damaged steps of the models that are kept, oldest first. One that is gone is no damage.
fn damaged_steps(
    storage: &Storage,
    task: &TaskId,
) -> Result<Vec<(BlobKey, DamagedStep)>, StoreError> {
    let there = storage.blobs.list(task)?.blobs;
    let mut damaged = Vec::new();
    for round in storage.checkpoints(task)? {
        let key = storage.tasks.record(task, round)?.as_ref().and_then(RoundRecord::step_blob);
        let Some(key) = key.filter(|key| there.contains(key)) else { continue };
        match storage.blobs.get(task, &key) {
            Ok(_) => {}
            Err(BlobError::Store(error)) => return Err(error),
            Err(BlobError::Damaged(problem)) => {
                damaged.push((key, DamagedStep { round, problem }));
            }
        }
    }
    Ok(damaged)
}

/// Reads the whole store. Changes nothing.
///
/// # Errors
///
/// [`StoreError`] if it cannot be read.
pub fn check(storage: &Storage) -> Result<Vec<TaskCheck>, StoreError> {
    let check = |task: TaskId| {
        let last = storage.last_record(&task)?;
        check_history(storage, &task)?;
        let inspection = Inspection::of(storage, &task, &last)?;
        Ok(TaskCheck {
            round: last.round,
            standing: storage.tasks.standing(&task)?,
            models: inspection.checks().cloned().collect(),
            steps: damaged_steps(storage, &task)?.into_iter().map(|(_, step)| step).collect(),
            frozen: frozen_damage(storage, &task)?,
            leftovers: inspection.leftovers(),
            debits: storage.tasks.debits(&task)?.len(),
            decisions: storage.tasks.decisions(&task)?.len(),
            task,
        })
    };
    storage.tasks.tasks()?.into_iter().map(check).collect()
}

/// Lets every task go on from its newest intact checkpoint that no gate has refused, and removes
/// damaged steps. History is not rewritten: where the newest is damaged, a roll-back is added.
///
/// # Errors
///
/// [`StoreError`] if the store cannot be read or written.
pub fn repair(storage: &Storage, unix_seconds: u64) -> Result<Vec<Repair>, StoreError> {
    let mut repairs = Vec::new();
    for task in storage.tasks.tasks()? {
        let lease = Lease::take(storage, &task)?;
        if let Some(damage) = frozen_damage(storage, &task)? {
            repairs.push(Repair::LostFrozen(damage));
            continue;
        }
        for (key, step) in damaged_steps(storage, &task)? {
            storage.blobs.delete(&task, &key)?;
            repairs.push(Repair::RemovedStep(task.clone(), step));
        }
        let inspection = Inspection::of(storage, &task, &storage.last_record(&task)?)?;
        let newest = inspection.newest().clone();
        // A gate has refused a model for good, unless the operator names it.
        let refused = refused_rounds(&storage.tasks.records(&task, usize::MAX)?);
        let to = inspection.intact().rfind(|round| !refused.contains(round));
        let settled = lease.settle(inspection)?;
        repairs.extend(settled.into_iter().map(|check| Repair::SetAside(task.clone(), check)));
        match to {
            _ if newest.problem.is_none() => {}
            None => repairs.push(Repair::Lost(task, newest)),
            Some(to) => {
                let (record, _) = lease.roll_back(to, unix_seconds)?;
                // It is an older one now.
                lease.settle(Inspection::of(storage, &task, &record)?)?;
                let round = record.round;
                repairs.push(Repair::WentBack { task, damaged: newest, to, round });
            }
        }
    }
    Ok(repairs)
}

/// That a task has every round up to its last.
fn check_history(storage: &Storage, task: &TaskId) -> Result<(), StoreError> {
    let records = storage.tasks.records(task, usize::MAX)?;
    match records.iter().zip(0..).find(|(record, round)| record.round != *round) {
        None => Ok(()),
        Some(_) => Err(StoreError::Incomplete { task: task.clone(), lacks: "one of its rounds" }),
    }
}
