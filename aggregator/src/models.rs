//! Global models, steps and control variates by hash, as they are served: the newest of each
//! task from memory, older models and steps from the store as long as it keeps them. Files of other formats are
//! made of them when they are asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use bytes::Bytes;
use fedra_http_api::ModelFormat;
use fedra_learning::safetensors::{self, ModelFileError};
use fedra_learning::{WeightsView, pytorch};
use fedra_onnx::{OnnxError, Origin};
use fedra_protocol::limits::MAX_MODEL_STEPS;
use fedra_protocol::{ModelSpec, Sha256Hash, TaskId};

use fedra_coordinator::storage::{Storage, StoreError};

/// Models of a task that stay in memory, and as many of its control variates: the newest, and
/// the one before it for clients that are still fetching it.
const IN_MEMORY: usize = 2;

/// The models that can be fetched.
pub(crate) struct Models {
    store: Storage,
    newest: RwLock<HashMap<TaskId, Newest>>,
    /// Older models and files of other formats that are being sent, by the hash of the
    /// model. Each is in memory once, for all its downloads.
    sent: Mutex<HashMap<(Sha256Hash, ModelFormat), Weak<Slot>>>,
}

/// Files of a task that stay in memory, the newest first.
#[derive(Default)]
struct Newest {
    models: Vec<(Sha256Hash, Bytes)>,
    steps: Vec<(Sha256Hash, Bytes)>,
    controls: Vec<(Sha256Hash, Bytes)>,
}

/// Place of a file that several are sent. Whoever comes first fills it; the others wait.
#[derive(Default)]
struct Slot(Mutex<Option<Bytes>>);

