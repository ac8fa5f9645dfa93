//! `health` of a task in the JSON for operators and visitors.

use fedra_protocol::StandbyCause;
use serde::Serialize;

use fedra_coordinator::status::TaskView;
use fedra_coordinator::status::{FailureCause, HealthState};

use crate::task::Task;

/// Health of a task: its state and, if it makes no rounds, the reason.
#[derive(Serialize)]
pub(super) struct HealthJson {
    state: HealthState,
    reason: Option<String>,
    /// Start of the state, RFC 3339.
    since: String,
    /// Attempts in a row that came to nothing, while the task is failing.
    attempts: u32,
    /// Invitations that came to nothing since the server started.
    failures: Vec<FailureJson>,
}

#[derive(Serialize)]
struct FailureJson {
    kind: StandbyCause,
    cause: Option<FailureCause>,
    count: u64,
    /// The same for a person.
    text: &'static str,
}

impl HealthJson {
    pub(super) fn new(task: &Task, view: &TaskView) -> Self {
        let health = &view.health;
        let failures = health.failures.by_count().into_iter();
        Self {
            state: health.state,
            reason: health.reason.clone(),
            since: humantime::format_rfc3339_seconds(task.date(health.since)).to_string(),
            attempts: health.attempts,
            failures: failures
                .map(|(failure, count)| FailureJson {
                    kind: failure.kind(),
                    cause: failure.cause(),
                    count,
                    text: failure.words(),
                })
                .collect(),
        }
    }
}
