//! Global models by hash, as they are served: the newest of each task from
//! memory, older ones from the store as long as it keeps them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use bytes::Bytes;
use fedra_protocol::{Sha256Hash, TaskId};

use fedra_coordinator::storage::{Storage, StoreError};

/// Models of a task that stay in memory: the newest, and the one before it for
/// clients that are still fetching it.
const IN_MEMORY: usize = 2;

/// The models that can be fetched.
pub(crate) struct Models {
    store: Storage,
    newest: RwLock<HashMap<TaskId, Vec<(Sha256Hash, Bytes)>>>,
    /// Older models that are being sent. Each is in memory once, for all its
    /// downloads.
    shared: Mutex<HashMap<Sha256Hash, Weak<Bytes>>>,
}

/// A file that others are sent too.
struct Shared(Arc<Bytes>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Models {
    pub(crate) fn new(store: Storage) -> Self {
        Self { store, newest: RwLock::default(), shared: Mutex::default() }
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
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = shared.get(sha256).and_then(Weak::upgrade) {
            return Ok(Some(Bytes::from_owner(Shared(file))));
        }
        let Some(file) = self.store.model(task, sha256)? else { return Ok(None) };
        let file = Arc::new(file);
        shared.retain(|_, file| file.strong_count() > 0);
        shared.insert(*sha256, Arc::downgrade(&file));
        Ok(Some(Bytes::from_owner(Shared(file))))
    }
}
