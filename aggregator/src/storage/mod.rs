//! What survives the process: tasks, their completed rounds, their models.
//!
//! A [`Store`] is blocking; call it from a thread that may wait for a disk. When
//! a call returns, what it was given is durable. It knows nothing of clients or
//! of rounds in the making.

#[cfg(test)]
mod contract;
mod memory;
mod redb;

use bytes::Bytes;
use fedra_protocol::{ModelSpec, PrivacyPolicy, Sha256Hash, SubjectId, TaskId};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use thiserror::Error;

pub use self::memory::MemoryStore;
pub use self::redb::RedbStore;

/// A completed round and the model it made. Round 0 stands for the initial model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundRecord {
    /// Completed rounds behind the model.
    pub round: u64,
    /// Attempts that were abandoned before.
    pub attempt: u32,
    /// Hash of the model's file.
    pub sha256: Sha256Hash,
    /// Size of the model's file.
    pub model_bytes: u64,
    /// Clients that were invited.
    pub cohort: u32,
    /// Updates that are in the average.
    pub reports: u32,
    /// Total weight of these updates.
    pub weight: u64,
    /// From the invitation to the last report.
    pub seconds: f64,
    /// Received from clients since the round before.
    pub bytes_up: u64,
    /// Sent to clients since the round before, models included.
    pub bytes_down: u64,
    /// What the model is worth, once that is known.
    pub quality: Option<Quality>,
    /// Under a privacy policy: the clipping norm of the round after this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clipping_norm: Option<f64>,
}

/// A task as it was made. It cannot become another one under the same name.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// The model.
    pub model: ModelSpec,
    /// The privacy policy, if there is one.
    pub privacy: Option<PrivacyPolicy>,
}

impl Definition {
    /// Whether a task that was made as this may go on as `other`.
    fn must_be(&self, other: &Self, task: &TaskId) -> Result<(), StoreError> {
        if self.model != other.model {
            return Err(StoreError::ModelChanged(task.clone()));
        }
        if self.privacy != other.privacy {
            return Err(StoreError::PrivacyChanged(task.clone()));
        }
        Ok(())
    }
}

/// An entry of the privacy ledger: made durable before the release that it
/// pays for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Debit {
    /// The round.
    pub round: u64,
    /// Its attempt. Each attempt that gets so far is debited.
    pub attempt: u32,
    /// When, seconds since 1970.
    pub unix_seconds: u64,
    /// What it costs each of the subjects, zero-concentrated. (With tree
    /// aggregation: if it is the only one. The policy says what several cost.)
    pub rho: f64,
    /// Who was asked for a contribution.
    pub subjects: Vec<SubjectId>,
}

/// Held-out evaluation of a model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Share classified right, 0 to 1; absent for a regression.
    pub accuracy: Option<f64>,
    /// Mean loss.
    pub loss: f64,
}

/// Where a task goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The last completed rounds that were asked for, oldest first. At least one.
    pub history: Vec<RoundRecord>,
    /// The model file of the last of them; its hash was checked.
    pub model: Bytes,
}

/// What went wrong in a store.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process has the store.
    #[error("the store {0} is in use by another process")]
    InUse(PathBuf),
    /// The database cannot be read.
    #[error("the store's database {path} is damaged or not Fedra's: {problem}")]
    Database {
        /// The database file.
        path: PathBuf,
        /// In the database's words.
        problem: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A model's file is gone or not what was written.
    #[error("task {task}: the model of round {round} is damaged: {problem}")]
    Model {
        /// The task.
        task: TaskId,
        /// The model's round.
        round: u64,
        /// What is wrong with it, and where.
        problem: String,
    },
    /// The task was made with another model.
    #[error(
        "task {0}: the store has this task with another model; \
         give the task another id, or the server another store"
    )]
    ModelChanged(TaskId),
    /// The task was made with another privacy policy.
    #[error(
        "task {0}: the store has this task with another privacy policy, and a promise that was \
         made is kept; give the task another id, or the server another store"
    )]
    PrivacyChanged(TaskId),
    /// The task is not in the store.
    #[error("task {0} is not in the store")]
    UnknownTask(TaskId),
    /// A round that does not follow the last one.
    #[error("task {task}: round {round} does not follow round {last}")]
    OutOfOrder {
        /// The task.
        task: TaskId,
        /// The round that was to be added.
        round: u64,
        /// The last round in the store.
        last: u64,
    },
}

/// Durable state of all tasks.
pub trait Store: Send + Sync + 'static {
    /// Adds a task with its initial model. `record.round` is 0.
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

    /// Where the task goes on, with at most `rounds` (at least 1) of its last
    /// records; `None` if the task is new.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it was made with another definition, or is damaged.
    fn load(
        &self,
        task: &TaskId,
        definition: &Definition,
        rounds: usize,
    ) -> Result<Option<Checkpoint>, StoreError>;

    /// Adds a completed round with its model.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the round does not follow the last one or cannot be
    /// written; then the store is as it was.
    fn commit(&self, task: &TaskId, record: &RoundRecord, model: &Bytes) -> Result<(), StoreError>;

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
}
