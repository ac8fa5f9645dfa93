//! JSON of the aggregator's HTTP API.
//!
//! The server builds these types; the command line and the tools read them. The
//! schema in `docs/openapi.json` and the types of the pages are made from them, and a
//! test compares both. This crate knows neither HTTP nor the server.
//!
//! # Example
//!
//! ```
//! use fedra_http_api::{Problem, address};
//!
//! # fn main() -> Result<(), serde_json::Error> {
//! assert_eq!(address::task("digits"), "/v1/tasks/digits");
//! let problem: Problem = serde_json::from_str(r#"{ "detail": "there is no such task" }"#)?;
//! assert_eq!(problem.detail, "there is no such task");
//! # Ok(())
//! # }
//! ```

pub mod address;
mod card;
#[cfg(test)]
mod contract;
mod evaluation;
mod format;
mod health;
mod ledger;
mod operated;
mod problem;
mod server;
mod task;

pub use card::{
    CardColumn, CardData, CardFormat, CardLayer, CardModel, CardTokens, CardTraining, ModelCard,
};
pub use evaluation::{ClassMetrics, Classes, Headline, Metrics, Quality};
pub use format::{ModelFormat, UnknownFormat};
pub use health::{Failure, FailureCause, FailureKind, Health, HealthState};
pub use ledger::LedgerEntry;
pub use operated::{
    Created, Decision, Operated, OperatedRound, OperatedSummary, OperatedTask, OperatorAction,
    RollBack, RolledBack,
};
pub use problem::{Mistake, Problem};
pub use server::{ServerStatus, SetAsideTask};
pub use task::{
    Cohort, FrozenPart, Gate, GateRefusal, Model, Phase, Policy, Privacy, Round, Task, TaskState,
    TaskSummary,
};
