//! Published state of a task: its view for sessions and operators, its health, and
//! what is measured of it.

mod failure;
mod steps;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fedra_learning::metrics::ConfusionMatrix;
use fedra_protocol::{Evaluation, ModelRef, RoundPhase, TaskStatus, UpdateVerdict};
use serde::Serialize;

pub use self::failure::{FailureCause, Failures, InvitationFailure};
pub use self::steps::steps_to_newest;
use crate::round::{AbandonReason, Progress, Standing, Time};
use crate::settings::TaskSettings;
use crate::storage::{ControlRecord, RoundRecord};

/// Completed rounds that a task remembers in memory and shows over HTTP.
pub const HISTORY: usize = 1_000;

/// State of a task, as its core publishes it.
#[derive(Debug, Clone)]
pub struct TaskView {
    /// Progress of the round under way.
    pub progress: Progress,
    /// The operator's last word.
    pub standing: Standing,
    /// Health of the task.
    pub health: Health,
    /// The newest global model.
    pub model: ModelRef,
    /// The newest evaluation there is, of this model or an earlier one.
    pub evaluation: Option<Evaluation>,
    /// Matrix of that model's classes, if it has one. It is not stored: after a start and a
    /// roll-back it comes with the next evaluation.
    pub confusion: Option<Arc<ConfusionMatrix>>,
    /// The newest evaluation by the clients, of this model or an earlier one.
    pub client_evaluation: Option<Evaluation>,
    /// Spent privacy budget, if there is a budget.
    pub privacy: Option<Spent>,
    /// The last completed rounds, oldest first; the initial model is round 0.
    pub history: Arc<VecDeque<RoundRecord>>,
}

impl TaskView {
    /// Status for a message that is sent at `now`.
    #[must_use]
    pub fn status(&self, settings: &TaskSettings, now: Time) -> TaskStatus {
        let Progress { round, phase, clients, cohort, reported, left, .. } = self.progress;
        TaskStatus {
            round,
            phase,
            clients_connected: narrow(clients),
            cohort: narrow(cohort),
            reported: narrow(reported),
            left: narrow(left),
            report_goal: narrow(settings.plan.report_goal.min(cohort.max(1))),
            deadline: self.progress.deadline.map(|at| now.until(at)),
            model: self.model.clone(),
            evaluation: self.evaluation,
            client_evaluation: self.client_evaluation,
            rounds_total: settings.plan.rounds,
            privacy_spent_epsilon: self.privacy.map(|spent| spent.epsilon),
        }
    }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Reference to the model of a record, as clients are told of it.
#[must_use]
pub fn model_ref(record: &RoundRecord) -> ModelRef {
    ModelRef {
        round: record.round,
        sha256: record.sha256,
        url: format!("models/{}", record.sha256),
        bytes: record.model_bytes,
    }
}

/// Reference to the server's control variate of a record, as clients are told of it: its round
/// is the first that it is made of.
#[must_use]
pub fn control_ref(record: &RoundRecord) -> Option<ModelRef> {
    let ControlRecord { sha256, since } = record.control?;
    let url = format!("models/{sha256}");
    Some(ModelRef { round: since, sha256, url, bytes: record.model_bytes })
}

/// Spent privacy budget of a task, from its ledger.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spent {
    /// Epsilon of the subject that has spent most.
    pub epsilon: f64,
    /// Participations of that subject.
    pub participations: u32,
    /// Entries of the ledger.
    pub debits: u32,
    /// Subjects in them.
    pub subjects: usize,
    /// Clipping norm of the next round.
    pub clipping_norm: f64,
}

/// State of a task's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthState {
    /// Rounds are made, or none is due.
    #[default]
    Ok,
    /// Too few clients are there.
    Waiting,
    /// Attempts come to nothing.
    Failing,
}

/// Health of a task, with the reason for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// The state.
    pub state: HealthState,
    /// Time at which the state began; of a failing task the end of the first attempt
    /// that came to nothing.
    pub since: Time,
    /// Attempts in a row that came to nothing; 0 unless the task is failing.
    pub attempts: u32,
    /// One sentence, without a capital and a full stop.
    pub reason: Option<String>,
    /// All failures of this run.
    pub failures: Failures,
}

/// Counters of a task that its sessions and its core share.
#[derive(Debug, Default)]
pub struct Counters {
    up: AtomicU64,
    down: AtomicU64,
    contested: AtomicU64,
}

impl Counters {
    /// Adds bytes of a message from a client.
    pub fn received(&self, bytes: usize) {
        self.up.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Adds bytes of a message or a model for a client.
    pub fn sent(&self, bytes: usize) {
        self.down.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes up and down since the last call.
    #[must_use]
    pub fn take_traffic(&self) -> (u64, u64) {
        (self.up.swap(0, Ordering::Relaxed), self.down.swap(0, Ordering::Relaxed))
    }

    /// Adds the bytes of a round that did not complete again.
    pub fn give_back(&self, (up, down): (u64, u64)) {
        self.up.fetch_add(up, Ordering::Relaxed);
        self.down.fetch_add(down, Ordering::Relaxed);
    }

    /// Adds a check-in that was turned away because connections of its subject
    /// replace each other too often.
    pub fn contest(&self) {
        self.contested.fetch_add(1, Ordering::Relaxed);
    }

    /// Check-ins that were turned away so.
    #[must_use]
    pub fn contested(&self) -> u64 {
        self.contested.load(Ordering::Relaxed)
    }
}

/// Receiver of what is measured of one task.
pub trait TaskMetrics: Send + Sync {
    /// A phase has ended after this time.
    fn phase(&self, phase: RoundPhase, duration: Duration);
    /// The progress and the failing attempts in a row, as they are published.
    fn progress(&self, progress: &Progress, failing_attempts: u32);
    /// A client is invited.
    fn invited(&self);
    /// An invitation has come to nothing.
    fn invitation_failed(&self, failure: InvitationFailure);
    /// A check-in is turned away: connections of its subject replace each other.
    fn contested(&self);
    /// An update has its verdict.
    fn judged(&self, verdict: UpdateVerdict);
    /// An attempt is abandoned.
    fn abandoned(&self, reason: AbandonReason);
    /// A round is complete, this long after its invitation.
    fn completed(&self, round: u64, duration: Duration);
    /// The newest model is that of this round.
    fn newest(&self, round: u64);
    /// A model is evaluated on the server's held-out examples.
    fn evaluated(&self, evaluation: &Evaluation);
    /// A model is evaluated by the clients.
    fn evaluated_by_clients(&self, evaluation: &Evaluation);
    /// The operator's last decision holds.
    fn standing(&self, standing: Standing);
    /// The task's gate has refused a model, and the earlier one is in its place.
    fn refused(&self);
    /// The privacy budget has been spent up to this epsilon.
    fn spent(&self, epsilon: f64);
}

/// Metrics that are not kept, for simulations and tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMetrics;

impl TaskMetrics for NoMetrics {
    fn phase(&self, _: RoundPhase, _: Duration) {}
    fn progress(&self, _: &Progress, _: u32) {}
    fn invited(&self) {}
    fn invitation_failed(&self, _: InvitationFailure) {}
    fn contested(&self) {}
    fn judged(&self, _: UpdateVerdict) {}
    fn abandoned(&self, _: AbandonReason) {}
    fn completed(&self, _: u64, _: Duration) {}
    fn newest(&self, _: u64) {}
    fn evaluated(&self, _: &Evaluation) {}
    fn evaluated_by_clients(&self, _: &Evaluation) {}
    fn standing(&self, _: Standing) {}
    fn refused(&self) {}
    fn spent(&self, _: f64) {}
}
