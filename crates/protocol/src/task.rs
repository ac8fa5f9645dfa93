//! Tasks, rounds and training plans as both sides see them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::{DataSpec, EncodedDataSpec};
use crate::error::DecodeError;
use crate::evaluation::{ClientEvaluation, Evaluation};
use crate::id::{RoundId, Sha256Hash, TaskId};
use crate::limits::{MAX_BATCH, MAX_EPOCHS, MAX_LOCAL_STEPS, MAX_TIME_LIMIT};
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

/// Algorithm of a step of local training.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAlgorithm {
    /// Plain SGD with classical momentum, as in FedAvg (McMahan et al. 2017, algorithm 1).
    #[default]
    Sgd,
    /// SGD with Nesterov momentum (Sutskever et al. 2013): the step looks ahead along the
    /// velocity.
    Nesterov,
    /// Adam (Kingma and Ba 2015, algorithm 1), with moments that begin at zero in each round.
    /// Weight decay is decoupled (AdamW, Loshchilov and Hutter 2019).
    Adam {
        /// Decay of the mean gradient, 0 to below 1.
        beta1: f32,
        /// Decay of the mean squared gradient, 0 to below 1.
        beta2: f32,
        /// Term beside the root of the mean squared gradient, above 0.
        epsilon: f32,
    },
    /// SCAFFOLD (Karimireddy et al. 2020, algorithm 1, option II): plain SGD along the gradient
    /// with the server's control variate added and the client's own taken away, for a number of
    /// steps that is the same for every client.
    Scaffold,
}

impl ClientAlgorithm {
    /// The algorithms as they are named in a client's capabilities.
    pub const NAMES: [&str; 4] = ["sgd", "nesterov", "adam", "scaffold"];

    /// Name there of the evaluation of models by clients.
    pub const EVALUATION: &str = "evaluation";

    /// Name that stands for [masking groups](crate::MaskingGroup) of buffered rounds among
    /// those of algorithms.
    pub const MASKING_GROUPS: &str = "masking_groups";

