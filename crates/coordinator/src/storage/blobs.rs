//! Files that a checkpoint consists of: their names, what makes one sound, and where they
//! are kept.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use fedra_learning::safetensors;
use fedra_protocol::{Sha256Hash, TaskId};
use thiserror::Error;

use super::StoreError;
use super::records::{ControlRecord, RoundRecord};

/// Kind of a checkpoint's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlobKind {
    /// The global model, as safetensors.
    Model,
    /// State of the server optimizer after the round.
    OptimizerState,
    /// The tensors of frozen layers, as safetensors: of the initial model alone.
    Frozen,
    /// Residual of the steps up to the round: see [`Residual`](crate::writer::Residual).
    Residual,
    /// Step from the model before, in its codec.
    Step,
    /// Control variate of the server after the round, as safetensors with the model's tensors.
    Control,
}

impl BlobKind {
    const ALL: [Self; 6] = [
        Self::Model,
        Self::OptimizerState,
        Self::Frozen,
        Self::Residual,
        Self::Step,
        Self::Control,
    ];

    fn extension(self) -> &'static str {
        match self {
            Self::Model => "safetensors",
            Self::OptimizerState => "optimizer",
            Self::Frozen => "frozen.safetensors",
            Self::Residual => "residual",
            Self::Step => "step",
            Self::Control => "control.safetensors",
        }
    }
}

/// Name of a checkpoint's file within its task: the round that made it and the hash of
/// its content. Written as `0000000012-{sha256}.safetensors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlobKey {
    /// The round.
    pub round: u64,
    /// Kind of the file.
    pub kind: BlobKind,
    /// Hash of the content.
    pub sha256: Sha256Hash,
}

impl fmt::Display for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}-{}.{}", self.round, self.sha256, self.kind.extension())
    }
}

impl BlobKey {
    /// The key with this name, if it is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (stem, extension) = name.split_once('.')?;
        let kind = BlobKind::ALL.into_iter().find(|kind| kind.extension() == extension)?;
        let (round, sha256) = stem.split_once('-')?;
        Some(Self { round: round.parse().ok()?, kind, sha256: sha256.parse().ok()? })
    }

    /// Holds content against the hash and looks at its values.
    ///
    /// # Errors
    ///
    /// The problem with it, as the rest of a sentence about the file.
    pub fn check(&self, content: &[u8]) -> Result<(), String> {
        if Sha256Hash::of(content) != self.sha256 {
            return Err(" does not have the hash in its name".to_owned());
        }
        match self.kind {
            BlobKind::Model | BlobKind::Frozen | BlobKind::Control => {
                safetensors::check(content).map_err(|error| format!(": {error}"))
            }
            // Their values were looked at before they got their hashes.
            BlobKind::OptimizerState | BlobKind::Residual | BlobKind::Step => Ok(()),
        }
    }
}

/// Files of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointFiles {
    /// The global model, as safetensors.
    pub model: Bytes,
    /// State of the server optimizer, if it has one: see [`fedra_aggregation::OptimizerState`].
    pub optimizer_state: Option<Bytes>,
    /// The tensors of frozen layers, as safetensors: of the initial model, if it has some.
    pub frozen: Option<Bytes>,
    /// Residual of the steps up to the model, if it is made by steps.
    pub residual: Option<Bytes>,
    /// Control variate of the server, if clients train with variates.
    pub control: Option<ControlFile>,
    /// Step from the model before. It is stored with the others, but not read with them.
    pub step: Option<Bytes>,
}

/// File of the server's control variate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFile {
    /// See [`ControlRecord::since`].
    pub since: u64,
    /// The file, safetensors with the model's tensors.
    pub file: Bytes,
}

impl CheckpointFiles {
    /// Files of a checkpoint that has nothing but its model.
    #[must_use]
    pub fn of_model(model: Bytes) -> Self {
        Self {
            model,
            optimizer_state: None,
            frozen: None,
            residual: None,
            control: None,
            step: None,
        }
    }

    /// The files of a record, in the order of its [`blobs`](RoundRecord::blobs); `None`
    /// without a model.
    #[must_use]
    pub fn of(record: &RoundRecord, files: impl IntoIterator<Item = Bytes>) -> Option<Self> {
        let mut files = files.into_iter();
        let model = files.next()?;
        let mut of = |sha256: Option<Sha256Hash>| sha256.and_then(|_| files.next());
        let [optimizer_state, frozen, residual] =
            [record.optimizer_state, record.frozen, record.residual].map(&mut of);
        let control = record.control.and_then(|ControlRecord { since, .. }| {
            files.next().map(|file| ControlFile { since, file })
        });
        Some(Self { model, optimizer_state, frozen, residual, control, step: None })
    }

    /// All the files in that order.
    pub fn all(&self) -> impl Iterator<Item = &Bytes> {
        let others = [&self.optimizer_state, &self.frozen, &self.residual];
        let control = self.control.as_ref().map(|control| &control.file);
        [&self.model].into_iter().chain(others.into_iter().flatten()).chain(control)
    }

    /// Hash of the state's file.
    #[must_use]
    pub fn state_sha256(&self) -> Option<Sha256Hash> {
        self.optimizer_state.as_deref().map(Sha256Hash::of)
    }

    /// Record of the control variate.
    #[must_use]
    pub fn control_record(&self) -> Option<ControlRecord> {
        let ControlFile { since, file } = self.control.as_ref()?;
        Some(ControlRecord { sha256: Sha256Hash::of(file), since: *since })
    }

    /// Hash of the residual's file.
    #[must_use]
    pub fn residual_sha256(&self) -> Option<Sha256Hash> {
        self.residual.as_deref().map(Sha256Hash::of)
    }
}

/// Failure to read a file.
#[derive(Debug, Error)]
pub enum BlobError {
    /// It is gone, or not what was stored: the problem with it, and its place.
    #[error("{0}")]
    Damaged(String),
    /// The store cannot be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Files of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Keys of the whole files.
    pub blobs: BTreeSet<BlobKey>,
    /// Number of files that were not written to their end.
    pub unfinished: usize,
}

/// Durable files of all tasks, each under the hash of its content. A key has one content,
/// so that a file may be stored again at any time; none is ever changed.
pub trait BlobStore: Send + Sync + 'static {
    /// Stores a file whose content has the key's hash. When this returns it is durable.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be written.
    fn put(&self, task: &TaskId, key: &BlobKey, content: &Bytes) -> Result<(), StoreError>;

    /// A file, checked with [`BlobKey::check`].
    ///
    /// # Errors
    ///
    /// [`BlobError`] if it is gone or damaged, or the store cannot be asked.
    fn get(&self, task: &TaskId, key: &BlobKey) -> Result<Bytes, BlobError>;

    /// Removes a file, if it is there. It may come back after a crash.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be removed.
    fn delete(&self, task: &TaskId, key: &BlobKey) -> Result<(), StoreError>;

    /// Gives a damaged file, if it is there, a name that is not a key's.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be renamed.
    fn set_aside(&self, task: &TaskId, key: &BlobKey) -> Result<(), StoreError>;

    /// The files of a task. Those with other names are ignored.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be listed.
    fn list(&self, task: &TaskId) -> Result<Listing, StoreError>;

    /// Removes the files of a task that were not written to their end.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be listed or removed.
    fn remove_unfinished(&self, task: &TaskId) -> Result<(), StoreError>;

    /// Place of a file, for an operator.
    fn place(&self, task: &TaskId, key: &BlobKey) -> String;
}
