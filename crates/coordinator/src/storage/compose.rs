//! The stores of a server together, and what is read from several of them at once.

use std::sync::Arc;

use bytes::Bytes;
use fedra_protocol::{Sha256Hash, TaskId};

use super::StoreError;
use super::blobs::{BlobError, BlobKey, BlobKind, BlobStore, CheckpointFiles};
use super::records::RoundRecord;
use super::secrets::SecretStore;
use super::tasks::{Keeping, TaskStore};

/// Stores of a server. A clone is the same stores.
#[derive(Clone)]
pub struct Storage {
    /// Records of tasks.
    pub tasks: Arc<dyn TaskStore>,
    /// Files of checkpoints.
    pub blobs: Arc<dyn BlobStore>,
    /// Secrets of tasks.
    pub secrets: Arc<dyn SecretStore>,
}

impl Storage {
    /// The last round of a task.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the task is not there or it cannot be read.
    pub fn last_record(&self, task: &TaskId) -> Result<RoundRecord, StoreError> {
        let last = self.tasks.records(task, 1)?.pop();
        last.ok_or_else(|| StoreError::UnknownTask(task.clone()))
    }

    /// The rounds whose checkpoint is kept, oldest first.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be read.
    pub fn checkpoints(&self, task: &TaskId) -> Result<Vec<u64>, StoreError> {
        let rounds = self.tasks.keeping(task)?.into_iter();
        let kept = rounds.filter(|(_, keeping)| *keeping == Keeping::Kept);
        Ok(kept.map(|(round, _)| round).collect())
    }

    /// A model by its hash, which is checked; `None` if there is none or it is
    /// no longer kept.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it is damaged.
    pub fn model(&self, task: &TaskId, sha256: &Sha256Hash) -> Result<Option<Bytes>, StoreError> {
        for round in self.checkpoints(task)?.into_iter().rev() {
            if self.tasks.record(task, round)?.is_some_and(|record| record.sha256 == *sha256) {
                let key = BlobKey { round, kind: BlobKind::Model, sha256: *sha256 };
                return self.kept_files(task, round, &[key]).map(|files| files?.pop());
            }
        }
        Ok(None)
    }

    /// A step by its hash, which is checked; `None` if there is none, it is damaged or it is
    /// no longer kept. The model that it leads to is whole all the same.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read.
    pub fn step(&self, task: &TaskId, sha256: &Sha256Hash) -> Result<Option<Bytes>, StoreError> {
        for round in self.checkpoints(task)?.into_iter().rev() {
            let record = self.tasks.record(task, round)?;
            let key = record.as_ref().and_then(RoundRecord::step_blob);
            let Some(key) = key.filter(|key| key.sha256 == *sha256) else { continue };
            return match self.blobs.get(task, &key) {
                Ok(file) => Ok(Some(file)),
                Err(BlobError::Store(error)) => Err(error),
                Err(BlobError::Damaged(problem)) => {
                    tracing::warn!(%task, round, problem, "a step cannot be sent; the model can");
                    Ok(None)
                }
            };
        }
        Ok(None)
    }

    /// The file of the frozen tensors of a task, which stays as long as the task, and its
    /// hash, which is checked; `None` if no layer is frozen.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it is damaged.
    pub fn frozen(&self, task: &TaskId) -> Result<Option<(Sha256Hash, Bytes)>, StoreError> {
        let initial = self.tasks.record(task, 0)?;
        let Some(sha256) = initial.and_then(|record| record.frozen) else { return Ok(None) };
        let key = BlobKey { round: 0, kind: BlobKind::Frozen, sha256 };
        match self.blobs.get(task, &key) {
            Ok(file) => Ok(Some((sha256, file))),
            Err(BlobError::Store(error)) => Err(error),
            Err(BlobError::Damaged(problem)) => {
                Err(StoreError::Frozen { task: task.clone(), problem })
            }
        }
    }

    /// The record and the files of a round whose checkpoint is kept; hashes are
    /// checked.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it is not kept, or is damaged.
    pub fn checkpoint(
        &self,
        task: &TaskId,
        round: u64,
    ) -> Result<(RoundRecord, CheckpointFiles), StoreError> {
        self.last_record(task)?;
        if self.checkpoints(task)?.contains(&round)
            && let Some(record) = self.tasks.record(task, round)?
            && let Some(files) = self.kept_files(task, round, &record.blobs())?
            && let Some(files) = CheckpointFiles::of(&record, files)
        {
            return Ok((record, files));
        }
        let kept = self.checkpoints(task)?;
        Err(StoreError::NotKept { task: task.clone(), round, kept })
    }

    /// Files of a round that is kept; `None` if it is not any more.
    fn kept_files(
        &self,
        task: &TaskId,
        round: u64,
        keys: &[BlobKey],
    ) -> Result<Option<Vec<Bytes>>, StoreError> {
        match keys.iter().map(|key| self.blobs.get(task, key)).collect() {
            Ok(files) => Ok(Some(files)),
            Err(BlobError::Store(error)) => Err(error),
            // It may have been removed since.
            Err(_) if !self.checkpoints(task)?.contains(&round) => Ok(None),
            Err(BlobError::Damaged(problem)) => {
                Err(StoreError::Model { task: task.clone(), round, problem })
            }
        }
    }
}
