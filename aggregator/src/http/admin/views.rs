//! Operators' views of the server and its tasks.

use std::collections::BTreeSet;
use std::sync::Arc;

use fedra_coordinator::status::TaskView;
use fedra_coordinator::storage::{self, RoundRecord, refused_rounds};
use fedra_http_api::{
    Decision, OperatedRound, OperatedSummary, OperatedTask, OperatorAction, ServerStatus,
};
use http::StatusCode;
use warp::reply::Response;

use super::actions::{self, Stored};
use super::error::AdminError;
use super::json_response;
use crate::http::tasks;
use crate::platform::Process;
use crate::server::Server;
use crate::task::Task;

/// The server, and its tasks in short.
pub(super) fn status(server: &Server) -> Result<Response, AdminError> {
    let tasks = server.tasks();
    let tasks = tasks.iter().map(|task| summary(task, &task.view.borrow().clone(), "../"));
    let status = ServerStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        draining: server.is_draining(),
        uptime_seconds: server.metrics.uptime().as_secs_f64(),
        memory_bytes: Process::now().resident_bytes,
        connections: server.metrics.connections.count(),
        sessions: server.metrics.sessions.count(),
        upload_bytes_in_flight: server.budget_used(),
        upload_budget_bytes: server.config.upload_budget,
        tasks: tasks.collect(),
        set_aside: server.set_aside.list(),
    };
    Ok(json_response(StatusCode::OK, &status))
}

/// One task with its last `rounds` rounds.
pub(super) async fn task(
    server: &Server,
    task: &Arc<Task>,
    rounds: Option<u64>,
) -> Result<Response, AdminError> {
    let Stored { checkpoints, decisions } = actions::stored(server, task).await?;
    let view = task.view.borrow().clone();
    let whole = OperatedTask {
        summary: summary(task, &view, "../../"),
        classes: view.confusion.as_deref().map(tasks::classes),
        history: {
            let refused = refused_rounds(view.history.iter());
            tasks::last_rounds(&view, rounds).map(|record| round(record, &refused)).collect()
        },
        checkpoints,
        decisions: decisions.iter().map(decision).collect(),
        config: task.summary.clone(),
    };
    Ok(json_response(StatusCode::OK, &whole))
}

fn summary(task: &Task, view: &TaskView, up: &str) -> OperatedSummary {
    OperatedSummary {
        summary: tasks::summary(task, view, up),
        contested: task.counters.contested(),
        weight: view.progress.weight,
    }
}

fn round(record: &RoundRecord, refused: &BTreeSet<u64>) -> OperatedRound {
    let RoundRecord { attempt, cohort, weight, restored, .. } = *record;
    OperatedRound { round: tasks::round(record, refused), attempt, cohort, weight, restored }
}

fn decision(decision: &storage::Decision) -> Decision {
    use storage::OperatorAction as Stored;
    let action = match decision.action {
        Stored::Create => OperatorAction::Create,
        Stored::Pause | Stored::PauseByGate { .. } => OperatorAction::Pause,
        Stored::Resume => OperatorAction::Resume,
        Stored::Stop => OperatorAction::Stop,
        Stored::RollBack { .. } => OperatorAction::RollBack,
    };
    let (to, round, refused) = match decision.action {
        Stored::RollBack { to, round } => (Some(to), Some(round), None),
        Stored::PauseByGate { refused } => (None, None, Some(refused)),
        _ => (None, None, None),
    };
    Decision { unix_seconds: decision.unix_seconds, action, to, round, refused }
}
