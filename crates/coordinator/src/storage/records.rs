//! Records of a store, as plain data. Nothing here touches a disk.

use fedra_protocol::{
    CodecName, ModelSpec, PrivacyPolicy, Quality, Sha256Hash, SubjectId, TaskId, UpdateRange,
};
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::blobs::{BlobKey, BlobKind, CheckpointFiles};
use super::gate::GateRefusal;
use crate::round::{Operation, Standing};

/// A completed round and the model it made. Round 0 stands for the initial model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundRecord {
    /// Completed rounds behind the model.
    pub round: u64,
    /// Attempts that were abandoned before.
    pub attempt: u32,
    /// Hash of the model's file.
    pub sha256: Sha256Hash,
    /// Size of the model's file.
    pub model_bytes: u64,
    /// Clients that were invited.
    pub cohort: u32,
    /// Updates that are in the average.
    pub reports: u32,
    /// Total weight of these updates.
    pub weight: u64,
    /// Seconds from the invitation to the last report.
    pub seconds: f64,
    /// Received from clients since the round before.
    pub bytes_up: u64,
    /// Sent to clients since the round before, models included.
    pub bytes_down: u64,
    /// Quality of the model, once it is known.
    pub quality: Option<Quality>,
    /// Of a round of evaluation: quality of its model, which is that of the round before,
    /// on examples that the clients held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_quality: Option<Quality>,
    /// Under a privacy policy: the clipping norm of the round after this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clipping_norm: Option<f64>,
    /// The operator or the task's gate went back: no client had part in this round, its
    /// model is that of this earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<u64>,
    /// Of a roll-back by the gate: the model that it refused. All rounds from the earlier one
    /// to that are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<GateRefusal>,
    /// Hash of the file with the server optimizer's state after the round, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer_state: Option<Sha256Hash>,
    /// Of round 0: hash of the file with the tensors of frozen layers, if there are some. No
    /// round changes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Sha256Hash>,
    /// Step from the model before, if the server has made the model by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepRecord>,
    /// Hash of the file with what the steps up to the model have left out, if it is made by
    /// steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<Sha256Hash>,
    /// The server's control variate after the round, if there is one: see
    /// [`fedra_aggregation::control`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlRecord>,
}

/// Control variate of the server: a file that is as long as the model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlRecord {
    /// Hash of the file.
    pub sha256: Sha256Hash,
    /// First round that it is made of, in which those of all clients were zero.
    pub since: u64,
}

/// Step of a round: the difference of its model to the one before, in a codec.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Hash of the step's file.
    pub sha256: Sha256Hash,
    /// Size of the step's file.
    pub bytes: u64,
    /// Hash of the model that it starts from.
    pub base: Sha256Hash,
    /// Its codec.
    pub codec: CodecName,
    /// Largest magnitude of its values.
    pub range: UpdateRange,
}

impl RoundRecord {
    /// Record of the initial model, which no client has a part in. `clipping_norm` is that
    /// of the first round, under a privacy policy.
    #[must_use]
    pub fn initial(files: &CheckpointFiles, clipping_norm: Option<f64>) -> Self {
        let model = &files.model;
        Self {
            round: 0,
            attempt: 0,
            sha256: Sha256Hash::of(model),
            model_bytes: model.len() as u64,
            cohort: 0,
            reports: 0,
            weight: 0,
            seconds: 0.0,
            bytes_up: 0,
            bytes_down: 0,
            quality: None,
            client_quality: None,
            clipping_norm,
            restored: None,
            refusal: None,
            optimizer_state: None,
            frozen: files.frozen.as_deref().map(Sha256Hash::of),
            step: None,
            residual: None,
            control: None,
        }
    }

    /// The record of a roll-back to this round, as round `round`. Control variates begin anew:
    /// those of the clients do not go back.
    #[must_use]
    pub fn restored_as(&self, round: u64) -> Self {
        Self {
            round,
            attempt: 0,
            sha256: self.sha256,
            model_bytes: self.model_bytes,
            cohort: 0,
            reports: 0,
            weight: 0,
            seconds: 0.0,
            bytes_up: 0,
            bytes_down: 0,
            quality: self.quality,
            client_quality: None,
            clipping_norm: self.clipping_norm,
            restored: Some(self.round),
            refusal: None,
            optimizer_state: self.optimizer_state,
            frozen: None,
            step: None,
            residual: self.residual,
            control: None,
        }
    }

