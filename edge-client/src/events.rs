//! Events that a client tells its owner: the page, or the log of a native process.

use fedra_protocol::{RoundPhase, TaskDescription, TaskStatus};
use serde::Serialize;

use crate::failure::Failure;
use crate::privacy::PrivacyTerms;

/// Something that happened, in the form that JavaScript gets.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum ClientEvent {
    /// The client does something else now.
    Status {
        /// Activity of the client.
        state: SessionState,
        /// The round it does it for.
        round: Option<u64>,
        /// Reason why it is unavailable, or why it waits longer than for the next
        /// round: the code of a failure, or `missed-deadline`, `declined`, `rejected`
        /// or `lost`, by which the server tells how the last invitations ended.
        reason: Option<&'static str>,
        /// Time until the next attempt to connect, or until it may be invited again, ms.
        retry_in_ms: Option<u64>,
    },
    /// The device that training runs on was chosen.
    Backend {
        /// `cpu` or `webgpu`.
        backend: &'static str,
        /// Name that the graphics adapter gives itself.
        adapter: Option<String>,
        /// Reason, as text for a person.
        reason: String,
        /// Measured speed of the CPU.
        cpu_samples_per_second: Option<f64>,
        /// Measured speed of WebGPU.
        webgpu_samples_per_second: Option<f64>,
        /// Relative difference of the two gradients.
        gradient_error: Option<f64>,
    },
    /// The client takes part in this task.
    Task {
        /// The task's id.
        id: String,
        /// Its name for people.
        title: String,
        /// Parameters of its model.
        parameters: usize,
        /// Shape of one example.
        input: Vec<u32>,
        /// Outputs of the model.
        outputs: usize,
        /// Loss that training minimises.
        loss: fedra_protocol::Loss,
    },
    /// Protection of the task's participants, and its cost so far.
    Privacy(Box<PrivacyTerms>),
    /// Progress of the round.
    Round(RoundProgress),
    /// There is a new global model, or a new evaluation of one.
    Model {
        /// Completed rounds behind the model.
        round: u64,
        /// Its name.
        sha256: String,
        /// Size of its file.
        bytes: u64,
        /// Held-out accuracy of the newest evaluated model.
        accuracy: Option<f64>,
        /// Its held-out loss.
        loss: Option<f64>,
        /// The round that accuracy and loss belong to.
        evaluated_round: Option<u64>,
    },
    /// Local training goes on.
    Progress {
        /// The round.
        round: u64,
        /// Epoch, from 1.
        epoch: u32,
        /// Epochs in all.
        epochs: u32,
        /// Steps taken.
        step: u64,
        /// Steps in all.
        steps: u64,
        /// Loss of the last batch.
        loss: f32,
        /// Speed since training began.
        samples_per_second: f64,
    },
    /// Fate of this client's update.
    Update {
        /// The round.
        round: u64,
        /// Accepted, rejected or discarded.
        outcome: UpdateFate,
        /// Reason why it was not accepted.
        fault: Option<fedra_protocol::UpdateFault>,
        /// The server's words.
        message: Option<String>,
    },
    /// Bytes so far, socket and model downloads together.
    Traffic {
        /// To the server.
        bytes_up: u64,
        /// Bytes from the server.
        bytes_down: u64,
    },
    /// Something went wrong; or `task-finished`, which is never fatal.
    Error {
        /// Stable name.
        code: String,
        /// Description of what happened and what to do.
        message: String,
        /// True if the client has given up.
        fatal: bool,
    },
}

/// Activity of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// Has no data: it is not connected yet, or observes.
    Idle,
    /// Opens the connection.
    Connecting,
    /// Takes no part before the person agrees to the task's privacy terms.
    Consent,
    /// Is connected and not in a round.
    Waiting,
    /// Is connected and takes no part, because of a failure that time does not mend.
    Unavailable,
    /// Fetches the global model.
    Downloading,
    /// Trains.
    Training,
    /// Exchanges keys and shares with the cohort.
    Sharing,
    /// Sends its update.
    Uploading,
    /// Helps to take the masks off the cohort's sum.
    Unmasking,
    /// Its update was accepted; the round goes on.
    Reported,
    /// Takes no part at its owner's wish.
    Paused,
    /// Lost the connection and will try again.
    Reconnecting,
    /// Is done.
    Closed,
}

/// The fate of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UpdateFate {
    /// Counted.
    Accepted,
    /// Not valid.
    Rejected,
    /// Too late.
    Discarded,
}

/// Progress of the round, as the server sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoundProgress {
    /// The round.
    pub round: u64,
    /// Its attempt.
    pub attempt: u32,
    /// Its phase.
    pub phase: RoundPhase,
    /// Clients in it.
    pub cohort: u32,
    /// Updates accepted.
    pub reported: u32,
    /// Clients that left it.
    pub left: u32,
    /// Updates at which it closes.
    pub report_goal: u32,
    /// Clients connected to the task.
    pub clients_connected: u32,
    /// Time until the deadline, ms.
    pub deadline_ms: Option<u64>,
    /// Rounds that the task will have.
    pub rounds_total: Option<u64>,
}

impl ClientEvent {
    /// A change of state.
    pub(crate) fn status(state: SessionState, round: Option<u64>) -> Self {
        Self::Status { state, round, reason: None, retry_in_ms: None }
    }

    /// A failure that the client lives with.
    pub(crate) fn problem(failure: Failure, message: impl Into<String>) -> Self {
        Self::warning(failure.code(), message)
    }

    /// A failure that ends the client.
    pub(crate) fn fatal(failure: Failure, message: impl Into<String>) -> Self {
        Self::Error { code: failure.code().into(), message: message.into(), fatal: true }
    }

    /// The task has had its last round.
    pub(crate) fn task_finished(message: impl Into<String>) -> Self {
        Self::warning("task-finished", message)
    }

    /// Something that the owner should know.
    pub(crate) fn warning(code: &str, message: impl Into<String>) -> Self {
        Self::Error { code: code.into(), message: message.into(), fatal: false }
    }

    pub(crate) fn task(task: &TaskDescription) -> Self {
        Self::Task {
            id: task.id.to_string(),
            title: task.title.clone(),
            parameters: task.model.parameters(),
            input: task.model.input().dims(),
            outputs: task.model.output_len(),
            loss: task.model.loss(),
        }
    }

    pub(crate) fn round(status: &TaskStatus) -> Self {
        Self::Round(RoundProgress {
            round: status.round.round,
            attempt: status.round.attempt,
            phase: status.phase,
            cohort: status.cohort,
            reported: status.reported,
            left: status.left,
            report_goal: status.report_goal,
            clients_connected: status.clients_connected,
            deadline_ms: status.deadline.map(|left| left.as_millis() as u64),
            rounds_total: status.rounds_total,
        })
    }

    pub(crate) fn model(status: &TaskStatus) -> Self {
        Self::Model {
            round: status.model.round,
            sha256: status.model.sha256.to_string(),
            bytes: status.model.bytes,
            accuracy: status.evaluation.and_then(|evaluation| evaluation.accuracy),
            loss: status.evaluation.map(|evaluation| evaluation.loss),
            evaluated_round: status.evaluation.map(|evaluation| evaluation.round),
        }
    }
}
