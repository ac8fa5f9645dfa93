//! `/v1/tasks` and `/v1/tasks/{id}`: tasks in short, and one with its rounds.

use std::collections::BTreeSet;
use std::sync::Arc;

use fedra_coordinator::round::Standing;
use fedra_coordinator::settings::Counting;
use fedra_coordinator::status::TaskView;
use fedra_coordinator::storage::{self, LossSource, RoundRecord, refused_rounds};
use fedra_http_api::{
    ClassMetrics, Classes, Cohort, FrozenPart, Gate, GateRefusal, Headline, Metrics, Model, Phase,
    Policy, Privacy, Quality, Round, Task as TaskDocument, TaskState, TaskSummary,
};
use fedra_learning::metrics::ConfusionMatrix;
use fedra_protocol::{DataSpec, Mechanism, ModelSpec, RoundPhase, Shape, TaskId};
use http::StatusCode;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use super::problem::{not_found, problem, unavailable};
use super::query;
use super::reading::read;
use super::{health, uncached};
use crate::server::Server;
use crate::task::Task;

pub(super) fn routes(server: &Arc<Server>) -> BoxedFilter<(Response,)> {
    let all = {
        let server = Arc::clone(server);
        warp::path!("v1" / "tasks").and(read()).map(move || list(&server))
    };
    let server = Arc::clone(server);
    let one = warp::path!("v1" / "tasks" / String)
        .and(read())
        .and(query::raw())
        .map(move |id: String, query: String| show(&server, id, &query));
    all.or(one).unify().boxed()
}

fn list(server: &Server) -> Response {
    let tasks = server.tasks();
    let tasks: Vec<_> =
        tasks.iter().map(|task| summary(task, &task.view.borrow().clone(), "")).collect();
    uncached(warp::reply::json(&tasks).into_response())
}

