//! Global models by hash, as they are served: the newest of each task from
//! memory, older ones from the store as long as it keeps them. ONNX files are made of
//! them when they are asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use bytes::Bytes;
use fedra_learning::safetensors::{self, ModelFileError};
use fedra_onnx::{OnnxError, Origin};
use fedra_protocol::{ModelSpec, Sha256Hash, TaskId};

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
    /// ONNX files that are being sent, by the hash of the model that they are made of.
    converted: Mutex<HashMap<Sha256Hash, Weak<OnnxFile>>>,
}

/// An ONNX file and its hash.
pub(crate) struct OnnxFile {
    pub(crate) bytes: Bytes,
    pub(crate) sha256: Sha256Hash,
}

/// Model that cannot be made an ONNX file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConvertError {
    #[error("the model's file: {0}")]
    Read(#[from] ModelFileError),
    #[error(transparent)]
    Write(#[from] OnnxError),
}

impl OnnxFile {
    /// Makes one of a model's file. Takes time in proportion to the model.
    pub(crate) fn of(spec: &ModelSpec, file: &[u8], origin: &Origin) -> Result<Self, ConvertError> {
        let bytes = fedra_onnx::write(spec, &safetensors::read(spec, file)?, origin)?;
        Ok(Self { sha256: Sha256Hash::of(&bytes), bytes: bytes.into() })
    }

    /// The bytes; the file stays shared as long as they are held.
    pub(crate) fn shared(self: Arc<Self>) -> Bytes {
        Bytes::from_owner(Shared(self))
    }
}

impl AsRef<[u8]> for OnnxFile {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A file that others are sent too.
struct Shared<T>(Arc<T>);

impl<T: AsRef<[u8]>> AsRef<[u8]> for Shared<T> {
    fn as_ref(&self) -> &[u8] {
        T::as_ref(&self.0)
    }
}

impl Models {
    pub(crate) fn new(store: Storage) -> Self {
        Self {
            store,
            newest: RwLock::default(),
            shared: Mutex::default(),
            converted: Mutex::default(),
        }
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

    /// The ONNX file of a model, which is in memory once for all its downloads. Blocking.
    pub(crate) fn onnx(
        &self,
        spec: &ModelSpec,
        sha256: &Sha256Hash,
        file: &[u8],
    ) -> Result<Arc<OnnxFile>, ConvertError> {
        let mut converted = self.converted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = converted.get(sha256).and_then(Weak::upgrade) {
            return Ok(file);
        }
        // Several rounds may have the same model, after a roll-back.
        let origin = Origin { round: None, sha256: Some(*sha256) };
        let file = Arc::new(OnnxFile::of(spec, file, &origin)?);
        converted.retain(|_, file| file.strong_count() > 0);
        converted.insert(*sha256, Arc::downgrade(&file));
        Ok(file)
    }
}
