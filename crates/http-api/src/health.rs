//! Health of a task, and the failures of its invitations.

use serde::{Deserialize, Serialize};

/// Health of a task: its state and, if it makes no rounds, the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Health {
    /// The state.
    pub state: HealthState,
    /// One sentence, without a capital and a full stop.
    pub reason: Option<String>,
    /// Start of the state, RFC 3339.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub since: String,
    /// Attempts in a row that came to nothing, while the task is failing.
    pub attempts: u32,
    /// Invitations that came to nothing since the server started, the most frequent
    /// first.
    pub failures: Vec<Failure>,
}

/// State of a task's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub enum HealthState {
    /// Rounds are made, or none is due.
    Ok,
    /// Too few clients are there.
    Waiting,
    /// Attempts come to nothing.
    Failing,
}

impl HealthState {
    /// Its name in the JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Waiting => "waiting",
            Self::Failing => "failing",
        }
    }
}

/// Invitations that came to nothing in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Failure {
    /// Kind of the failure.
    pub kind: FailureKind,
    /// Cause of a decline or fault of a rejection, if known.
    pub cause: Option<FailureCause>,
    /// Number of invitations.
    pub count: u64,
    /// The same as a phrase, without a capital and a full stop.
    pub text: String,
}

/// End of an invitation that came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub enum FailureKind {
    /// The deadline passed without an answer.
    MissedDeadline,
    /// The client declined.
    Declined,
    /// The server rejected the client's answer.
    Rejected,
    /// The client's connection broke and did not come back in time.
    Lost,
}

/// Cause of a decline, or fault of what was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub enum FailureCause {
    /// Declined: not available now.
    NotNow,
    /// Declined: the data do not fit the task.
    BadDataset,
    /// Declined: training gave values that are not finite.
    TrainingDiverged,
    /// Declined: training failed in another way.
    TrainingFailed,
    /// Declined or rejected: a value is beyond the task's update range.
    OutOfRange,
    /// Declined: the model could not be fetched.
    ModelUnavailable,
    /// Rejected: the round closed before.
    RoundOver,
    /// Rejected: there is no such round.
    UnknownRound,
    /// Rejected: the client was not invited.
    NotInCohort,
    /// Rejected: the client had reported.
    Duplicate,
    /// Rejected: too many models have been made since.
    TooStale,
    /// Rejected: another length than the model's.
    WrongLength,
    /// Rejected: a chunk is out of order.
    WrongOffset,
    /// Rejected: the bytes do not match their checksum.
    ChecksumMismatch,
    /// Rejected: a value is not finite.
    NotFinite,
    /// Rejected: the number of examples is not what the task takes.
    WeightOutOfRange,
    /// Rejected: keys are not valid.
    InvalidKeys,
    /// Rejected: shares are not valid.
    InvalidShares,
    /// Rejected: not what this step waits for.
    WrongStep,
}
