//! Operators' views of the server and its tasks, as JSON.

use std::sync::Arc;

use fedra_protocol::{RoundPhase, TaskId};
use http::StatusCode;
use serde::Serialize;
use warp::reply::Response;

use super::actions::{self, Stored};
use super::error::AdminError;
use super::json_response;
use crate::http::health::HealthJson;
use crate::http::tasks::{TaskJson, json};
use crate::platform::Process;
use crate::server::Server;
use crate::set_aside::SetAsideTask;
use fedra_coordinator::round::Standing;
use fedra_coordinator::status::TaskView;
use fedra_coordinator::storage::{Decision, RoundRecord};

use crate::task::Task;

/// Completed rounds whose cohorts are shown.
const ROUNDS: usize = 100;

#[derive(Serialize)]
struct StatusJson<'a> {
    version: &'static str,
    /// The server is about to stop.
    draining: bool,
    uptime_seconds: f64,
    /// Null where the system does not tell.
    memory_bytes: Option<u64>,
    connections: u64,
    sessions: u64,
    upload_bytes_in_flight: u64,
    upload_budget_bytes: u64,
    tasks: Vec<LineJson<'a>>,
    /// Tasks that could not start.
    set_aside: Vec<SetAsideTask>,
}

/// A task in a line.
#[derive(Serialize)]
struct LineJson<'a> {
    id: &'a TaskId,
    title: &'a str,
    standing: Standing,
    health: HealthJson,
    /// Completed rounds.
    completed: u64,
    /// Check-ins turned away since the start, because connections of their subject
    /// replace each other too often.
    contested: u64,
    #[serde(flatten)]
    current: CurrentJson,
}

/// The round under way, and its cohort.
#[derive(Serialize)]
struct CurrentJson {
    round: u64,
    attempt: u32,
    phase: RoundPhase,
    clients: usize,
    cohort: usize,
    reported: usize,
    left: usize,
    weight: u64,
    /// Time until the phase ends at the latest.
    deadline_seconds: Option<f64>,
}

impl CurrentJson {
    fn new(task: &Task, view: &TaskView) -> Self {
        let progress = &view.progress;
        Self {
            round: progress.round.round,
            attempt: progress.round.attempt,
            phase: progress.phase,
            clients: progress.clients,
            cohort: progress.cohort,
            reported: progress.reported,
            left: progress.left,
            weight: progress.weight,
            deadline_seconds: progress.deadline.map(|at| task.now().until(at).as_secs_f64()),
        }
    }
}

/// The server and a line for each task.
pub(super) async fn status(server: &Server) -> Result<Response, AdminError> {
    let tasks = server.tasks();
    let standings = actions::standings(server, &tasks).await?;
    let lines = tasks.iter().zip(standings).map(|(task, standing)| {
        let view = task.view.borrow();
        LineJson {
            id: &task.settings.id,
            title: &task.settings.title,
            standing,
            health: HealthJson::new(task, &view),
            completed: view.model.round,
            contested: task.counters.contested(),
            current: CurrentJson::new(task, &view),
        }
    });
    let status = StatusJson {
        version: env!("CARGO_PKG_VERSION"),
        draining: server.is_draining(),
        uptime_seconds: server.metrics.uptime().as_secs_f64(),
        memory_bytes: Process::now().resident_bytes,
        connections: server.metrics.connections.count(),
        sessions: server.metrics.sessions.count(),
        upload_bytes_in_flight: server.budget_used(),
        upload_budget_bytes: server.config.upload_budget,
        tasks: lines.collect(),
        set_aside: server.set_aside.list(),
    };
    Ok(json_response(StatusCode::OK, &status))
}

/// A task with what only operators see.
#[derive(Serialize)]
struct WholeJson<'a> {
    #[serde(flatten)]
    public: TaskJson<'a>,
    standing: Standing,
    current: CurrentJson,
    rounds: Vec<CohortJson>,
    /// Rounds whose model is kept, oldest first.
    checkpoints: Vec<u64>,
    /// Oldest first.
    decisions: Vec<Decision>,
    /// A few lines for a person.
    config: String,
}

/// Outcome of a completed round's cohort.
#[derive(Serialize)]
struct CohortJson {
    round: u64,
    attempt: u32,
    cohort: u32,
    reports: u32,
    weight: u64,
    seconds: f64,
    /// The round whose model it is, if an operator went back to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    restored: Option<u64>,
}

impl From<&RoundRecord> for CohortJson {
    fn from(record: &RoundRecord) -> Self {
        let RoundRecord { round, attempt, cohort, reports, weight, seconds, restored, .. } =
            *record;
        Self { round, attempt, cohort, reports, weight, seconds, restored }
    }
}

/// One task, whole.
pub(super) async fn task(server: &Server, task: &Arc<Task>) -> Result<Response, AdminError> {
    let Stored { standing, checkpoints, decisions } = actions::stored(server, task).await?;
    let view = task.view.borrow().clone();
    let rounds = view.history.iter().filter(|record| record.round > 0);
    let skip = rounds.clone().count().saturating_sub(ROUNDS);
    let whole = WholeJson {
        public: json(task, &view, "../../"),
        standing,
        current: CurrentJson::new(task, &view),
        rounds: rounds.skip(skip).map(CohortJson::from).collect(),
        checkpoints,
        decisions,
        config: task.summary.clone(),
    };
    Ok(json_response(StatusCode::OK, &whole))
}
