//! Tasks, rounds and training plans as both sides see them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::{DataSpec, EncodedDataSpec};
use crate::error::DecodeError;
use crate::evaluation::{ClientEvaluation, Evaluation};
use crate::id::{RoundId, Sha256Hash, TaskId};
use crate::limits::{MAX_BATCH, MAX_EPOCHS};
use crate::model::ModelSpec;
use crate::privacy::PrivacyPolicy;
use crate::update_range::UpdateRange;

/// Description of a task in the answer to a check-in.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskDescription {
    /// Name in URLs and messages.
    pub id: TaskId,
    /// Name for people.
    pub title: String,
    /// The model to train.
    pub model: ModelSpec,
    /// File of the model's frozen tensors, which never changes; its round is 0. Present if
    /// the model has frozen layers.
    pub frozen: Option<ModelRef>,
    /// The largest magnitude of a value of an update.
    pub update_range: UpdateRange,
    /// Preparation of files; `None` if clients give arrays that fit the model.
    pub data: Option<EncodedDataSpec>,
    /// Evaluation of models by the clients; `None` if they evaluate none.
    pub client_evaluation: Option<ClientEvaluation>,
    /// Protection of those who take part; `None` without any.
    pub privacy: Option<PrivacyPolicy>,
}

impl TaskDescription {
    /// Preparation of files: the task's own, or that of bytes in the model's shape.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] for one that this version does not understand.
    pub fn data_or_bytes(&self) -> Result<DataSpec, DecodeError> {
        let bytes = || Ok(DataSpec::of_bytes(self.model.input()));
        self.data.as_ref().map_or_else(bytes, EncodedDataSpec::decode)
    }
}

/// State of a task. Only the newest counts.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskStatus {
    /// The round that is being made, or the last one of a finished task.
    pub round: RoundId,
    /// Its phase.
    pub phase: RoundPhase,
    /// Clients that are connected to the task.
    pub clients_connected: u32,
    /// Clients invited into this round.
    pub cohort: u32,
    /// Clients whose updates were accepted.
    pub reported: u32,
    /// Invited clients that left or declined.
    pub left: u32,
    /// Accepted updates at which the round closes.
    pub report_goal: u32,
    /// Time until the deadline, while collecting.
    pub deadline: Option<Duration>,
    /// The newest global model.
    pub model: ModelRef,
    /// Held-out evaluation of the newest model that has one.
    pub evaluation: Option<Evaluation>,
    /// Newest evaluation by the clients, on examples that they hold out.
    pub client_evaluation: Option<Evaluation>,
    /// Rounds that the task will have, if limited.
    pub rounds_total: Option<u64>,
    /// The most that any subject has spent, under a privacy policy.
    pub privacy_spent_epsilon: Option<f64>,
}

/// Phase of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoundPhase {
    /// Waiting for enough clients.
    Selecting,
    /// The cohort trains and reports.
    Collecting,
    /// Secure aggregation: the cohort exchanges key shares.
    Sharing,
    /// Secure aggregation: the cohort sends its masked updates.
    Masking,
    /// Secure aggregation: the cohort helps to take the masks off the sum.
    Unmasking,
    /// The new global model is computed and stored.
    Finalizing,
    /// The task has had its last round.
    Finished,
    /// The operator has paused the task: no round begins.
    Paused,
}

/// A global model, or the frozen part of one, by content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRef {
    /// Completed rounds behind it; 0 is the initial model.
    pub round: u64,
    /// Hash of the safetensors file.
    pub sha256: Sha256Hash,
    /// Address relative to the socket's: `models/{sha256}`.
    pub url: String,
    /// Size of the file.
    pub bytes: u64,
}

/// The steps of local training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAlgorithm {
    /// Plain SGD with classical momentum, as in FedAvg (McMahan et al. 2017, algorithm 1).
    #[default]
    Sgd,
}

impl ClientAlgorithm {
    /// The algorithms as they are named in a client's capabilities.
    pub const NAMES: [&str; 1] = ["sgd"];

    /// Name there of the evaluation of models by clients.
    pub const EVALUATION: &str = "evaluation";

    /// The algorithm's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sgd => "sgd",
        }
    }
}

