//! The numbers for Prometheus: what is counted and under which names.
//!
//! Each server has a recorder of its own, nothing is global. docs/OPERATIONS.md
//! lists the names. No label has values that a client can make up.

mod described;
mod process;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fedra_http_api::OperatorAction;
use fedra_protocol::{Evaluation, RefusalCode, RoundPhase, TaskId, UpdateFault, UpdateVerdict};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram, with_local_recorder};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use serde::Serialize;

use crate::platform::Process;
use fedra_coordinator::round::{AbandonReason, Progress, Standing};
use fedra_coordinator::status::{InvitationFailure, TaskMetrics};

/// Buckets of durations, seconds.
const SECONDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];
/// Buckets of the time to fold an update, seconds.
const FOLD_SECONDS: [f64; 8] = [0.0001, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 1.0];
/// Samples of distributions after which they are put into their buckets, even
/// without a scrape, because until then each takes memory.
const UPKEEP_EVERY: u32 = 4096;

/// The numbers of a whole server.
pub struct Metrics {
    registry: Registry,
    started: (Instant, SystemTime),
    /// Open TCP connections.
    pub connections: Level,
    /// Most TCP connections at a time.
    pub max_connections: Gauge,
    /// Open WebSocket sessions.
    pub sessions: Level,
    /// Connections turned away at the cap.
    pub connections_refused: Counter,
    /// Bytes of the upload budget in use.
    pub upload_bytes: Gauge,
    /// All bytes of the upload budget.
    pub upload_budget: Gauge,
    /// TLS handshakes that failed.
    pub tls_failures: Counter,
    /// Calls to the admin API without its token.
    pub admin_denied: Counter,
}

/// The numbers of one task.
pub struct TaskMeters {
    registry: Registry,
    task: String,
    /// Bytes received in messages.
    pub received: Counter,
    /// Bytes sent in messages and models.
    pub sent: Counter,
    /// Model downloads.
    pub downloads: Counter,
    invitations: Counter,
    contested: Counter,
    privacy_epsilon: Gauge,
    folded: Counter,
    fold_seconds: Distribution,
    round: Gauge,
    completed: Counter,
    gate_rollbacks: Counter,
    round_seconds: Distribution,
    clients: Gauge,
    cohort: Gauge,
    reported: Gauge,
    left: Gauge,
    failing_attempts: Gauge,
}

/// Reason for the end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionEnd {
    /// The client closed it.
    Closed,
    /// The connection broke.
    Lost,
    /// The client said nothing for too long.
    Idle,
    /// The client did not read what it was sent.
    Slow,
    /// It was refused; `fedra_refusals_total` says why.
    Refused,
    /// Its bytes were not WebSocket.
    Protocol,
    /// A message was too big.
    TooBig,
    /// A later session of the same subject took its place.
    Replaced,
    /// It was not selected, and is to come back later.
    SentAway,
    /// The server stops.
    GoingAway,
}

