//! A task as every visitor sees it. Addresses in a document are relative to the
//! document's own.

use serde::{Deserialize, Serialize};

use crate::evaluation::{Classes, Headline, Metrics, Quality};
use crate::health::Health;

/// Task in short, without its rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct TaskSummary {
    /// Name of the task.
    pub id: String,
    /// Title for a person.
    pub title: String,
    /// The operator's last word, or `finished`.
    pub state: TaskState,
    /// Health of the task.
    pub health: Health,
    /// Completed rounds.
    pub round: u64,
    /// Rounds that the task has, if limited.
    pub rounds_total: Option<u64>,
    /// The round under way.
    pub round_under_way: u64,
    /// Its attempt, from 0.
    pub attempt: u32,
    /// Its phase.
    pub phase: Phase,
    /// Its clients.
    pub cohort: Cohort,
    /// Time until the phase ends at the latest, if it has a deadline.
    pub seconds_left: Option<f64>,
    /// Clients that are connected.
    pub clients_connected: u64,
    /// The newest model.
    pub model: Model,
    /// Description of the task's data, in the form of `[task.data]`; null if clients give
    /// arrays that fit the model.
    #[cfg_attr(test, schemars(with = "Option<serde_json::Map<String, serde_json::Value>>"))]
    #[cfg_attr(test, ts(type = "Record<string, unknown> | null"))]
    pub data: Option<serde_json::Value>,
    /// True if the server evaluates the models on held-out examples of its own.
    pub evaluated: bool,
    /// The metric that is shown first.
    pub headline: Headline,
    /// The newest quality there is, of this model or an earlier one.
    pub latest: Option<Quality>,
    /// The newest quality on examples that the clients held out; null without one.
    pub latest_by_clients: Option<Quality>,
    /// The privacy policy and what it has cost; null without one.
    pub privacy: Option<Privacy>,
    /// The rule by which a model is refused for its held-out loss; null without one.
    pub gate: Option<Gate>,
}

/// Task with its rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Task {
    /// The task in short.
    #[serde(flatten)]
    pub summary: TaskSummary,
    /// Classes of the model that `latest` is about; null for models without a matrix, and
    /// until the model is evaluated after a start of the server.
    pub classes: Option<Classes>,
    /// The last completed rounds, oldest first.
    pub history: Vec<Round>,
}

/// State of a task: the operator's last word, or `finished`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub enum TaskState {
    /// Rounds are made.
    Running,
    /// An operator wants no new round. One that is under way completes.
    Paused,
    /// An operator has ended the task for good.
    Stopped,
    /// The task has had its last round, or has spent its privacy budget.
    Finished,
}

impl TaskState {
    /// True if there will be no more rounds.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Stopped | Self::Finished)
    }

    /// Its name in the JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
        }
    }
}

/// Phase of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub enum Phase {
    /// The task waits for enough clients.
    Selecting,
    /// The cohort trains and reports.
    Collecting,
    /// The cohort exchanges key shares.
    Sharing,
    /// The cohort sends its masked updates.
    Masking,
    /// The cohort helps to take the masks off the sum.
    Unmasking,
    /// The new model is computed and stored.
    Finalizing,
    /// There will be no more rounds.
    Finished,
    /// No round begins.
    Paused,
}

impl Phase {
    /// Its name in the JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Selecting => "selecting",
            Self::Collecting => "collecting",
            Self::Sharing => "sharing",
            Self::Masking => "masking",
            Self::Unmasking => "unmasking",
            Self::Finalizing => "finalizing",
            Self::Finished => "finished",
            Self::Paused => "paused",
        }
    }
}

/// Numbers of clients of the round under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Cohort {
    /// Invited clients.
    pub invited: u32,
    /// Invited clients that have reported.
    pub reported: u32,
    /// Invited clients that left, declined or were refused.
    pub left: u32,
    /// Reports that close the round.
    pub report_goal: u32,
}