/// A training plan as written, unchecked. [`LocalTraining`] is the checked form.
///
/// The default is that of a task's configuration: one epoch of SGD in batches of 10 at
/// a rate of 0.1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLocalTraining {
    /// The steps.
    #[serde(default)]
    pub algorithm: ClientAlgorithm,
    /// Passes over the local examples, E in McMahan et al. 2017; 1 to [`MAX_EPOCHS`].
    pub epochs: u32,
    /// Examples a step, B in McMahan et al. 2017; 1 to [`MAX_BATCH`].
    pub batch_size: u32,
    /// Step size, above 0.
    pub learning_rate: f32,
    /// Classical momentum, 0 to below 1.
    pub momentum: f32,
    /// L2 penalty, added to the gradient; at least 0.
    pub weight_decay: f32,
    /// Seeds shuffling and dropout.
    pub seed: u64,
    /// At most this many local examples are used; 0 is no limit.
    pub max_examples: u32,
}

impl Default for RawLocalTraining {
    fn default() -> Self {
        Self {
            algorithm: ClientAlgorithm::Sgd,
            epochs: 1,
            batch_size: 10,
            learning_rate: 0.1,
            momentum: 0.0,
            weight_decay: 0.0,
            seed: 1,
            max_examples: 0,
        }
    }
}

/// Training plan of a round, the same for the whole cohort. One that exists is within
/// its ranges.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "RawLocalTraining", into = "RawLocalTraining")]
pub struct LocalTraining(RawLocalTraining);

/// Training plan that cannot be followed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LocalTrainingError {
    /// Epochs outside their range.
    #[error("epochs must be 1 to {MAX_EPOCHS}; it is {0}")]
    Epochs(u32),
    /// Batch size outside its range.
    #[error("batch_size must be 1 to {MAX_BATCH}; it is {0}")]
    BatchSize(u32),
    /// Not a positive, finite step size.
    #[error("learning_rate must be above 0 and finite; it is {0}")]
    LearningRate(f32),
    /// Momentum outside its range.
    #[error("momentum must be at least 0 and below 1; it is {0}")]
    Momentum(f32),
    /// A negative or non-finite penalty.
    #[error("weight_decay must be at least 0 and finite; it is {0}")]
    WeightDecay(f32),
}

impl LocalTraining {
    /// Checks every range.
    ///
    /// # Errors
    ///
    /// [`LocalTrainingError`] for the first field that is outside its range.
    pub fn new(raw: RawLocalTraining) -> Result<Self, LocalTrainingError> {
        if !(1..=MAX_EPOCHS).contains(&raw.epochs) {
            return Err(LocalTrainingError::Epochs(raw.epochs));
        }
        if !(1..=MAX_BATCH).contains(&raw.batch_size) {
            return Err(LocalTrainingError::BatchSize(raw.batch_size));
        }
        if !(raw.learning_rate > 0.0 && raw.learning_rate.is_finite()) {
            return Err(LocalTrainingError::LearningRate(raw.learning_rate));
        }
        if !(0.0..1.0).contains(&raw.momentum) {
            return Err(LocalTrainingError::Momentum(raw.momentum));
        }
        if !(raw.weight_decay >= 0.0 && raw.weight_decay.is_finite()) {
            return Err(LocalTrainingError::WeightDecay(raw.weight_decay));
        }
        Ok(Self(raw))
    }

    /// The same plan with another seed.
    pub fn with_seed(&self, seed: u64) -> Self {
        Self(RawLocalTraining { seed, ..self.0.clone() })
    }

    /// The same plan with as many epochs as there may be, over all examples.
    pub fn longest(&self) -> Self {
        Self(RawLocalTraining { epochs: MAX_EPOCHS, max_examples: 0, ..self.0.clone() })
    }

    /// The steps.
    pub fn algorithm(&self) -> ClientAlgorithm {
        self.0.algorithm
    }

    /// Passes over the local examples, 1 to [`MAX_EPOCHS`].
    pub fn epochs(&self) -> u32 {
        self.0.epochs
    }

    /// Examples a step, 1 to [`MAX_BATCH`].
    pub fn batch_size(&self) -> u32 {
        self.0.batch_size
    }

    /// Step size, above 0 and finite.
    pub fn learning_rate(&self) -> f32 {
        self.0.learning_rate
    }

    /// Classical momentum, 0 to below 1.
    pub fn momentum(&self) -> f32 {
        self.0.momentum
    }

    /// L2 penalty, at least 0 and finite.
    pub fn weight_decay(&self) -> f32 {
        self.0.weight_decay
    }

    /// The seed of shuffling and dropout.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// Most local examples that are used; 0 is no limit.
    pub fn max_examples(&self) -> u32 {
        self.0.max_examples
    }
}

impl TryFrom<RawLocalTraining> for LocalTraining {
    type Error = LocalTrainingError;

    fn try_from(raw: RawLocalTraining) -> Result<Self, LocalTrainingError> {
        Self::new(raw)
    }
}

impl From<LocalTraining> for RawLocalTraining {
    fn from(training: LocalTraining) -> Self {
        training.0
    }
}