/// A file that keeps its place as long as it is sent.
struct Sent {
    bytes: Bytes,
    _slot: Arc<Slot>,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Model that cannot be converted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConvertError {
    #[error("the model's file: {0}")]
    Model(#[from] ModelFileError),
    #[error(transparent)]
    Onnx(#[from] OnnxError),
}

/// The files of a model.
pub(crate) struct ModelFiles {
    /// Of the trained tensors.
    pub trained: Bytes,
    /// Of the frozen tensors, if there are some.
    pub frozen: Option<Bytes>,
}

/// The whole model in a format, its frozen layers like the others. Takes time in proportion
/// to the model.
pub(crate) fn convert(
    spec: &ModelSpec,
    files: ModelFiles,
    format: ModelFormat,
    origin: &Origin,
) -> Result<Bytes, ConvertError> {
    let ModelFiles { trained, frozen } = files;
    if format == ModelFormat::Safetensors && frozen.is_none() {
        return Ok(trained);
    }
    let trained = safetensors::read(spec, &trained)?;
    let frozen = frozen.map(|file| safetensors::read_frozen(spec, &file)).transpose()?;
    let weights = WeightsView { trained: &trained, frozen: frozen.as_deref().unwrap_or_default() };
    let values = weights.in_order(spec).map_err(ModelFileError::from)?;
    let spec = &spec.unfrozen();
    Ok(match format {
        ModelFormat::Safetensors => safetensors::write(spec, &values)?,
        ModelFormat::Onnx => fedra_onnx::write(spec, &values, origin)?,
        ModelFormat::Pytorch => pytorch::write(spec, &values)?,
    }
    .into())
}

impl Models {
    pub(crate) fn new(store: Storage) -> Self {
        Self { store, newest: RwLock::default(), sent: Mutex::default() }
    }

    /// Makes a durable model the newest of its task.
    pub(crate) fn publish(&self, task: &TaskId, sha256: Sha256Hash, file: Bytes) {
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        let models = &mut newest.entry(task.clone()).or_default().models;
        models.insert(0, (sha256, file));
        models.truncate(IN_MEMORY);
    }

    /// Serves a durable control variate. Clients are told of the newest alone.
    pub(crate) fn publish_control(&self, task: &TaskId, sha256: Sha256Hash, file: Bytes) {
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        let controls = &mut newest.entry(task.clone()).or_default().controls;
        controls.insert(0, (sha256, file));
        controls.truncate(IN_MEMORY);
    }

    /// Serves a durable step to the newest model of its task.
    pub(crate) fn publish_step(&self, task: &TaskId, sha256: Sha256Hash, file: Bytes) {
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        let newest = newest.entry(task.clone()).or_default();
        newest.steps.insert(0, (sha256, file));
        // Those that clients are told of: together they are smaller than the model.
        let mut room = newest.models.first().map_or(0, |(_, model)| model.len());
        let told = newest.steps.iter().take(MAX_MODEL_STEPS).take_while(|(_, step)| {
            room = room.saturating_sub(step.len());
            room > 0
        });
        let told = told.count();
        newest.steps.truncate(told);
    }

    /// True if the model is one of the task's in memory.
    pub(crate) fn is_in_memory(&self, task: &TaskId, sha256: &Sha256Hash) -> bool {
        self.in_memory(task, sha256).is_some()
    }

    /// A model of the task from memory.
    pub(crate) fn in_memory(&self, task: &TaskId, sha256: &Sha256Hash) -> Option<Bytes> {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        found(&newest.get(task)?.models, sha256)
    }

    /// A control variate of the task from memory.
    pub(crate) fn control_in_memory(&self, task: &TaskId, sha256: &Sha256Hash) -> Option<Bytes> {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        found(&newest.get(task)?.controls, sha256)
    }

    /// A step of the task from memory.
    pub(crate) fn step_in_memory(&self, task: &TaskId, sha256: &Sha256Hash) -> Option<Bytes> {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        found(&newest.get(task)?.steps, sha256)
    }

    /// A model of the task from the store. Blocking.
    pub(crate) fn stored(
        &self,
        task: &TaskId,
        sha256: &Sha256Hash,
    ) -> Result<Option<Bytes>, StoreError> {
        self.shared(sha256, ModelFormat::Safetensors, || self.store.model(task, sha256))
    }

    /// A model in another format. Blocking.
    pub(crate) fn converted(
        &self,
        spec: &ModelSpec,
        sha256: &Sha256Hash,
        files: ModelFiles,
        format: ModelFormat,
    ) -> Result<Option<Bytes>, ConvertError> {
        // Several rounds may have the same model, after a roll-back.
        let origin = Origin { round: None, sha256: Some(*sha256) };
        self.shared(sha256, format, || convert(spec, files, format, &origin).map(Some))
    }

    /// A file that is being sent already, or the one that `make` makes.
    fn shared<E>(
        &self,
        sha256: &Sha256Hash,
        format: ModelFormat,
        make: impl FnOnce() -> Result<Option<Bytes>, E>,
    ) -> Result<Option<Bytes>, E> {
        let slot = self.slot(*sha256, format);
        let mut file = locked(&slot.0);
        if file.is_none() {
            *file = make()?;
        }
        let bytes = file.clone();
        drop(file);
        Ok(bytes.map(|bytes| Bytes::from_owner(Sent { bytes, _slot: slot })))
    }

    fn slot(&self, sha256: Sha256Hash, format: ModelFormat) -> Arc<Slot> {
        let mut sent = locked(&self.sent);
        if let Some(slot) = sent.get(&(sha256, format)).and_then(Weak::upgrade) {
            return slot;
        }
        sent.retain(|_, slot| slot.strong_count() > 0);
        let slot = Arc::new(Slot::default());
        sent.insert((sha256, format), Arc::downgrade(&slot));
        slot
    }
}

fn found(files: &[(Sha256Hash, Bytes)], sha256: &Sha256Hash) -> Option<Bytes> {
    files.iter().find(|(hash, _)| hash == sha256).map(|(_, file)| file.clone())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn a_file_is_made_once_while_it_is_sent_and_anew_afterwards() {
        let models = Models::new(Storage::in_memory());
        let hash = Sha256Hash::of(b"model");
        let mut made = 0;
        let mut fetch = |format| {
            let make = || {
                made += 1;
                Ok::<_, Infallible>(Some(Bytes::from(vec![made])))
            };
            match models.shared(&hash, format, make) {
                Ok(file) => file.expect("made"),
                Err(never) => match never {},
            }
        };
        let first = fetch(ModelFormat::Onnx);
        assert_eq!(first, fetch(ModelFormat::Onnx), "it is being sent");
        assert_eq!(fetch(ModelFormat::Pytorch).as_ref(), [2], "another format is another file");
        drop(first);
        assert_eq!(fetch(ModelFormat::Onnx).as_ref(), [3]);
    }

    #[test]
    fn what_failed_is_tried_again() {
        let models = Models::new(Storage::in_memory());
        let hash = Sha256Hash::of(b"model");
        let format = ModelFormat::Onnx;
        assert_eq!(models.shared(&hash, format, || Err("no disk")), Err("no disk"));
        assert_eq!(models.shared(&hash, format, || Ok::<_, &str>(None)), Ok(None));
        let file = models.shared(&hash, format, || Ok::<_, &str>(Some(Bytes::from_static(b"x"))));
        assert_eq!(file, Ok(Some(Bytes::from_static(b"x"))));
    }
}