    /// The algorithm's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sgd => "sgd",
            Self::Nesterov => "nesterov",
            Self::Adam { .. } => "adam",
            Self::Scaffold => "scaffold",
        }
    }

    /// True if each client keeps a control variate from round to round, and each counts as
    /// much as the others.
    pub fn has_variates(self) -> bool {
        self == Self::Scaffold
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
    /// Passes over the local examples, E in McMahan et al. 2017; 1 to [`MAX_EPOCHS`], or 0
    /// where `steps` are given.
    pub epochs: u32,
    /// Steps, for which the shuffled examples are gone through as often as it takes; 1 to
    /// [`MAX_LOCAL_STEPS`], or 0 where `epochs` are given.
    #[serde(default)]
    pub steps: u32,
    /// Longest time that a client trains, 1 ms to [`MAX_TIME_LIMIT`]. It sends what it has by then.
    #[serde(default)]
    pub time_limit: Option<Duration>,
    /// Examples a step, B in McMahan et al. 2017; 1 to [`MAX_BATCH`].
    pub batch_size: u32,
    /// Step size, above 0.
    pub learning_rate: f32,
    /// Momentum of SGD, 0 to below 1. Nesterov's is above 0, and Adam has none.
    pub momentum: f32,
    /// L2 penalty, added to the gradient; with Adam the share of the weights that a step of
    /// rate 1 takes away. At least 0.
    pub weight_decay: f32,
    /// mu of FedProx (Li et al. 2020): mu (w - w_global) is added to the gradient. At least
    /// 0.
    #[serde(default)]
    pub proximal: f32,
    /// Largest L2 norm of the gradient of a batch, over all trained parameters together. A
    /// longer one is scaled down to it, before weight decay and the proximal term. Above 0.
    #[serde(default)]
    pub clip_gradient_norm: Option<f32>,
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
            steps: 0,
            time_limit: None,
            batch_size: 10,
            learning_rate: 0.1,
            momentum: 0.0,
            weight_decay: 0.0,
            proximal: 0.0,
            clip_gradient_norm: None,
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
    /// Steps outside their range.
    #[error("steps must be 1 to {MAX_LOCAL_STEPS}; it is {0}")]
    Steps(u32),
    /// Two lengths of local training.
    #[error("steps cannot be given beside epochs; leave one of them out")]
    StepsAndEpochs,
    /// A number of steps that is not known before training, which control variates are made of.
    #[error(
        "steps must be given in place of epochs with the algorithm scaffold: every client has to \
         take as many"
    )]
    StepsOfScaffold,
    /// Time limit that would change the number of steps.
    #[error(
        "time_limit cannot be given with the algorithm scaffold: every client has to take as many \
         steps; leave it out"
    )]
    TimeLimitOfScaffold,
    /// Proximal term beside control variates.
    #[error("proximal must be 0 with the algorithm scaffold; it is {0}")]
    ProximalOfScaffold(f32),
    /// Time limit outside its range.
    #[error("time_limit must be 1 ms to 24 h; it is {0:?}")]
    TimeLimit(Duration),
    /// Batch size outside its range.
    #[error("batch_size must be 1 to {MAX_BATCH}; it is {0}")]
    BatchSize(u32),
    /// Not a positive, finite step size.
    #[error("learning_rate must be above 0 and finite; it is {0}")]
    LearningRate(f32),
    /// Momentum outside its range.
    #[error("momentum must be at least 0 and below 1; it is {0}")]
    Momentum(f32),
    /// Momentum that the algorithm does not have, or none where it needs some.
    #[error("momentum must be {} with the algorithm {}; it is {momentum}", match algorithm {
        ClientAlgorithm::Nesterov => "above 0",
        _ => "0",
    }, algorithm.name())]
    MomentumOf {
        /// The algorithm.
        algorithm: ClientAlgorithm,
        /// The momentum.
        momentum: f32,
    },
    /// A negative or non-finite penalty.
    #[error("weight_decay must be at least 0 and finite; it is {0}")]
    WeightDecay(f32),
    /// Decay of the mean gradient outside its range.
    #[error("beta1 must be at least 0 and below 1; it is {0}")]
    Beta1(f32),
    /// Decay of the mean squared gradient outside its range.
    #[error("beta2 must be at least 0 and below 1; it is {0}")]
    Beta2(f32),
    /// Epsilon of Adam that is not positive and finite.
    #[error("epsilon must be above 0 and finite; it is {0}")]
    Epsilon(f32),
    /// A negative or non-finite proximal term.
    #[error("proximal must be at least 0 and finite; it is {0}")]
    Proximal(f32),
    /// Norm that is not positive and finite.
    #[error("clip_gradient_norm must be above 0 and finite; it is {0}")]
    ClipGradientNorm(f32),
}

impl LocalTraining {
    /// Settings beside the algorithm that a client may not know, as they are named in its
    /// capabilities.
    pub const SETTINGS: [&str; 4] = ["proximal", "clip_gradient_norm", "steps", "time_limit"];

