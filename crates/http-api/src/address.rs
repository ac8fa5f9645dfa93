//! Addresses of the API, below the server's own.

use crate::ModelFormat;

/// Every task in short: a list of [`TaskSummary`](crate::TaskSummary).
pub const TASKS: &str = "/v1/tasks";
/// The server and its tasks, for operators: [`ServerStatus`](crate::ServerStatus).
pub const STATUS: &str = "/v1/admin/status";
/// Tasks as operators add them.
pub const OPERATED_TASKS: &str = "/v1/admin/tasks";

/// A [`Task`](crate::Task).
#[must_use]
pub fn task(id: &str) -> String {
    format!("{TASKS}/{id}")
}

/// The privacy ledger of a task: a [`LedgerEntry`](crate::LedgerEntry) a line.
#[must_use]
pub fn ledger(id: &str) -> String {
    format!("{TASKS}/{id}/privacy/ledger")
}

/// A [`ModelCard`](crate::ModelCard).
#[must_use]
pub fn card(sha256: &str) -> String {
    format!("/v1/models/{sha256}/card")
}

/// An [`OperatedTask`](crate::OperatedTask).
#[must_use]
pub fn operated_task(id: &str) -> String {
    format!("{OPERATED_TASKS}/{id}")
}

/// An order about a task: `pause`, `resume`, `stop` or `rollback`.
#[must_use]
pub fn order(id: &str, order: &str) -> String {
    format!("{OPERATED_TASKS}/{id}/{order}")
}

/// The model after a round as a file in this format; without a round the newest.
#[must_use]
pub fn export(id: &str, round: Option<u64>, format: ModelFormat) -> String {
    let round = round.map(|round| format!("round={round}"));
    let format = (format != ModelFormat::default()).then(|| format!("format={}", format.name()));
    let query: Vec<_> = round.into_iter().chain(format).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{OPERATED_TASKS}/{id}/export{mark}{}", query.join("&"))
}

/// An address of a task with its last `rounds` rounds instead of all that are kept.
#[must_use]
pub fn last_rounds(task: &str, rounds: usize) -> String {
    format!("{task}?rounds={rounds}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_follows_the_address() {
        let (same, onnx) = (ModelFormat::Safetensors, ModelFormat::Onnx);
        assert_eq!(export("a", Some(3), same), "/v1/admin/tasks/a/export?round=3");
        assert_eq!(export("a", None, same), "/v1/admin/tasks/a/export");
        assert_eq!(export("a", None, onnx), "/v1/admin/tasks/a/export?format=onnx");
        assert_eq!(export("a", Some(3), onnx), "/v1/admin/tasks/a/export?round=3&format=onnx");
        assert_eq!(last_rounds(&operated_task("a"), 10), "/v1/admin/tasks/a?rounds=10");
        assert_eq!(order("a", "stop"), "/v1/admin/tasks/a/stop");
        assert_eq!(card("ab"), "/v1/models/ab/card");
        assert_eq!(ledger("a"), "/v1/tasks/a/privacy/ledger");
    }
}
