//! Records of tasks: definitions, rounds, the privacy ledger, decisions of operators.
//!
//! Each write of a task carries the epoch of the task's leader. A store refuses the write
//! of a leader that another has replaced, in the same transaction: two servers cannot both
//! write a task, whatever each believes.

use std::fmt;

use fedra_protocol::{Quality, TaskId};

use super::StoreError;
use super::records::{self, Debit, Decision, Definition, RoundRecord};
use crate::round::Standing;

/// Number of a task's leader. A later one has a greater number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A task under one leader: what each of its writes carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// The task.
    pub task: TaskId,
    /// Number of the leader.
    pub epoch: Epoch,
}

impl Term {
    /// Checks that a write may be done where this is the leader's number.
    ///
    /// # Errors
    ///
    /// [`StoreError::Fenced`] if the leader is another one.
    pub fn must_lead(&self, leader: Epoch) -> Result<(), StoreError> {
        let (Epoch(epoch), Epoch(leader)) = (self.epoch, leader);
        if epoch == leader {
            return Ok(());
        }
        Err(StoreError::Fenced { task: self.task.clone(), epoch, leader })
    }
}

/// Fate of the files of a round's checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// They should be there.
    Kept,
    /// They should be there, but were damaged or gone. If they are put back they are kept
    /// again.
    SetAside,
    /// They are not needed any more.
    Dropped,
}

/// Durable records of all tasks. Every write is one transaction: when it returns it is
/// durable, and after a crash in the middle of one the store is as before it or after it.
pub trait TaskStore: Send + Sync + 'static {
    /// Makes the caller the leader of a task, which need not be there yet. The leaders
    /// before it write no more.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be written.
    fn lead(&self, task: &TaskId) -> Result<Term, StoreError>;

    /// Adds a task with the record of its initial model, which is kept.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it is there already, the leader is replaced, or it cannot be
    /// written.
    fn create(
        &self,
        term: &Term,
        definition: &Definition,
        record: &RoundRecord,
    ) -> Result<(), StoreError>;

    /// Adds the record of a round, whose checkpoint is kept, with the decision that it
    /// comes from.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the round does not follow the last one, the leader is replaced, or
    /// it cannot be written; then the store is as it was. If it is the database that could
    /// not write, nothing else can be written either until the store is opened again, and
    /// it may turn out then that the round was added after all.
    fn append(
        &self,
        term: &Term,
        record: &RoundRecord,
        decision: Option<&Decision>,
    ) -> Result<(), StoreError>;

    /// Notes what becomes of the checkpoints of rounds, of none to only learn whether the
    /// leader is replaced.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if there is no such round, the leader is replaced, or it cannot be
    /// written.
    fn keep(&self, term: &Term, notes: &[(u64, Keeping)]) -> Result<(), StoreError>;

    /// Notes what a round's model is worth.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if there is no such round, the leader is replaced, or it cannot be
    /// written.
    fn set_quality(&self, term: &Term, round: u64, quality: Quality) -> Result<(), StoreError>;

    /// Adds an entry to the task's privacy ledger.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the leader is replaced or it cannot be written; then nothing may be
    /// released.
    fn debit(&self, term: &Term, debit: &Debit) -> Result<(), StoreError>;

    /// Adds to what operators decided about the task.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if there is no such task, the leader is replaced, or it cannot be
    /// written.
    fn decide(&self, term: &Term, decision: &Decision) -> Result<(), StoreError>;

    /// Adds a task that an operator has made while the server runs: `toml` is its section of
    /// a config. It has no leader yet: of two that add the same name one is refused.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store has had a task of this name, or it cannot be written.
    fn add_task(&self, task: &TaskId, toml: &str, unix_seconds: u64) -> Result<(), StoreError>;

    /// The tasks that have a model, by name.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be read.
    fn tasks(&self) -> Result<Vec<TaskId>, StoreError>;

    /// The tasks that operators have added, by name, with their section of a config.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be read.
    fn added_tasks(&self) -> Result<Vec<(TaskId, String)>, StoreError>;

    /// The task as it was made; `None` if it has no model yet.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be read.
    fn definition(&self, task: &TaskId) -> Result<Option<Definition>, StoreError>;

    /// The last `count` rounds of a task, oldest first.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be read.
    fn records(&self, task: &TaskId, count: usize) -> Result<Vec<RoundRecord>, StoreError>;

    /// A round of a task.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be read.
    fn record(&self, task: &TaskId, round: u64) -> Result<Option<RoundRecord>, StoreError>;

    /// The rounds whose checkpoint should be there, oldest first: kept or set aside.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be read.
    fn keeping(&self, task: &TaskId) -> Result<Vec<(u64, Keeping)>, StoreError>;

    /// The task's privacy ledger, oldest entry first.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be read.
    fn debits(&self, task: &TaskId) -> Result<Vec<Debit>, StoreError>;

    /// Decisions of operators about the task, oldest first.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be read.
    fn decisions(&self, task: &TaskId) -> Result<Vec<Decision>, StoreError>;

    /// Standing of the task after these decisions.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be read.
    fn standing(&self, task: &TaskId) -> Result<Standing, StoreError> {
        Ok(records::standing_after(&self.decisions(task)?))
    }
}
