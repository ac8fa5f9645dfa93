//! Events that a client tells its owner: the page, or the log of a native process. The
//! page's types are generated from them.

use fedra_protocol::{Evaluation, RoundId, RoundPhase, Scores, TaskDescription, TaskStatus};
use serde::Serialize;

use crate::codes::{EventCode, Notice, StatusReason};
use crate::devices::BackendName;
use crate::failure::Failure;
use crate::privacy::PrivacyTerms;
use crate::training::Progress;

/// Something that happened, in the form that JavaScript gets.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum ClientEvent {
    /// The client does something else now.
    Status {
        /// Activity of the client.
        state: SessionState,
        /// The round it does it for.
        #[serde(skip_serializing_if = "Option::is_none")]
        round: Option<u64>,
        /// Reason why it is unavailable, or why it waits longer than for the next
        /// round.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<StatusReason>,
        /// Time until the next attempt to connect, or until it may be invited again, ms.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_in_ms: Option<u64>,
    },
    /// The device that training runs on was chosen.
    Backend {
        /// The device.
        backend: BackendName,
        /// Name that the graphics adapter gives itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        adapter: Option<String>,
        /// Reason, as text for a person.
        reason: String,
        /// Measured speed of the CPU, examples a second.
        #[serde(skip_serializing_if = "Option::is_none")]
        cpu_samples_per_second: Option<f64>,
        /// Measured speed of WebGPU, examples a second.
        #[serde(skip_serializing_if = "Option::is_none")]
        webgpu_samples_per_second: Option<f64>,
        /// Relative difference of the gradients that the two computed.
        #[serde(skip_serializing_if = "Option::is_none")]
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
        /// The metric of its models that is shown first.
        headline: fedra_protocol::Headline,
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
        /// Share of right answers, 0 to 1, on the server's held-out examples.
        #[serde(skip_serializing_if = "Option::is_none")]
        accuracy: Option<f64>,
        /// Mean loss on these examples.
        #[serde(skip_serializing_if = "Option::is_none")]
        loss: Option<f64>,
        /// Share whose class is among the five most likely ones, 0 to 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        top_5_accuracy: Option<f64>,
        /// Mean over the classes of their F1 scores, 0 to 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        macro_f1: Option<f64>,
        /// Area under the receiver operating characteristic, 0 to 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        auc: Option<f64>,
        /// `exp` of the mean loss of a position.
        #[serde(skip_serializing_if = "Option::is_none")]
        perplexity: Option<f64>,
        /// Mean loss of a position in bits.
        #[serde(skip_serializing_if = "Option::is_none")]
        bits_per_token: Option<f64>,
        /// Mean absolute error.
        #[serde(skip_serializing_if = "Option::is_none")]
        mae: Option<f64>,
        /// Root of the mean squared error.
        #[serde(skip_serializing_if = "Option::is_none")]
        rmse: Option<f64>,
        /// Coefficient of determination, at most 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        r2: Option<f64>,
        /// The round of the model that the metrics belong to.
        #[serde(skip_serializing_if = "Option::is_none")]
        evaluated_round: Option<u64>,
        /// The newest scores on examples that the clients hold out.
        #[serde(skip_serializing_if = "Option::is_none")]
        by_clients: Option<ClientScores>,
    },
    /// Local training goes on. Comes a few times a second at most, and after the last step.
    Progress {
        /// The round.
        round: u64,
        /// Epoch, from 1.
        epoch: u32,
        /// Epochs in all.
        epochs: u32,
        /// Steps taken, of all epochs together.
        step: u64,
        /// Steps in all.
        steps: u64,
        /// Mean loss over the last batch.
        loss: f32,
        /// Examples a second since the round's training began.
        samples_per_second: f64,
    },
    /// The client has evaluated the newest model on the examples that it holds out.
    Evaluation {
        /// The round.
        round: u64,
        /// Examples that it holds out.
        examples: u64,
        /// Mean loss on them.
        loss: f64,
        /// Share of right answers, 0 to 1; absent for a regression.
        #[serde(skip_serializing_if = "Option::is_none")]
        accuracy: Option<f64>,
    },
    /// Fate of this client's update.
    Update {
        /// The round.
        round: u64,
        /// Accepted, rejected or discarded.
        outcome: UpdateFate,
        /// Reason why it was not accepted.
        #[serde(skip_serializing_if = "Option::is_none")]
        fault: Option<fedra_protocol::UpdateFault>,
        /// The server's words, for people.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// Bytes so far, socket and model downloads together. Comes a few times a second at
    /// most.
    Traffic {
        /// To the server.
        bytes_up: u64,
        /// Bytes from the server.
        bytes_down: u64,
    },
    /// Something went wrong, or is worth knowing. After a fatal one the client is closed.
    Error {
        /// Stable name, for programs.
        code: EventCode,
        /// Description of what happened and what to do, for people.
        message: String,
        /// True if the client has given up.
        fatal: bool,
    },
}

