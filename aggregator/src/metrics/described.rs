//! Every metric there is: its name, its type and what it counts. The manual's
//! table and the dashboard are held to this list.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// Type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// A distribution: `_bucket`, `_sum` and `_count`.
    Histogram,
}
use Kind::{Counter, Gauge, Histogram};

/// The recorder's metrics, by name.
pub(super) const DESCRIBED: &[(Kind, &str, &str)] = &[
    (Gauge, "fedra_build_info", "Always 1; the label says which version runs"),
    (Gauge, "fedra_connections", "Open TCP connections"),
    (Gauge, "fedra_max_connections", "Most TCP connections at a time"),
    (Counter, "fedra_connections_refused_total", "Connections refused at the cap"),
    (Gauge, "fedra_sessions", "Open WebSocket sessions"),
    (Counter, "fedra_session_ends_total", "Ended WebSocket sessions by reason"),
    (Counter, "fedra_refusals_total", "Refusals of sessions by code"),
    (Counter, "fedra_denied_total", "Connections and clients turned away by reason"),
    (Counter, "fedra_tls_failures_total", "TLS handshakes that failed"),
    (Counter, "fedra_admin_denied_total", "Calls to the admin API without its token"),
    (Counter, "fedra_admin_actions_total", "What operators did over the admin API"),
    (Gauge, "fedra_upload_bytes_in_flight", "Bytes of updates being received or folded"),
    (Gauge, "fedra_upload_budget_bytes", "Most bytes of updates in flight"),
    (Gauge, "fedra_clients", "Clients checked in to a task"),
    (Gauge, "fedra_task_standing", "1 for what the operator has made of a task, 0 for the rest"),
    (Gauge, "fedra_task_set_aside", "1 for a task that could not start, 0 for the others"),
    (Gauge, "fedra_round", "Completed rounds of a task"),
    (Gauge, "fedra_round_cohort", "Clients invited into the round under way"),
    (Gauge, "fedra_round_reported", "Accepted reports of the round under way"),
    (Gauge, "fedra_round_left", "Invited clients that are lost to the round under way"),
    (Counter, "fedra_rounds_total", "Attempts at a round by outcome"),
    (Counter, "fedra_gate_rollbacks_total", "Models that the task's gate has refused"),
    (Counter, "fedra_invitations_total", "Clients invited into rounds"),
    (
        Counter,
        "fedra_contested_check_ins_total",
        "Check-ins turned away because connections of their subject replace each other too often",
    ),
    (Counter, "fedra_invitations_failed_total", "Invitations that came to nothing by cause"),
    (Gauge, "fedra_failing_attempts", "Attempts in a row that came to nothing"),
    (Histogram, "fedra_round_duration_seconds", "From the invitation to the durable model"),
    (Histogram, "fedra_round_phase_duration_seconds", "Time that rounds spent in a phase"),
    (Gauge, "fedra_round_completed_timestamp_seconds", "When the last round was completed"),
    (Counter, "fedra_updates_total", "Updates by verdict and fault"),
    (Counter, "fedra_received_bytes_total", "Bytes of messages received from clients"),
    (Counter, "fedra_sent_bytes_total", "Bytes of messages and models sent to clients"),
    (Counter, "fedra_model_downloads_total", "Answers with a model"),
    (Counter, "fedra_folded_bytes_total", "Bytes of updates folded"),
    (Histogram, "fedra_fold_duration_seconds", "Time to fold one update"),
    (Gauge, "fedra_model_accuracy", "Held-out accuracy of the newest evaluated model"),
    (Gauge, "fedra_model_loss", "Held-out loss of the newest evaluated model"),
    (Gauge, "fedra_model_client_loss", "Loss of a model on examples that clients held out"),
    (Gauge, "fedra_model_client_accuracy", "Accuracy on examples that clients held out"),
    (Gauge, "fedra_model_client_bits_per_token", "Bits a token on what clients held out"),
    (Gauge, "fedra_model_client_rmse", "RMSE on examples that clients held out"),
    (
        Gauge,
        "fedra_model_top_5_accuracy",
        "Held-out share whose class is among its five most likely ones",
    ),
    (Gauge, "fedra_model_macro_f1", "Mean F1 score of its classes"),
    (Gauge, "fedra_model_auc", "Area under its receiver operating characteristic"),
    (Gauge, "fedra_model_perplexity", "exp of its mean loss of a position"),
    (Gauge, "fedra_model_bits_per_token", "Its mean loss of a position in bits"),
    (Gauge, "fedra_model_mae", "Its mean absolute error"),
    (Gauge, "fedra_model_rmse", "Root of its mean squared error"),
    (Gauge, "fedra_model_r2", "Its coefficient of determination"),
    (
        Gauge,
        "fedra_privacy_epsilon_spent",
        "Epsilon of the subject that has spent most of the task's privacy budget",
    ),
];

/// Tells the recorder in use what each metric is.
pub(super) fn describe() {
    for &(kind, name, help) in DESCRIBED {
        match kind {
            Counter => describe_counter!(name, help),
            Gauge => describe_gauge!(name, help),
            Histogram => describe_histogram!(name, help),
        }
    }
}
