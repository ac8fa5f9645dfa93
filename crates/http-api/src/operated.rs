//! A task as operators see it, and their orders.

use serde::{Deserialize, Serialize};

use crate::evaluation::Classes;
use crate::task::{Round, TaskState, TaskSummary};

/// Task in short, with what only operators see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct OperatedSummary {
    /// The part that is public.
    #[serde(flatten)]
    pub summary: TaskSummary,
    /// Check-ins turned away since the start, because connections of their subject
    /// replace each other too often.
    pub contested: u64,
    /// Weight of the reports of the round under way.
    pub weight: u64,
}

/// Task with its rounds, with what only operators see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct OperatedTask {
    /// The task in short.
    #[serde(flatten)]
    pub summary: OperatedSummary,
    /// Classes of the model that `latest` is about; null for models without a matrix, and
    /// until the model is evaluated after a start of the server.
    pub classes: Option<Classes>,
    /// The last completed rounds, oldest first.
    pub history: Vec<OperatedRound>,
    /// Rounds whose model is kept, oldest first.
    pub checkpoints: Vec<u64>,
    /// Decisions of operators, and pauses by the gate, oldest first.
    pub decisions: Vec<Decision>,
    /// Config of the task in a few lines, for a person.
    pub config: String,
}

/// Completed round, with what only operators see.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct OperatedRound {
    /// The part that is public.
    #[serde(flatten)]
    pub round: Round,
    /// Attempt that completed it, from 0.
    pub attempt: u32,
    /// Clients that were invited.
    pub cohort: u32,
    /// Weight of the reports.
    pub weight: u64,
    /// Earlier round whose model it has, if an operator or the task's gate went back to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub restored: Option<u64>,
}

/// Decision of an operator about a task, or a pause by its gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Decision {
    /// Time, seconds since 1970.
    pub unix_seconds: u64,
    /// The action.
    pub action: OperatorAction,
    /// Of a roll-back: the earlier round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub to: Option<u64>,
    /// Of a roll-back: the new round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub round: Option<u64>,
    /// Of a pause by the task's gate: the last of the rounds in a row that it refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub refused: Option<u64>,
}

/// Action of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub enum OperatorAction {
    /// Adds a task.
    Create,
    /// Begins no new round.
    Pause,
    /// Lets rounds begin again.
    Resume,
    /// Ends the task for good.
    Stop,
    /// Makes an earlier model the newest again.
    RollBack,
}

impl OperatorAction {
    /// Every action.
    pub const ALL: [Self; 5] =
        [Self::Create, Self::Pause, Self::Resume, Self::Stop, Self::RollBack];

    /// Its name in the JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stop => "stop",
            Self::RollBack => "roll-back",
        }
    }
}

/// Answer to a new task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Created {
    /// Name of the task.
    pub id: String,
}

/// Answer to a pause, a resumption or a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Operated {
    /// State of the task from now on.
    pub state: TaskState,
}

/// Order to go back to an earlier model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct RollBack {
    /// Round of the earlier model.
    pub round: u64,
}

/// Answer to a roll-back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct RolledBack {
    /// New round, which has the earlier model.
    pub round: u64,
}