/// Scores of a model on examples that the clients hold out, as means over the clients of a
/// round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientScores {
    /// The round of evaluation.
    pub round: u64,
    /// Mean loss.
    pub loss: f64,
    /// Share of right answers, 0 to 1; absent for a regression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
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
    /// Evaluates the newest model on the examples that it holds out.
    Evaluating,
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
    /// Its attempt, from 0: an abandoned one is tried again.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Rounds that the task will have; absent where it has no last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounds_total: Option<u64>,
}

impl ClientEvent {
    /// A change of state.
    pub(crate) fn status(state: SessionState, round: Option<u64>) -> Self {
        Self::Status { state, round, reason: None, retry_in_ms: None }
    }

    /// A failure that the client lives with.
    pub(crate) fn problem(failure: Failure, message: impl Into<String>) -> Self {
        Self::Error { code: failure.into(), message: message.into(), fatal: false }
    }

    /// A failure that ends the client.
    pub(crate) fn fatal(failure: Failure, message: impl Into<String>) -> Self {
        Self::Error { code: failure.into(), message: message.into(), fatal: true }
    }

    /// Something that the owner should know.
    pub(crate) fn notice(notice: Notice, message: impl Into<String>) -> Self {
        Self::Error { code: notice.into(), message: message.into(), fatal: false }
    }

    pub(crate) fn task(task: &TaskDescription) -> Self {
        Self::Task {
            id: task.id.to_string(),
            title: task.title.clone(),
            parameters: task.model.parameters(),
            input: task.model.input().dims(),
            outputs: task.model.output_len(),
            loss: task.model.loss(),
            headline: task.model.headline(),
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

    pub(crate) fn progress(round: RoundId, progress: &Progress) -> Self {
        Self::Progress {
            round: round.round,
            epoch: progress.epoch,
            epochs: progress.epochs,
            step: progress.step,
            steps: progress.steps,
            loss: progress.loss,
            samples_per_second: progress.samples_per_second,
        }
    }

    pub(crate) fn model(status: &TaskStatus) -> Self {
        let quality = status.evaluation.map(|evaluation| evaluation.quality);
        Self::Model {
            round: status.model.round,
            sha256: status.model.sha256.to_string(),
            bytes: status.model.bytes,
            accuracy: quality.and_then(|quality| quality.accuracy),
            loss: quality.map(|quality| quality.loss),
            top_5_accuracy: quality.and_then(|quality| quality.top_5_accuracy),
            macro_f1: quality.and_then(|quality| quality.macro_f1),
            auc: quality.and_then(|quality| quality.auc),
            perplexity: quality.and_then(|quality| quality.perplexity),
            bits_per_token: quality.and_then(|quality| quality.bits_per_token),
            mae: quality.and_then(|quality| quality.mae),
            rmse: quality.and_then(|quality| quality.rmse),
            r2: quality.and_then(|quality| quality.r2),
            evaluated_round: status.evaluation.map(|evaluation| evaluation.round),
            by_clients: status.client_evaluation.map(|Evaluation { round, quality }| {
                ClientScores { round, loss: quality.loss, accuracy: quality.accuracy }
            }),
        }
    }

    pub(crate) fn evaluation(round: RoundId, examples: u64, scores: &Scores) -> Self {
        let Scores { loss, accuracy } = *scores;
        Self::Evaluation { round: round.round, examples, loss, accuracy }
    }
}