/// Newest model of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Model {
    /// SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
    /// Address of the file, relative to the document's own.
    pub url: String,
    /// Size of the file.
    pub bytes: u64,
    /// Number of its parameters that are trained, which are those in the file.
    pub parameters: u64,
    /// Round that made it; 0 is the initial model.
    pub round: u64,
    /// File of its frozen layers, the same in each round; null if no layer is frozen.
    pub frozen: Option<FrozenPart>,
    /// Shape of one example: features, channels with height and width, or positions.
    pub input: Vec<u32>,
    /// Number of tokens; null of a model that takes no token ids.
    pub vocabulary: Option<u32>,
    /// Shape of the outputs for one example: classes or values, of a sequence at each of its
    /// positions.
    pub output: Vec<u32>,
    /// Loss that training minimises, by its name in a config.
    pub loss: String,
}

/// Frozen part of the models of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct FrozenPart {
    /// SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
    /// Address of the file, relative to the document's own.
    pub url: String,
    /// Size of the file.
    pub bytes: u64,
    /// Number of parameters of the frozen layers.
    pub parameters: u64,
}

/// Completed round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Round {
    /// Its number, from 1.
    pub round: u64,
    /// Metrics of its model.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// Of a round of evaluation: metrics on examples that the clients held out, of the
    /// model of the round before, which is this round's too. Null of a round of training.
    pub by_clients: Option<Metrics>,
    /// Accepted updates.
    pub reports: u32,
    /// Time from the invitation to the last update.
    pub seconds: f64,
    /// Bytes from clients since the round before.
    pub bytes_up: u64,
    /// Bytes to clients since the round before.
    pub bytes_down: u64,
    /// True if the task's gate has refused its model: it was rolled back.
    pub refused: bool,
}

/// Gate of a task: the rule by which a model is refused for its held-out loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Gate {
    /// True if it goes by the clients' evaluation, false if by the server's.
    pub by_clients: bool,
    /// Share by which a loss may be above that of the last kept model.
    pub loss_increase: f64,
    /// Largest loss in any case, if there is one.
    pub loss_limit: Option<f64>,
    /// Roll-backs in a row after which the task is paused.
    pub rollbacks: u32,
    /// The last refusal of the rounds that are remembered; null if there was none.
    pub last: Option<GateRefusal>,
}

/// Refusal of a model by its task's gate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct GateRefusal {
    /// Round of the model.
    pub round: u64,
    /// Its held-out loss; null if it is not finite, or the model could not be evaluated.
    pub loss: Option<f64>,
    /// Largest loss that would have passed; null if any finite one would have.
    pub limit: Option<f64>,
    /// Roll-backs in a row, with this one.
    pub in_a_row: u32,
    /// Round whose model took its place.
    pub to: u64,
}

/// Privacy policy of a task, and what has been spent of its budget.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Privacy {
    /// Source of the noise.
    pub policy: Policy,
    /// Budget of one subject.
    pub epsilon: f64,
    /// Probability with which epsilon may be passed.
    pub delta: f64,
    /// Epsilon of the subject that has spent most.
    pub spent_epsilon: f64,
    /// Epsilon of one participation alone.
    pub round_epsilon: f64,
    /// Standard deviation of the noise in the sum, in clipping norms.
    pub noise_multiplier: f64,
    /// Clipping norm of the next round.
    pub clipping_norm: f64,
    /// Share of updates that the clipping norm is to leave whole, if it follows them.
    pub target_quantile: Option<f64>,
    /// Fewest updates in a sum.
    pub minimum_survivors: u32,
    /// Clients among them that are assumed to help the server.
    pub colluders: u32,
    /// Most participations of a subject.
    pub max_participations: u32,
    /// True if each subject's participations are counted, false if rounds are.
    pub counts_subjects: bool,
    /// Entries of the ledger.
    pub debits: u32,
    /// Subjects in them.
    pub subjects: u64,
}

/// Source of the noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub enum Policy {
    /// Every client a share, under secure aggregation.
    Distributed,
    /// Every client all of it.
    Local,
    /// The server.
    Central,
}

impl Policy {
    /// Its name in the JSON, and in a config.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Distributed => "distributed",
            Self::Local => "local",
            Self::Central => "central",
        }
    }
}