    /// Names of the files that make the checkpoint, the model first. The step is none of
    /// them: without it the model is whole.
    #[must_use]
    pub fn blobs(&self) -> Vec<BlobKey> {
        let key = |kind, sha256| BlobKey { round: self.round, kind, sha256 };
        let model = key(BlobKind::Model, self.sha256);
        let state = self.optimizer_state.map(|sha256| key(BlobKind::OptimizerState, sha256));
        let frozen = self.frozen.map(|sha256| key(BlobKind::Frozen, sha256));
        let residual = self.residual.map(|sha256| key(BlobKind::Residual, sha256));
        let control = self.control_blob();
        [model].into_iter().chain(state).chain(frozen).chain(residual).chain(control).collect()
    }

    /// Name of the control variate's file, if there is one.
    #[must_use]
    pub fn control_blob(&self) -> Option<BlobKey> {
        let ControlRecord { sha256, .. } = self.control?;
        Some(BlobKey { round: self.round, kind: BlobKind::Control, sha256 })
    }

    /// Name of the step's file, if there is one.
    #[must_use]
    pub fn step_blob(&self) -> Option<BlobKey> {
        let StepRecord { sha256, .. } = self.step?;
        Some(BlobKey { round: self.round, kind: BlobKind::Step, sha256 })
    }
}

/// A task as it was made. It cannot become another one under the same name.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// The model.
    pub model: ModelSpec,
    /// The privacy policy, if there is one.
    pub privacy: Option<PrivacyPolicy>,
}

impl Definition {
    /// Checks that a task that was made as this may go on as `other`.
    pub fn must_be(&self, other: &Self, task: &TaskId) -> Result<(), StoreError> {
        if self.model != other.model {
            return Err(StoreError::ModelChanged(task.clone()));
        }
        if self.privacy != other.privacy {
            return Err(StoreError::PrivacyChanged(task.clone()));
        }
        Ok(())
    }
}

/// An entry of the privacy ledger: made durable before the release that it
/// pays for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Debit {
    /// The round.
    pub round: u64,
    /// Its attempt. Each attempt that gets so far is debited.
    pub attempt: u32,
    /// Time, seconds since 1970.
    pub unix_seconds: u64,
    /// Cost for each of the subjects: ρ = μ²/2 of Gaussian differential privacy. (With tree
    /// aggregation: if it is the only one. The policy says what several cost.)
    pub rho: f64,
    /// Subjects that were asked for a contribution.
    pub subjects: Vec<SubjectId>,
}

/// Point at which a task goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The last completed rounds that were asked for, oldest first. At least one.
    pub history: Vec<RoundRecord>,
    /// The files of the last of them; their hashes were checked.
    pub files: CheckpointFiles,
}

/// Decision of an operator about a task, or of its gate. In JSON an object such as
/// `{"unix_seconds": 1, "action": "roll-back", "to": 3, "round": 8}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Time, seconds since 1970.
    pub unix_seconds: u64,
    /// The action.
    #[serde(flatten)]
    pub action: OperatorAction,
}

/// See [`Decision`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum OperatorAction {
    /// No new round is to begin.
    Pause,
    /// Rounds may begin again.
    Resume,
    /// The task has ended, for good.
    Stop,
    /// The model of round `to` is the newest again, as round `round`.
    RollBack {
        /// The earlier round.
        to: u64,
        /// The new round.
        round: u64,
    },
    /// The task was added while the server ran.
    Create,
    /// No new round is to begin: the gate has refused too many models in a row.
    PauseByGate {
        /// Round of the last of them.
        refused: u64,
    },
}

/// Standing of a task after its decisions, oldest first.
pub(super) fn standing_after(decisions: &[Decision]) -> Standing {
    let operations = decisions.iter().filter_map(|decision| match decision.action {
        OperatorAction::Pause | OperatorAction::PauseByGate { .. } => Some(Operation::Pause),
        OperatorAction::Resume => Some(Operation::Resume),
        OperatorAction::Stop => Some(Operation::Stop),
        OperatorAction::RollBack { .. } | OperatorAction::Create => None,
    });
    operations.fold(Standing::Running, Standing::after)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails may panic")]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_of_an_older_server_is_read_and_one_without_metrics_is_written_as_then() {
        let mut record =
            RoundRecord::initial(&CheckpointFiles::of_model(Bytes::from_static(b"model")), None);
        let mut older = serde_json::to_value(&record).unwrap();
        older["quality"] = json!({ "accuracy": 0.75, "loss": 1.25 });
        record.quality = Some(Quality { accuracy: Some(0.75), ..Quality::of_loss(1.25) });
        assert_eq!(serde_json::from_value::<RoundRecord>(older.clone()).unwrap(), record);
        assert_eq!(serde_json::to_value(&record).unwrap(), older);
        let quality = Quality { bits_per_token: Some(2.0), ..Quality::of_loss(1.25) };
        record.quality = Some(quality);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<RoundRecord>(&text).unwrap(), record);
    }
}
