//! `fedra-aggregator status` and `ready`: how a running server is doing.

use std::time::Duration;

use fedra_http_api::{
    Failure, Health, HealthState, OperatedSummary, ServerStatus, SetAsideTask, TaskSummary, address,
};

use super::client::{ServerOptions, parse};
use super::table::{bytes, table};

/// The state in a line: "failing since 2026-11-28T16:03:20Z, 3 attempts in a row:
/// 3 of 4: training diverged".
pub fn health(health: &Health) -> String {
    let Health { state, reason, since, attempts, .. } = health;
    let row = match attempts {
        0 => String::new(),
        _ => format!(", {} in a row", count(u64::from(*attempts), "attempt")),
    };
    let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{} since {since}{row}{reason}", state.name())
}

/// Failures of invitations, the most frequent first.
pub fn failures(health: &Health) -> String {
    let row = |failure: &Failure| vec![failure.count.to_string(), failure.text.clone()];
    table(&["FAILED", "INVITATIONS"], &health.failures.iter().map(row).collect::<Vec<_>>())
}

/// The server in a line, and its tasks.
pub fn status(server: &ServerOptions) -> Result<String, super::Failure> {
    let json = server.operator()?.get(address::STATUS)?;
    if server.json {
        return Ok(json + "\n");
    }
    Ok(describe(&parse(&json)?))
}

/// Succeeds, without a text, if the server takes clients.
pub fn ready(server: &ServerOptions) -> Result<String, super::Failure> {
    server.visitor()?.get("/readyz").map(|_| String::new())
}

fn describe(status: &ServerStatus) -> String {
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
        let (id, contested) = (&task.summary.id, task.contested);
        text += &format!(
            "\ntask {id}: {contested} check-ins were turned away; two devices may have the same \
             token or state file\n"
        );
    }
    for SetAsideTask { id, reason } in &status.set_aside {
        text += &format!("\ntask {id} is set aside: {reason}\n");
    }
    text
}

/// "1 session", "2 sessions".
fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The metric of a task that is shown first, of the newest model that was evaluated: on the
/// server's examples, or else on the clients'.
fn quality(task: &TaskSummary) -> String {
    let latest = task.latest.or(task.latest_by_clients);
    let value = latest.and_then(|latest| latest.metrics.headline(task.headline));
    value.map_or_else(|| "-".to_owned(), |value| format!("{} {value:.4}", task.headline.title()))
}

/// The tasks as a table, and a line for each that makes no rounds.
pub fn tasks(tasks: &[OperatedSummary]) -> String {
    let header = [
        "TASK",
        "STATE",
        "HEALTH",
        "COMPLETED",
        "ROUND",
        "PHASE",
        "CLIENTS",
        "COHORT",
        "REPORTED",
        "LEFT",
        "HELD-OUT",
    ];
    let row = |OperatedSummary { summary: task, .. }: &OperatedSummary| {
        vec![
            task.id.clone(),
            task.state.name().to_owned(),
            task.health.state.name().to_owned(),
            task.round.to_string(),
            format!("{}.{}", task.round_under_way, task.attempt),
            task.phase.name().to_owned(),
            task.clients_connected.to_string(),
            task.cohort.invited.to_string(),
            task.cohort.reported.to_string(),
            task.cohort.left.to_string(),
            quality(task),
        ]
    };
    let mut text = table(&header, &tasks.iter().map(row).collect::<Vec<_>>());
    let summaries = tasks.iter().map(|task| &task.summary);
    let troubled: Vec<_> = summaries.filter(|task| task.health.state != HealthState::Ok).collect();
    if !troubled.is_empty() {
        text += "\n";
    }
    for TaskSummary { id, health: of, .. } in troubled {
        text += &format!("{id}: {}\n", health(of));
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
                {"id": "digits", "title": "Digits", "state": "running", "phase": "collecting",
                 "health": {"state": "failing", "since": "2026-11-28T16:03:20Z", "attempts": 2,
                            "reason": "3 of 4: training diverged", "failures": []},
                 "round": 11, "round_under_way": 12, "attempt": 1, "rounds_total": null,
                 "cohort": {"invited": 20, "reported": 7, "left": 1, "report_goal": 16},
                 "clients_connected": 40, "seconds_left": 3.5, "headline": "accuracy", "privacy": null,
                 "latest": {"round": 11, "accuracy": 0.91234, "loss": 0.5},
                 "model": {"sha256": "ab", "url": "../models/ab", "bytes": 7, "parameters": 1,
                           "round": 11, "input": [4], "vocabulary": null, "output": [2],
                           "loss": "softmax_cross_entropy"},
                 "data": null, "evaluated": true, "contested": 3, "weight": 700},
                {"id": "old", "title": "Old", "state": "stopped", "phase": "finished",
                 "health": {"state": "ok", "since": "2026-11-27T09:00:00Z", "attempts": 0,
                            "reason": "the task is finished", "failures": []},
                 "round": 3, "round_under_way": 3, "attempt": 0, "rounds_total": 3,
                 "cohort": {"invited": 0, "reported": 0, "left": 0, "report_goal": 1},
                 "clients_connected": 0, "seconds_left": null, "headline": "rmse", "latest": null, "privacy": null,
                 "model": {"sha256": "cd", "url": "../models/cd", "bytes": 7, "parameters": 1,
                           "round": 3, "input": [4], "vocabulary": null, "output": [2],
                           "loss": "softmax_cross_entropy"},
                 "data": null, "evaluated": true, "contested": 0, "weight": 0}],
            "set_aside": [{"id": "lost", "reason": "its newest model is damaged"}]
        }"#;
        assert_eq!(
            describe(&parse(json).expect("sound")),
            "fedra-aggregator 0.1.0, up 1h 2m 5s, memory 84.0 MiB, 41 connections, 1 session, \
             uploads 1.0 MiB of 256.0 MiB\n\n\
             TASK    STATE    HEALTH   COMPLETED  ROUND  PHASE       CLIENTS  COHORT  REPORTED  LEFT  \
             HELD-OUT\n\
             digits  running  failing         11   12.1  collecting       40      20         7     1  \
             accuracy 0.9123\n\
             old     stopped  ok               3    3.0  finished          0       0         0     0  \
             -\n\
             \n\
             digits: failing since 2026-11-28T16:03:20Z, 2 attempts in a row: 3 of 4: training \
             diverged\n\n\
             task digits: 3 check-ins were turned away; two devices may have the same token or \
             state file\n\n\
             task lost is set aside: its newest model is damaged\n"
        );
    }
}
