//! State that survives the process: tasks, their completed rounds, their models, the
//! debits of their privacy budgets, and the decisions of operators.
//!
//! A [`Store`] is blocking; call it from a thread that may wait for a disk. When
//! a call returns, what it was given is durable; after a crash in the middle of
//! one, the store is as before it or as after it. It reads no clock, and knows
//! nothing of clients or of rounds in the making.

mod blobs;
mod error;
mod memory;
mod records;
mod retention;

use bytes::Bytes;
use fedra_protocol::{Sha256Hash, TaskId};

use crate::round::Standing;

pub use self::blobs::{BlobKey, BlobKind, CheckpointFiles};
pub use self::error::{StoreError, rounds};
pub use self::memory::MemoryStore;
pub use self::records::{
    Checkpoint, Debit, Decision, Definition, OperatorAction, Quality, RoundRecord,
};
pub use self::retention::Retention;

/// Durable state of all tasks.
pub trait Store: Send + Sync + 'static {
    /// Adds a task with its initial model. `record.round` is 0, and there is no state of the
    /// server optimizer.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it is there already or cannot be written.
    fn create(
        &self,
        task: &TaskId,
        definition: &Definition,
        record: &RoundRecord,
        model: &Bytes,
    ) -> Result<(), StoreError>;

    /// Checkpoint at which the task goes on, with at most `rounds` (at least 1) of its
    /// last records; `None` if the task is new. Every model that is kept is checked: a
    /// damaged one is set aside, with a warning, and is not kept any more.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it was made with another definition, or its newest
    /// model is damaged; then nothing was touched.
    fn load(
        &self,
        task: &TaskId,
        definition: &Definition,
        rounds: usize,
    ) -> Result<Option<Checkpoint>, StoreError>;

    /// Adds a completed round with its model and the state of the server optimizer after it,
    /// whose hashes the record has.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the round does not follow the last one or cannot be
    /// written; then the store is as it was. If it is the database that could
    /// not write, nothing else can be written either until the store is opened
    /// again, and it may turn out then that the round was added after all.
    fn commit(
        &self,
        task: &TaskId,
        record: &RoundRecord,
        files: &CheckpointFiles,
    ) -> Result<(), StoreError>;

    /// Makes the model of round `to` the newest again, and with it the optimizer's state
    /// after that round, as one more round, and notes the operator's decision with it.
    /// Returns the new round's record and files.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if that checkpoint is not kept, is damaged, or cannot be
    /// written; then the store is as it was.
    fn roll_back(
        &self,
        task: &TaskId,
        to: u64,
        unix_seconds: u64,
    ) -> Result<(RoundRecord, CheckpointFiles), StoreError>;

    /// Notes what a round's model is worth.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if there is no such round or it cannot be written.
    fn set_quality(&self, task: &TaskId, round: u64, quality: Quality) -> Result<(), StoreError>;

    /// A model by its hash, which is checked; `None` if there is none or it is
    /// no longer kept.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it is damaged.
    fn model(&self, task: &TaskId, sha256: &Sha256Hash) -> Result<Option<Bytes>, StoreError>;

    /// The record and the files of a round whose checkpoint is kept; hashes are
    /// checked.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it is not kept, or is damaged.
    fn checkpoint(
        &self,
        task: &TaskId,
        round: u64,
    ) -> Result<(RoundRecord, CheckpointFiles), StoreError>;

    /// The rounds whose model is kept, oldest first.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be read.
    fn checkpoints(&self, task: &TaskId) -> Result<Vec<u64>, StoreError>;

    /// Removes the models that need not be kept.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be noted that they are gone. (A file that
    /// cannot be removed is only worth a warning.)
    fn prune(&self, task: &TaskId, keep: &Retention) -> Result<(), StoreError>;

    /// Adds an entry to the task's privacy ledger.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be written; then nothing may be released.
    fn debit(&self, task: &TaskId, debit: &Debit) -> Result<(), StoreError>;

    /// The task's privacy ledger, oldest entry first.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be read.
    fn debits(&self, task: &TaskId) -> Result<Vec<Debit>, StoreError>;

    /// The task's secret, from which noise is derived: `fresh` at the first
    /// call, the same again at every later one.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be read or written.
    fn secret(&self, task: &TaskId, fresh: [u8; 32]) -> Result<[u8; 32], StoreError>;

    /// Adds to what operators decided about the task. (A roll-back is noted by
    /// [`roll_back`](Self::roll_back), a new task by [`add_task`](Self::add_task).)
    ///
    /// # Errors
    ///
    /// [`StoreError`] if there is no such task or it cannot be written.
    fn decide(&self, task: &TaskId, decision: &Decision) -> Result<(), StoreError>;

    /// Decisions of operators about the task, oldest first.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be read.
    fn decisions(&self, task: &TaskId) -> Result<Vec<Decision>, StoreError>;

    /// Standing of the task after these decisions.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be read.
    fn standing(&self, task: &TaskId) -> Result<Standing, StoreError> {
        Ok(records::standing_after(&self.decisions(task)?))
    }

    /// Adds a task that an operator has made while the server runs: `toml` is
    /// its section of a config. Its model comes with [`create`](Self::create).
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store has had a task of this name, or it cannot be
    /// written.
    fn add_task(&self, task: &TaskId, toml: &str, unix_seconds: u64) -> Result<(), StoreError>;

    /// The tasks that were added so, by name, with their section of a config.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be read.
    fn added_tasks(&self) -> Result<Vec<(TaskId, String)>, StoreError>;
}