fn show(server: &Server, id: String, query: &str) -> Response {
    let id = TaskId::new(id).ok();
    let Some(task) = id.as_ref().and_then(|id| server.task(id)) else {
        if id.is_some_and(|id| server.set_aside.reason(&id).is_some()) {
            return unavailable("the server could not start this task; /readyz says why");
        }
        return not_found("there is no task of this name");
    };
    let rounds = match query::number(query, "rounds") {
        Ok(rounds) => rounds,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let view = task.view.borrow().clone();
    let document = TaskDocument {
        summary: summary(&task, &view, "../"),
        classes: view.confusion.as_deref().map(classes),
        history: {
            let refused = refused_rounds(view.history.iter());
            last_rounds(&view, rounds).map(|record| round(record, &refused)).collect()
        },
    };
    uncached(warp::reply::json(&document).into_response())
}

/// The task in short, for a document from which `up` leads to `/v1/`.
pub(super) fn summary(task: &Task, view: &TaskView, up: &str) -> TaskSummary {
    let status = view.status(&task.settings, task.now());
    let spec = &task.settings.model;
    TaskSummary {
        id: task.settings.id.to_string(),
        title: task.settings.title.clone(),
        state: state(view),
        health: health::health(task, view),
        round: view.model.round,
        rounds_total: task.settings.plan.rounds,
        round_under_way: status.round.round,
        attempt: status.round.attempt,
        phase: phase(status.phase),
        cohort: Cohort {
            invited: status.cohort,
            reported: status.reported,
            left: status.left,
            report_goal: status.report_goal,
        },
        seconds_left: status.deadline.map(|left| left.as_secs_f64()),
        clients_connected: view.progress.clients as u64,
        model: Model {
            sha256: view.model.sha256.to_string(),
            url: format!("{up}{}", view.model.url),
            bytes: view.model.bytes,
            parameters: spec.parameters() as u64,
            round: view.model.round,
            frozen: task.settings.frozen.as_ref().map(|frozen| FrozenPart {
                sha256: frozen.sha256.to_string(),
                url: format!("{up}{}", frozen.url),
                bytes: frozen.bytes,
                parameters: spec.frozen_parameters() as u64,
            }),
            input: spec.input().dims(),
            vocabulary: vocabulary(spec),
            output: spec.output().dims(),
            loss: spec.loss().name().to_owned(),
        },
        data: task.settings.data.as_ref().map(description),
        evaluated: task.evaluated,
        headline: headline(spec),
        latest: view.evaluation.map(|evaluation| Quality {
            round: evaluation.round,
            metrics: metrics(&evaluation.quality),
        }),
        latest_by_clients: view.client_evaluation.map(|evaluation| Quality {
            round: evaluation.round,
            metrics: metrics(&evaluation.quality),
        }),
        privacy: privacy(task, view),
        gate: task.settings.gate.map(|gate| self::gate(&gate, view)),
    }
}

/// The gate, with its last refusal of the rounds that are remembered.
fn gate(gate: &storage::Gate, view: &TaskView) -> Gate {
    let refusal = |record: &RoundRecord| {
        let storage::GateRefusal { round, loss, limit, in_a_row } = record.refusal?;
        Some(GateRefusal { round, loss, limit, in_a_row, to: record.restored? })
    };
    Gate {
        by_clients: gate.source == LossSource::Clients,
        loss_increase: gate.loss_increase,
        loss_limit: gate.loss_limit,
        rollbacks: gate.rollbacks,
        last: view.history.iter().rev().find_map(refusal),
    }
}

/// A description of data in the form of `[task.data]`.
pub(super) fn description(spec: &DataSpec) -> serde_json::Value {
    serde_json::to_value(spec).unwrap_or_default()
}

/// The number of tokens of a model that takes token ids.
pub(super) fn vocabulary(model: &ModelSpec) -> Option<u32> {
    match model.input() {
        Shape::Tokens { vocabulary, .. } => Some(vocabulary),
        _ => None,
    }
}

/// The last `rounds` completed rounds of those that are remembered, oldest first.
pub(super) fn last_rounds(
    view: &TaskView,
    rounds: Option<u64>,
) -> impl Iterator<Item = &RoundRecord> {
    let completed = view.history.iter().filter(|record| record.round > 0);
    let most = rounds.and_then(|rounds| usize::try_from(rounds).ok()).unwrap_or(usize::MAX);
    let skipped = completed.clone().count().saturating_sub(most);
    completed.skip(skipped)
}

/// A completed round as every visitor sees it. `refused` are those that a gate has refused.
pub(super) fn round(record: &RoundRecord, refused: &BTreeSet<u64>) -> Round {
    Round {
        round: record.round,
        metrics: record.quality.as_ref().map(metrics).unwrap_or_default(),
        by_clients: record.client_quality.as_ref().map(metrics),
        reports: record.reports,
        seconds: record.seconds,
        bytes_up: record.bytes_up,
        bytes_down: record.bytes_down,
        refused: refused.contains(&record.round),
    }
}

/// The operator's last word, unless the task has ended by itself.
fn state(view: &TaskView) -> TaskState {
    match view.standing {
        Standing::Running | Standing::Paused if view.progress.phase == RoundPhase::Finished => {
            TaskState::Finished
        }
        standing => operated(standing),
    }
}

/// The operator's last word.
pub(super) fn operated(standing: Standing) -> TaskState {
    match standing {
        Standing::Running => TaskState::Running,
        Standing::Paused => TaskState::Paused,
        Standing::Stopped => TaskState::Stopped,
    }
}

fn phase(phase: RoundPhase) -> Phase {
    match phase {
        RoundPhase::Selecting => Phase::Selecting,
        RoundPhase::Collecting => Phase::Collecting,
        RoundPhase::Sharing => Phase::Sharing,
        RoundPhase::Masking => Phase::Masking,
        RoundPhase::Unmasking => Phase::Unmasking,
        RoundPhase::Finalizing => Phase::Finalizing,
        RoundPhase::Finished => Phase::Finished,
        RoundPhase::Paused => Phase::Paused,
    }
}

fn privacy(task: &Task, view: &TaskView) -> Option<Privacy> {
    let (config, spent) = (task.settings.privacy.as_ref()?, view.privacy?);
    let policy = config.derived.policy();
    Some(Privacy {
        policy: match policy.mechanism {
            Mechanism::Distributed => Policy::Distributed,
            Mechanism::Local => Policy::Local,
            Mechanism::Central { .. } => Policy::Central,
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
        subjects: spent.subjects as u64,
    })
}

/// The metric that a person is shown first.
pub(super) fn headline(model: &ModelSpec) -> Headline {
    match model.headline() {
        fedra_protocol::Headline::Accuracy => Headline::Accuracy,
        fedra_protocol::Headline::BitsPerToken => Headline::BitsPerToken,
        fedra_protocol::Headline::Rmse => Headline::Rmse,
    }
}

/// The metrics of a model that was evaluated.
pub(super) fn metrics(quality: &fedra_protocol::Quality) -> Metrics {
    Metrics {
        accuracy: quality.accuracy,
        loss: finite(quality.loss),
        top_5_accuracy: quality.top_5_accuracy,
        macro_f1: quality.macro_f1,
        auc: quality.auc,
        perplexity: quality.perplexity,
        bits_per_token: quality.bits_per_token,
        mae: quality.mae,
        rmse: quality.rmse,
        r2: quality.r2,
    }
}

/// The matrix, and what follows of it for each class.
pub(super) fn classes(matrix: &ConfusionMatrix) -> Classes {
    let metrics = (0..matrix.classes()).map(|class| ClassMetrics {
        examples: matrix.examples(class),
        recall: matrix.recall(class),
        precision: matrix.precision(class),
    });
    Classes { metrics: metrics.collect(), confusion: matrix.rows().map(<[u64]>::to_vec).collect() }
}

/// JSON has no other numbers.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
