//! `fedra-aggregator status` and `ready`: how a running server is doing.

use std::time::Duration;

use serde::Deserialize;

use super::Failure;
use super::client::{ServerOptions, parse};
use super::table::{bytes, table};

/// Status of a server.
#[derive(Deserialize)]
pub struct Status {
    version: String,
    draining: bool,
    uptime_seconds: f64,
    memory_bytes: Option<u64>,
    connections: u64,
    sessions: u64,
    upload_bytes_in_flight: u64,
    upload_budget_bytes: u64,
    pub tasks: Vec<TaskLine>,
    set_aside: Vec<SetAside>,
}

/// A task that could not start.
#[derive(Deserialize)]
struct SetAside {
    id: String,
    reason: String,
}

/// A task in a line.
#[derive(Deserialize)]
pub struct TaskLine {
    id: String,
    standing: String,
    health: HealthLine,
    phase: String,
    completed: u64,
    contested: u64,
    round: u64,
    attempt: u32,
    clients: u64,
    cohort: u64,
    reported: u64,
    left: u64,
}

/// The health of a task.
#[derive(Deserialize)]
pub struct HealthLine {
    state: String,
    reason: Option<String>,
    since: String,
    attempts: u32,
    failures: Vec<FailureLine>,
}

/// Invitations that came to nothing in one way.
#[derive(Deserialize)]
struct FailureLine {
    count: u64,
    text: String,
}

impl HealthLine {
    /// The state in a line: "failing since 2026-11-28T16:03:20Z, 3 attempts in a row:
    /// 3 of 4: training diverged".
    pub fn line(&self) -> String {
        let Self { state, reason, since, attempts, .. } = self;
        let row = match attempts {
            0 => String::new(),
            _ => format!(", {} in a row", count(u64::from(*attempts), "attempt")),
        };
        let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("{state} since {since}{row}{reason}")
    }

    /// Failures of invitations, the most frequent first.
    pub fn failures(&self) -> String {
        let row = |failure: &FailureLine| vec![failure.count.to_string(), failure.text.clone()];
        table(&["FAILED", "INVITATIONS"], &self.failures.iter().map(row).collect::<Vec<_>>())
    }

    pub fn has_failures(&self) -> bool {
        !self.failures.is_empty()
    }
}

/// The server in a line, and its tasks.
pub fn status(server: &ServerOptions) -> Result<String, Failure> {
    let json = server.operator()?.get("/v1/admin/status")?;
    if server.json {
        return Ok(json + "\n");
    }
    Ok(describe(&parse(&json)?))
}

/// Succeeds, without a text, if the server takes clients.
pub fn ready(server: &ServerOptions) -> Result<String, Failure> {
    server.visitor()?.get("/readyz").map(|_| String::new())
}

fn describe(status: &Status) -> String {
    let up = humantime::format_duration(Duration::from_secs(status.uptime_seconds as u64));
    let memory = status.memory_bytes.map_or_else(|| "unknown".to_owned(), bytes);
    let (flying, budget) =
        (bytes(status.upload_bytes_in_flight), bytes(status.upload_budget_bytes));
    let version = &status.version;
    let connections = count(status.connections, "connection");
    let sessions = count(status.sessions, "session");
    let draining = if status.draining { ", about to stop" } else { "" };
    let mut text = format!(
        "fedra-aggregator {version}{draining}, up {up}, memory {memory}, {connections}, \
         {sessions}, uploads {flying} of {budget}\n\n{}",
        tasks(&status.tasks)
    );
    for task in status.tasks.iter().filter(|task| task.contested > 0) {
        let TaskLine { id, contested, .. } = task;
        text += &format!(
            "\ntask {id}: {contested} check-ins were turned away; two devices may have the same \
             token or state file\n"
        );
    }
    for SetAside { id, reason } in &status.set_aside {
        text += &format!("\ntask {id} is set aside: {reason}\n");
    }
    text
}

/// "1 session", "2 sessions".
fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The tasks as a table, and a line for each that makes no rounds.
pub fn tasks(tasks: &[TaskLine]) -> String {
    let header = [
        "TASK",
        "STANDING",
        "HEALTH",
        "COMPLETED",
        "ROUND",
        "PHASE",
        "CLIENTS",
        "COHORT",
        "REPORTED",
        "LEFT",
    ];
    let row = |task: &TaskLine| {
        vec![
            task.id.clone(),
            task.standing.clone(),
            task.health.state.clone(),
            task.completed.to_string(),
            format!("{}.{}", task.round, task.attempt),
            task.phase.clone(),
            task.clients.to_string(),
            task.cohort.to_string(),
            task.reported.to_string(),
            task.left.to_string(),
        ]
    };
    let mut text = table(&header, &tasks.iter().map(row).collect::<Vec<_>>());
    let troubled: Vec<_> = tasks.iter().filter(|task| task.health.state != "ok").collect();
    if !troubled.is_empty() {
        text += "\n";
    }
    for TaskLine { id, health, .. } in troubled {
        text += &format!("{id}: {}\n", health.line());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_in_words() {
        let json = r#"{
            "version": "0.1.0", "draining": false, "uptime_seconds": 3725.9, "memory_bytes": 88080384,
            "connections": 41, "sessions": 1,
            "upload_bytes_in_flight": 1048576, "upload_budget_bytes": 268435456,
            "tasks": [
                {"id": "digits", "title": "Digits", "standing": "running", "phase": "collecting",
                 "health": {"state": "failing", "since": "2026-11-28T16:03:20Z", "attempts": 2,
                            "reason": "3 of 4: training diverged", "failures": []},
                 "completed": 11, "contested": 3, "round": 12, "attempt": 1, "clients": 40, "cohort": 20,
                 "reported": 7, "left": 1, "weight": 700, "deadline_seconds": 3.5},
                {"id": "old", "title": "Old", "standing": "stopped", "phase": "finished",
                 "health": {"state": "ok", "since": "2026-11-27T09:00:00Z", "attempts": 0,
                            "reason": "the task is finished", "failures": []},
                 "completed": 3, "contested": 0, "round": 3, "attempt": 0, "clients": 0, "cohort": 0,
                 "reported": 0, "left": 0, "weight": 0, "deadline_seconds": null}],
            "set_aside": [{"id": "lost", "reason": "its newest model is damaged"}]
        }"#;
        assert_eq!(
            describe(&parse(json).expect("sound")),
            "fedra-aggregator 0.1.0, up 1h 2m 5s, memory 84.0 MiB, 41 connections, 1 session, \
             uploads 1.0 MiB of 256.0 MiB\n\n\
             TASK    STANDING  HEALTH   COMPLETED  ROUND  PHASE       CLIENTS  COHORT  REPORTED  \
             LEFT\n\
             digits  running   failing         11   12.1  collecting       40      20         7  \
             \x20  1\n\
             old     stopped   ok               3    3.0  finished          0       0         0  \
             \x20  0\n\
             \n\
             digits: failing since 2026-11-28T16:03:20Z, 2 attempts in a row: 3 of 4: training \
             diverged\n\n\
             task digits: 3 check-ins were turned away; two devices may have the same token or \
             state file\n\n\
             task lost is set aside: its newest model is damaged\n"
        );
    }
}
