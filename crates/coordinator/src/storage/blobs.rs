//! Names of the files that a checkpoint consists of, and what makes a file sound.

use std::fmt;

use bytes::Bytes;
use fedra_learning::safetensors;
use fedra_protocol::Sha256Hash;

/// Kind of a checkpoint's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlobKind {
    /// The global model, as safetensors.
    Model,
    /// State of the server optimizer after the round.
    OptimizerState,
}

impl BlobKind {
    const ALL: [Self; 2] = [Self::Model, Self::OptimizerState];

    fn extension(self) -> &'static str {
        match self {
            Self::Model => "safetensors",
            Self::OptimizerState => "optimizer",
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
            BlobKind::Model => {
                safetensors::check(content).map_err(|error| format!(": {error}"))
            }
            // Its values were looked at before it got its hash.
            BlobKind::OptimizerState => Ok(()),
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
}

impl CheckpointFiles {
    /// Files of a checkpoint without a state of the server optimizer.
    #[must_use]
    pub fn without_state(model: Bytes) -> Self {
        Self { model, optimizer_state: None }
    }

    /// The files in the order of [`RoundRecord::blobs`](super::RoundRecord::blobs); `None`
    /// without a model.
    #[must_use]
    pub fn of(files: impl IntoIterator<Item = Bytes>) -> Option<Self> {
        let mut files = files.into_iter();
        Some(Self { model: files.next()?, optimizer_state: files.next() })
    }

    /// All the files in that order.
    pub fn all(&self) -> impl Iterator<Item = &Bytes> {
        [&self.model].into_iter().chain(&self.optimizer_state)
    }

    /// Hash of the state's file.
    #[must_use]
    pub fn state_sha256(&self) -> Option<Sha256Hash> {
        self.optimizer_state.as_deref().map(Sha256Hash::of)
    }
}