impl Metrics {
    /// Numbers that start at zero.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        registry.with(|| {
            gauge!("fedra_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
            // A counter that begins with its first event hides it from increase().
            for action in OperatorAction::ALL {
                admin_actions_total(action).absolute(0);
            }
            Self {
                started: (Instant::now(), SystemTime::now()),
                connections: Level::new(gauge!("fedra_connections")),
                max_connections: gauge!("fedra_max_connections"),
                sessions: Level::new(gauge!("fedra_sessions")),
                connections_refused: counter!("fedra_connections_refused_total"),
                upload_bytes: gauge!("fedra_upload_bytes_in_flight"),
                upload_budget: gauge!("fedra_upload_budget_bytes"),
                tls_failures: counter!("fedra_tls_failures_total"),
                admin_denied: counter!("fedra_admin_denied_total"),
                registry: registry.clone(),
            }
        })
    }

    /// All numbers in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.registry.handle.run_upkeep();
        self.registry.handle.render() + &process::render(&Process::now(), self.started.1)
    }

    /// Time since the server started.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.0.elapsed()
    }

    /// The numbers of a task.
    #[must_use]
    pub fn task(&self, task: &TaskId) -> TaskMeters {
        let id = task.to_string();
        let label = || ("task", id.clone());
        let distribution = |histogram| Distribution { registry: self.registry.clone(), histogram };
        self.registry.with(|| {
            for reason in AbandonReason::ALL {
                rounds_total(&id, "abandoned", reason.as_str()).absolute(0);
            }
            for failure in InvitationFailure::ALL {
                invitations_failed_total(&id, failure).absolute(0);
            }
        });
        self.registry.with(|| TaskMeters {
            registry: self.registry.clone(),
            received: counter!("fedra_received_bytes_total", &[label()]),
            sent: counter!("fedra_sent_bytes_total", &[label()]),
            downloads: counter!("fedra_model_downloads_total", &[label()]),
            invitations: counter!("fedra_invitations_total", &[label()]),
            contested: counter!("fedra_contested_check_ins_total", &[label()]),
            privacy_epsilon: gauge!("fedra_privacy_epsilon_spent", &[label()]),
            folded: counter!("fedra_folded_bytes_total", &[label()]),
            fold_seconds: distribution(histogram!("fedra_fold_duration_seconds", &[label()])),
            round: gauge!("fedra_round", &[label()]),
            completed: rounds_total(&id, "completed", ""),
            gate_rollbacks: counter!("fedra_gate_rollbacks_total", &[label()]),
            round_seconds: distribution(histogram!("fedra_round_duration_seconds", &[label()])),
            clients: gauge!("fedra_clients", &[label()]),
            cohort: gauge!("fedra_round_cohort", &[label()]),
            reported: gauge!("fedra_round_reported", &[label()]),
            left: gauge!("fedra_round_left", &[label()]),
            failing_attempts: gauge!("fedra_failing_attempts", &[label()]),
            task: id.clone(),
        })
    }

    /// Records if a task is set aside, because it could not start.
    pub fn set_aside(&self, task: &TaskId, is_set_aside: bool) {
        let gauge = || gauge!("fedra_task_set_aside", "task" => task.to_string());
        self.registry.with(gauge).set(f64::from(u8::from(is_set_aside)));
    }

    /// Counts a session that was refused.
    pub fn refused(&self, code: RefusalCode) {
        let refusals = || counter!("fedra_refusals_total", "code" => label(code));
        self.registry.with(refusals).increment(1);
    }

    /// Counts a session that has ended.
    pub fn session_ended(&self, reason: SessionEnd) {
        let ends = || counter!("fedra_session_ends_total", "reason" => label(reason));
        self.registry.with(ends).increment(1);
    }

    /// Counts a client that was turned away.
    pub fn denied(&self, reason: &'static str) {
        self.registry.with(|| counter!("fedra_denied_total", "reason" => reason)).increment(1);
    }

    /// Counts what an operator did.
    pub fn admin_action(&self, action: OperatorAction) {
        self.registry.with(|| admin_actions_total(action)).increment(1);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl TaskMeters {
    /// Counts the bytes of an update that were folded in this time.
    pub fn folded(&self, bytes: u64, duration: Duration) {
        self.folded.increment(bytes);
        self.fold_seconds.record(duration);
    }

    /// A gauge that is not shown before it has a value.
    /// Sets the gauges of what a model has.
    fn show(&self, measured: &[(&'static str, Option<f64>)]) {
        for &(name, value) in measured {
            if let Some(value) = value {
                self.gauge(name).set(value);
            }
        }
    }

    fn gauge(&self, name: &'static str) -> Gauge {
        self.registry.with(|| gauge!(name, &[("task", self.task.clone())]))
    }
}

impl TaskMetrics for TaskMeters {
    fn phase(&self, phase: RoundPhase, duration: Duration) {
        let labels = [("task", self.task.clone()), ("phase", label(phase))];
        let phases = || histogram!("fedra_round_phase_duration_seconds", &labels);
        let histogram = self.registry.with(phases);
        Distribution { registry: self.registry.clone(), histogram }.record(duration);
    }

    fn progress(&self, progress: &Progress, failing_attempts: u32) {
        self.clients.set(progress.clients as f64);
        self.cohort.set(progress.cohort as f64);
        self.reported.set(progress.reported as f64);
        self.left.set(progress.left as f64);
        self.failing_attempts.set(f64::from(failing_attempts));
    }

    fn invited(&self) {
        self.invitations.increment(1);
    }

    fn invitation_failed(&self, failure: InvitationFailure) {
        let failures = || invitations_failed_total(&self.task, failure);
        self.registry.with(failures).increment(1);
    }

    fn contested(&self) {
        self.contested.increment(1);
    }

    fn judged(&self, verdict: UpdateVerdict) {
        let (verdict, fault) = match verdict {
            UpdateVerdict::Accepted => ("accepted", String::new()),
            UpdateVerdict::Rejected(fault) => ("rejected", label::<UpdateFault>(fault)),
            UpdateVerdict::Discarded(fault) => ("discarded", label(fault)),
        };
        let labels =
            [("task", self.task.clone()), ("verdict", verdict.to_owned()), ("fault", fault)];
        self.registry.with(|| counter!("fedra_updates_total", &labels)).increment(1);
    }

    fn abandoned(&self, reason: AbandonReason) {
        let rounds = || rounds_total(&self.task, "abandoned", reason.as_str());
        self.registry.with(rounds).increment(1);
    }

    fn completed(&self, round: u64, duration: Duration) {
        self.completed.increment(1);
        self.round.set(round as f64);
        self.round_seconds.record(duration);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.gauge("fedra_round_completed_timestamp_seconds").set(now.as_secs_f64());
    }

    fn newest(&self, round: u64) {
        self.round.set(round as f64);
    }

    fn evaluated(&self, evaluation: &Evaluation) {
        let quality = &evaluation.quality;
        let measured = [
            ("fedra_model_loss", Some(quality.loss)),
            ("fedra_model_accuracy", quality.accuracy),
            ("fedra_model_top_5_accuracy", quality.top_5_accuracy),
            ("fedra_model_macro_f1", quality.macro_f1),
            ("fedra_model_auc", quality.auc),
            ("fedra_model_perplexity", quality.perplexity),
            ("fedra_model_bits_per_token", quality.bits_per_token),
            ("fedra_model_mae", quality.mae),
            ("fedra_model_rmse", quality.rmse),
            ("fedra_model_r2", quality.r2),
        ];
        self.show(&measured);
    }

    fn evaluated_by_clients(&self, evaluation: &Evaluation) {
        let quality = &evaluation.quality;
        let measured = [
            ("fedra_model_client_loss", Some(quality.loss)),
            ("fedra_model_client_accuracy", quality.accuracy),
            ("fedra_model_client_bits_per_token", quality.bits_per_token),
            ("fedra_model_client_rmse", quality.rmse),
        ];
        self.show(&measured);
    }

    fn standing(&self, standing: Standing) {
        for other in [Standing::Running, Standing::Paused, Standing::Stopped] {
            let (task, name) = (self.task.clone(), label(other));
            let standings = || gauge!("fedra_task_standing", "task" => task, "standing" => name);
            self.registry.with(standings).set(f64::from(u8::from(other == standing)));
        }
    }

    fn refused(&self) {
        self.gate_rollbacks.increment(1);
    }

    fn spent(&self, epsilon: f64) {
        self.privacy_epsilon.set(epsilon);
    }
}

/// A gauge that the server itself reads too.
#[derive(Debug)]
pub struct Level {
    gauge: Gauge,
    count: AtomicI64,
}

impl Level {
    fn new(gauge: Gauge) -> Self {
        Self { gauge, count: AtomicI64::new(0) }
    }

    /// One more.
    pub fn up(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.gauge.increment(1.0);
    }

    /// One less.
    pub fn down(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.gauge.decrement(1.0);
    }

    /// The current number.
    #[must_use]
    pub fn count(&self) -> u64 {
        u64::try_from(self.count.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

/// The registry of all numbers, shared by all that count.
#[derive(Clone)]
struct Registry {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    /// Samples of distributions since the last upkeep.
    samples: Arc<AtomicU32>,
}

impl Registry {
    fn new() -> Self {
        let constant = "the list of buckets is a constant and not empty";
        let fold = Matcher::Full("fedra_fold_duration_seconds".to_owned());
        let recorder = PrometheusBuilder::new()
            .set_buckets(&SECONDS)
            .expect(constant)
            .set_buckets_for_metric(fold, &FOLD_SECONDS)
            .expect(constant)
            .build_recorder();
        with_local_recorder(&recorder, described::describe);
        let handle = recorder.handle();
        Self { recorder: Arc::new(recorder), handle, samples: Arc::default() }
    }

    /// Runs with this registry's recorder in place.
    fn with<T>(&self, register: impl FnOnce() -> T) -> T {
        with_local_recorder(self.recorder.as_ref(), register)
    }
}

/// A histogram whose samples do not pile up between scrapes.
#[derive(Clone)]
struct Distribution {
    registry: Registry,
    histogram: Histogram,
}

impl Distribution {
    fn record(&self, duration: Duration) {
        self.histogram.record(duration.as_secs_f64());
        let samples = self.registry.samples.fetch_add(1, Ordering::Relaxed) + 1;
        if samples.is_multiple_of(UPKEEP_EVERY) {
            self.registry.handle.run_upkeep();
        }
    }
}

fn admin_actions_total(action: OperatorAction) -> Counter {
    counter!("fedra_admin_actions_total", "action" => action.name())
}

fn rounds_total(task: &str, outcome: &'static str, reason: &'static str) -> Counter {
    let task = task.to_owned();
    counter!("fedra_rounds_total", "task" => task, "outcome" => outcome, "reason" => reason)
}

fn invitations_failed_total(task: &str, failure: InvitationFailure) -> Counter {
    let labels = [
        ("task", task.to_owned()),
        ("kind", label(failure.kind())),
        ("cause", failure.cause().map(label).unwrap_or_default()),
    ];
    counter!("fedra_invitations_failed_total", &labels)
}

/// The name under which an enum goes into JSON.
fn label<T: Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}
