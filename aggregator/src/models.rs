//! Global models by hash, as they are served: the newest of each task from
//! memory, older ones from the store as long as it keeps them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use fedra_protocol::{Sha256Hash, TaskId};

use crate::storage::{Store, StoreError};

/// Models of a task that stay in memory: the newest, and the one before it for
/// clients that are still fetching it.
const IN_MEMORY: usize = 2;

/// The models that can be fetched.
pub(crate) struct Models {
    store: Arc<dyn Store>,
    newest: RwLock<HashMap<TaskId, Vec<(Sha256Hash, Bytes)>>>,
}

impl Models {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, newest: RwLock::default() }
    }

    /// Makes a durable model the newest of its task.
    pub(crate) fn publish(&self, task: &TaskId, sha256: Sha256Hash, file: Bytes) {
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        let models = newest.entry(task.clone()).or_default();
        models.insert(0, (sha256, file));
        models.truncate(IN_MEMORY);
    }

    /// A model of the task from memory.
    pub(crate) fn in_memory(&self, task: &TaskId, sha256: &Sha256Hash) -> Option<Bytes> {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        let models = newest.get(task)?;
        models.iter().find(|(hash, _)| hash == sha256).map(|(_, file)| file.clone())
    }

    /// A model of the task from the store. Blocking.
    pub(crate) fn stored(
        &self,
        task: &TaskId,
        sha256: &Sha256Hash,
    ) -> Result<Option<Bytes>, StoreError> {
        self.store.model(task, sha256)
    }
}