    /// Checks every range.
    ///
    /// # Errors
    ///
    /// [`LocalTrainingError`] for the first field that is outside its range.
    pub fn new(raw: RawLocalTraining) -> Result<Self, LocalTrainingError> {
        let positive = |value: f32| value > 0.0 && value.is_finite();
        let not_negative = |value: f32| value >= 0.0 && value.is_finite();
        let share = |value: f32| (0.0..1.0).contains(&value);
        match (raw.epochs, raw.steps) {
            (1..=MAX_EPOCHS, 0) | (0, 1..=MAX_LOCAL_STEPS) => {}
            (epochs, 0) => return Err(LocalTrainingError::Epochs(epochs)),
            (0, steps) => return Err(LocalTrainingError::Steps(steps)),
            _ => return Err(LocalTrainingError::StepsAndEpochs),
        }
        if let Some(limit) = raw.time_limit
            && !(Duration::from_millis(1)..=MAX_TIME_LIMIT).contains(&limit)
        {
            return Err(LocalTrainingError::TimeLimit(limit));
        }
        if !(1..=MAX_BATCH).contains(&raw.batch_size) {
            return Err(LocalTrainingError::BatchSize(raw.batch_size));
        }
        if !positive(raw.learning_rate) {
            return Err(LocalTrainingError::LearningRate(raw.learning_rate));
        }
        let momentum = raw.momentum;
        if !share(momentum) {
            return Err(LocalTrainingError::Momentum(momentum));
        }
        match raw.algorithm {
            ClientAlgorithm::Sgd => {}
            ClientAlgorithm::Nesterov if momentum > 0.0 => {}
            ClientAlgorithm::Adam { beta1, .. } if !share(beta1) => {
                return Err(LocalTrainingError::Beta1(beta1));
            }
            ClientAlgorithm::Adam { beta2, .. } if !share(beta2) => {
                return Err(LocalTrainingError::Beta2(beta2));
            }
            ClientAlgorithm::Adam { epsilon, .. } if !positive(epsilon) => {
                return Err(LocalTrainingError::Epsilon(epsilon));
            }
            ClientAlgorithm::Adam { .. } | ClientAlgorithm::Scaffold if momentum == 0.0 => {}
            algorithm => return Err(LocalTrainingError::MomentumOf { algorithm, momentum }),
        }
        if !not_negative(raw.weight_decay) {
            return Err(LocalTrainingError::WeightDecay(raw.weight_decay));
        }
        if !not_negative(raw.proximal) {
            return Err(LocalTrainingError::Proximal(raw.proximal));
        }
        if raw.algorithm.has_variates() {
            if raw.steps == 0 {
                return Err(LocalTrainingError::StepsOfScaffold);
            }
            if raw.time_limit.is_some() {
                return Err(LocalTrainingError::TimeLimitOfScaffold);
            }
            if raw.proximal > 0.0 {
                return Err(LocalTrainingError::ProximalOfScaffold(raw.proximal));
            }
        }
        if let Some(norm) = raw.clip_gradient_norm
            && !positive(norm)
        {
            return Err(LocalTrainingError::ClipGradientNorm(norm));
        }
        Ok(Self(raw))
    }

    /// The same plan with another seed.
    pub fn with_seed(&self, seed: u64) -> Self {
        Self(RawLocalTraining { seed, ..self.0.clone() })
    }

    /// The same plan with as many epochs as there may be, over all examples.
    pub fn longest(&self) -> Self {
        Self(RawLocalTraining {
            epochs: MAX_EPOCHS,
            steps: 0,
            time_limit: None,
            max_examples: 0,
            ..self.0.clone()
        })
    }

    /// Settings of the plan that a client has to know, by their names in its capabilities.
    pub fn settings(&self) -> Vec<&'static str> {
        let wanted = [
            self.0.proximal > 0.0,
            self.0.clip_gradient_norm.is_some(),
            self.0.steps > 0,
            self.0.time_limit.is_some(),
        ];
        let all = Self::SETTINGS.into_iter().zip(wanted);
        all.filter_map(|(name, wanted)| wanted.then_some(name)).collect()
    }

    /// The steps.
    pub fn algorithm(&self) -> ClientAlgorithm {
        self.0.algorithm
    }

    /// Passes over the local examples, at most [`MAX_EPOCHS`]; 0 where [`Self::steps`] count.
    pub fn epochs(&self) -> u32 {
        self.0.epochs
    }

    /// Steps, at most [`MAX_LOCAL_STEPS`]; 0 where [`Self::epochs`] count.
    pub fn steps(&self) -> u32 {
        self.0.steps
    }

    /// Number of steps times the rate, K eta in SCAFFOLD; 0 where [`Self::epochs`] count.
    pub fn reach(&self) -> f64 {
        f64::from(self.0.steps) * f64::from(self.0.learning_rate)
    }

    /// Longest time that a client trains.
    pub fn time_limit(&self) -> Option<Duration> {
        self.0.time_limit
    }

    /// Examples a step, 1 to [`MAX_BATCH`].
    pub fn batch_size(&self) -> u32 {
        self.0.batch_size
    }

    /// Step size, above 0 and finite.
    pub fn learning_rate(&self) -> f32 {
        self.0.learning_rate
    }

    /// Momentum of SGD, 0 to below 1.
    pub fn momentum(&self) -> f32 {
        self.0.momentum
    }

    /// L2 penalty, or decoupled decay with Adam; at least 0 and finite.
    pub fn weight_decay(&self) -> f32 {
        self.0.weight_decay
    }

    /// mu of FedProx, at least 0 and finite.
    pub fn proximal(&self) -> f32 {
        self.0.proximal
    }

    /// Largest L2 norm of a batch's gradient, above 0 and finite.
    pub fn clip_gradient_norm(&self) -> Option<f32> {
        self.0.clip_gradient_norm
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
