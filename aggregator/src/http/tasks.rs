//! `/v1/tasks` and `/v1/tasks/{id}`: where tasks stand, as JSON. Addresses in a
//! document are relative to the document's own.

use std::sync::Arc;

use fedra_protocol::{Mechanism, RoundPhase, Sha256Hash, TaskId};
use serde::Serialize;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use super::health::HealthJson;
use super::problem::{not_found, unavailable};
use super::reading::read;
use super::uncached;
use crate::server::Server;
use fedra_coordinator::settings::Counting;
use fedra_coordinator::status::TaskView;

use crate::task::Task;

/// Public view of a task.
#[derive(Serialize)]
pub(super) struct TaskJson<'a> {
    id: &'a TaskId,
    title: &'a str,
    state: &'static str,
    health: HealthJson,
    /// Completed rounds.
    round: u64,
    phase: RoundPhase,
    /// Attempt of the current round.
    attempt: u32,
    cohort: CohortJson,
    /// Time until the phase ends at the latest, if it has a deadline.
    seconds_left: Option<f64>,
    clients_connected: usize,
    model: ModelJson,
    latest: Option<LatestJson>,
    history: Vec<RoundJson>,
    rounds_total: Option<u64>,
    privacy: Option<PrivacyJson>,
}

/// Numbers of clients in the current round. Its clients are told all of them as
/// well.
#[derive(Serialize)]
struct CohortJson {
    invited: u32,
    reported: u32,
    /// Invited, but left, declined or was refused.
    left: u32,
    report_goal: u32,
}

/// The policy, and what has been spent of its budget.
#[derive(Serialize)]
struct PrivacyJson {
    policy: &'static str,
    epsilon: f64,
    delta: f64,
    /// Epsilon of the subject that has spent most.
    spent_epsilon: f64,
    /// Epsilon of one participation alone.
    round_epsilon: f64,
    noise_multiplier: f64,
    /// Clipping norm of the next round.
    clipping_norm: f64,
    target_quantile: Option<f64>,
    minimum_survivors: u32,
    colluders: u32,
    max_participations: u32,
    /// True if each subject's participations are counted, false if rounds are.
    counts_subjects: bool,
    debits: u32,
    subjects: usize,
}

#[derive(Serialize)]
struct ModelJson {
    sha256: Sha256Hash,
    /// Relative to the document that it is in.
    url: String,
    bytes: u64,
    parameters: usize,
    round: u64,
}

#[derive(Serialize)]
struct LatestJson {
    round: u64,
    accuracy: Option<f64>,
    loss: f64,
}

#[derive(Serialize)]
struct RoundJson {
    round: u64,
    accuracy: Option<f64>,
    loss: Option<f64>,
    reports: u32,
    seconds: f64,
    bytes_up: u64,
    bytes_down: u64,
}

pub(super) fn routes(server: &Arc<Server>) -> BoxedFilter<(Response,)> {
    let all = {
        let server = Arc::clone(server);
        warp::path!("v1" / "tasks").and(read()).map(move || list(&server))
    };
    let server = Arc::clone(server);
    let one =
        warp::path!("v1" / "tasks" / String).and(read()).map(move |id: String| show(&server, id));
    all.or(one).unify().boxed()
}

fn list(server: &Server) -> Response {
    let tasks = server.tasks();
    let views: Vec<_> = tasks.iter().map(|task| (task, task.view.borrow().clone())).collect();
    let json: Vec<_> = views.iter().map(|(task, view)| json(task, view, "")).collect();
    uncached(warp::reply::json(&json).into_response())
}

fn show(server: &Server, id: String) -> Response {
    let id = TaskId::new(id).ok();
    let Some(task) = id.as_ref().and_then(|id| server.task(id)) else {
        if id.is_some_and(|id| server.set_aside.reason(&id).is_some()) {
            return unavailable("the server could not start this task; /readyz says why");
        }
        return not_found("there is no task of this name");
    };
    let view = task.view.borrow().clone();
    uncached(warp::reply::json(&json(&task, &view, "../")).into_response())
}

/// The task, for a document from which `up` leads to `/v1/`.
pub(super) fn json<'a>(task: &'a Task, view: &'a TaskView, up: &str) -> TaskJson<'a> {
    let finished = view.progress.phase == RoundPhase::Finished;
    let history = view.history.iter().filter(|record| record.round > 0);
    let status = view.status(&task.settings, task.now());
    TaskJson {
        id: &task.settings.id,
        title: &task.settings.title,
        state: if finished { "finished" } else { "running" },
        health: HealthJson::new(task, view),
        round: view.model.round,
        phase: view.progress.phase,
        attempt: status.round.attempt,
        cohort: CohortJson {
            invited: status.cohort,
            reported: status.reported,
            left: status.left,
            report_goal: status.report_goal,
        },
        seconds_left: status.deadline.map(|left| left.as_secs_f64()),
        clients_connected: view.progress.clients,
        model: ModelJson {
            sha256: view.model.sha256,
            url: format!("{up}{}", view.model.url),
            bytes: view.model.bytes,
            parameters: task.settings.model.parameters(),
            round: view.model.round,
        },
        latest: view.evaluation.map(|evaluation| LatestJson {
            round: evaluation.round,
            accuracy: evaluation.accuracy,
            loss: evaluation.loss,
        }),
        history: history
            .map(|record| RoundJson {
                round: record.round,
                accuracy: record.quality.and_then(|quality| quality.accuracy),
                loss: record.quality.map(|quality| quality.loss),
                reports: record.reports,
                seconds: record.seconds,
                bytes_up: record.bytes_up,
                bytes_down: record.bytes_down,
            })
            .collect(),
        rounds_total: task.settings.plan.rounds,
        privacy: privacy(task, view),
    }
}

fn privacy(task: &Task, view: &TaskView) -> Option<PrivacyJson> {
    let (config, spent) = (task.settings.privacy.as_ref()?, view.privacy?);
    let policy = config.derived.policy();
    Some(PrivacyJson {
        policy: match policy.mechanism {
            Mechanism::Distributed => "distributed",
            Mechanism::Local => "local",
            Mechanism::Central { .. } => "central",
        },
        epsilon: policy.epsilon,
        delta: policy.delta,
        spent_epsilon: spent.epsilon,
        round_epsilon: config.derived.epsilon_after(1),
        noise_multiplier: policy.noise_multiplier,
        clipping_norm: spent.clipping_norm,
        target_quantile: policy.target_quantile,
        minimum_survivors: policy.minimum_survivors,
        colluders: policy.colluders,
        max_participations: policy.max_participations,
        counts_subjects: config.counting == Counting::Subjects,
        debits: spent.debits,
        subjects: spent.subjects,
    })
}
