//! The numbers for Prometheus: what is counted and under which names.
//!
//! Each server has a recorder of its own, nothing is global. docs/OPERATIONS.md
//! lists the names.

use fedra_protocol::{RefusalCode, TaskId, UpdateFault, UpdateVerdict};
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram, with_local_recorder,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use serde::Serialize;

use crate::round::AbandonReason;

/// Buckets of durations, seconds.
const SECONDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];

/// The numbers of a whole server.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// Open TCP connections.
    pub connections: Gauge,
    /// Connections turned away at the cap.
    pub connections_refused: Counter,
    /// Bytes of the upload budget in use.
    pub upload_bytes: Gauge,
    /// TLS handshakes that failed.
    pub tls_failures: Counter,
}

/// The numbers of one task.
#[derive(Clone)]
pub struct TaskMetrics {
    task: String,
    /// Clients checked in.
    pub clients: Gauge,
    /// Bytes received in messages.
    pub received: Counter,
    /// Bytes sent in messages and models.
    pub sent: Counter,
    /// Model downloads.
    pub downloads: Counter,
    /// The last completed round.
    pub round: Gauge,
    /// Rounds completed in this run.
    pub completed: Counter,
    /// From the invitation to the durable model.
    pub round_seconds: Histogram,
    /// Bytes folded, and the time it took.
    pub folded: Counter,
    /// Seconds spent folding.
    pub fold_seconds: Gauge,
    /// Held-out accuracy of the newest evaluated model.
    pub accuracy: Gauge,
    /// Its loss.
    pub loss: Gauge,
    /// Epsilon of the subject that has spent most of the privacy budget.
    pub privacy_epsilon: Gauge,
}

impl Metrics {
    /// Numbers that start at zero.
    ///
    /// # Panics
    ///
    /// Never: the buckets are a constant and not empty.
    #[must_use]
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&SECONDS)
            .expect("the list of buckets is not empty")
            .build_recorder();
        let handle = recorder.handle();
        let (connections, connections_refused, upload_bytes, tls_failures) =
            with_local_recorder(&recorder, || {
                describe();
                (
                    gauge!("fedra_connections"),
                    counter!("fedra_connections_refused_total"),
                    gauge!("fedra_upload_bytes_in_flight"),
                    counter!("fedra_tls_failures_total"),
                )
            });
        Self { recorder, handle, connections, connections_refused, upload_bytes, tls_failures }
    }

    /// All numbers in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }

    /// The numbers of a task.
    #[must_use]
    pub fn task(&self, task: &TaskId) -> TaskMetrics {
        let id = task.to_string();
        with_local_recorder(&self.recorder, || TaskMetrics {
            clients: gauge!("fedra_clients", "task" => id.clone()),
            received: counter!("fedra_received_bytes_total", "task" => id.clone()),
            sent: counter!("fedra_sent_bytes_total", "task" => id.clone()),
            downloads: counter!("fedra_model_downloads_total", "task" => id.clone()),
            round: gauge!("fedra_round", "task" => id.clone()),
            completed: counter!("fedra_rounds_total", "task" => id.clone(), "outcome" => "completed"),
            round_seconds: histogram!("fedra_round_duration_seconds", "task" => id.clone()),
            folded: counter!("fedra_folded_bytes_total", "task" => id.clone()),
            fold_seconds: gauge!("fedra_fold_seconds_total", "task" => id.clone()),
            accuracy: gauge!("fedra_model_accuracy", "task" => id.clone()),
            loss: gauge!("fedra_model_loss", "task" => id.clone()),
            privacy_epsilon: gauge!("fedra_privacy_epsilon_spent", "task" => id.clone()),
            task: id,
        })
    }

    /// Counts an attempt that came to nothing.
    pub fn abandoned(&self, task: &TaskMetrics, reason: AbandonReason) {
        let task = task.task.clone();
        let outcome = format!("abandoned_{}", reason.as_str());
        with_local_recorder(&self.recorder, || {
            counter!("fedra_rounds_total", "task" => task, "outcome" => outcome).increment(1);
        });
    }

    /// Counts an update by what became of it.
    pub fn update(&self, task: &TaskMetrics, verdict: UpdateVerdict) {
        let (verdict, fault) = match verdict {
            UpdateVerdict::Accepted => ("accepted", String::new()),
            UpdateVerdict::Rejected(fault) => ("rejected", label::<UpdateFault>(fault)),
            UpdateVerdict::Discarded(fault) => ("discarded", label(fault)),
        };
        let task = task.task.clone();
        with_local_recorder(&self.recorder, || {
            counter!("fedra_updates_total", "task" => task, "verdict" => verdict, "fault" => fault)
                .increment(1);
        });
    }

    /// Counts somebody who was turned away.
    pub fn denied(&self, reason: &'static str) {
        with_local_recorder(&self.recorder, || {
            counter!("fedra_denied_total", "reason" => reason).increment(1);
        });
    }

    /// Counts a session that was refused.
    pub fn refused(&self, code: RefusalCode) {
        let code = label(code);
        with_local_recorder(&self.recorder, || {
            counter!("fedra_refusals_total", "code" => code).increment(1);
        });
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The name under which an enum goes into JSON.
fn label<T: Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

fn describe() {
    describe_gauge!("fedra_connections", "Open TCP connections");
    describe_counter!("fedra_connections_refused_total", "Connections refused at the cap");
    describe_gauge!("fedra_upload_bytes_in_flight", "Bytes of updates being received or folded");
    describe_gauge!("fedra_clients", "Clients checked in to a task");
    describe_counter!("fedra_received_bytes_total", "Bytes of messages received from clients");
    describe_counter!("fedra_sent_bytes_total", "Bytes of messages and models sent to clients");
    describe_counter!("fedra_model_downloads_total", "Answers with a model");
    describe_gauge!("fedra_round", "Completed rounds of a task");
    describe_counter!("fedra_rounds_total", "Attempts at a round by outcome");
    describe_histogram!(
        "fedra_round_duration_seconds",
        "From the invitation of the cohort to the durable model"
    );
    describe_counter!("fedra_updates_total", "Updates by verdict and fault");
    describe_counter!("fedra_folded_bytes_total", "Bytes of updates folded");
    describe_gauge!("fedra_fold_seconds_total", "Seconds spent folding updates");
    describe_gauge!("fedra_model_accuracy", "Held-out accuracy of the newest evaluated model");
    describe_gauge!("fedra_model_loss", "Held-out loss of the newest evaluated model");
    describe_gauge!(
        "fedra_privacy_epsilon_spent",
        "Epsilon of the subject that has spent most of the task's privacy budget"
    );
    describe_counter!("fedra_denied_total", "Connections and clients turned away by reason");
    describe_counter!("fedra_tls_failures_total", "TLS handshakes that failed");
    describe_counter!("fedra_refusals_total", "Refusals of sessions by code");
}
