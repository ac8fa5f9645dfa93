//! Checked types to wire messages.

use std::time::Duration;

use crate::model::RawModelSpec;
use crate::wire::{
    client_message, extended_training, local_training, privacy_policy, server_message,
};
use crate::{self as fedra, wire};

/// Whole milliseconds, saturating at 49 days.
fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

impl From<fedra::ClientMessage> for wire::ClientMessage {
    fn from(message: fedra::ClientMessage) -> Self {
        use client_message::Body;
        use fedra::ClientMessage as M;
        let body = match message {
            M::Hello(hello) => {
                Body::Hello(wire::Hello { versions: hello.versions, software: hello.software })
            }
            M::CheckIn { task, availability, subject, token, capabilities } => {
                // Absent says the same as the first version's.
                let first = capabilities == fedra::Capabilities::version_1();
                Body::CheckIn(wire::CheckIn {
                    task_id: task.into(),
                    observe: availability == fedra::Availability::Paused,
                    capabilities: (!first).then(|| capabilities.into()),
                    subject: subject.map(|subject| subject.as_bytes().to_vec().into()),
                    token: token.map(Into::into),
                })
            }
            M::SetAvailability(availability) => Body::SetAvailability(wire::SetAvailability {
                available: availability == fedra::Availability::Available,
            }),
            M::UpdateBegin(begin) => Body::UpdateBegin(wire::UpdateBegin {
                round: Some(begin.round.into()),
                bytes: begin.bytes,
                examples: begin.examples,
                crc32: begin.crc32,
            }),
            M::UpdateChunk(chunk) => Body::UpdateChunk(wire::UpdateChunk {
                round: Some(chunk.round.into()),
                offset: chunk.offset,
                data: chunk.data,
                crc32: chunk.crc32,
            }),
            M::Decline { round, reason, cause } => Body::Decline(wire::Decline {
                round: Some(round.into()),
                reason,
                cause: cause.map_or(wire::DeclineCause::Unspecified, Into::into).into(),
            }),
            M::Ping { nonce } => Body::Ping(wire::Ping { nonce }),
            M::AdvertiseKeys { round, keys } => Body::AdvertiseKeys(wire::AdvertiseKeys {
                round: Some(round.into()),
                encryption: keys.encryption.to_vec().into(),
                masking: keys.masking.to_vec().into(),
            }),
            M::ShareKeys { round, shares } => Body::ShareKeys(wire::ShareKeys {
                round: Some(round.into()),
                shares: encrypted(shares),
            }),
            M::UnmaskingShares { round, self_masks, pairwise } => {
                Body::UnmaskingShares(wire::UnmaskingShares {
                    round: Some(round.into()),
                    self_masks: revealed(self_masks),
                    pairwise: revealed(pairwise),
                })
            }
        };
        Self { body: Some(body) }
    }
}

impl From<fedra::ServerMessage> for wire::ServerMessage {
    fn from(message: fedra::ServerMessage) -> Self {
        use fedra::ServerMessage as M;
        use server_message::Body;
        let body = match message {
            M::Welcome(welcome) => Body::Welcome(wire::Welcome {
                version: welcome.version,
                session_id: welcome.session_id,
                heartbeat_ms: millis(welcome.heartbeat),
                max_chunk_bytes: welcome.max_chunk_bytes,
            }),
            M::Refusal(refusal) => Body::Refusal(wire::Refusal {
                code: wire::RefusalCode::from(refusal.code).into(),
                message: refusal.message,
                retry_after_ms: refusal.retry_after.map_or(0, |after| millis(after).max(1)),
            }),
            M::CheckedIn(checked_in) => Body::CheckedIn(wire::CheckedIn {
                task: Some(checked_in.task.into()),
                status: Some(checked_in.status.into()),
            }),
            M::TaskStatus(status) => Body::TaskStatus((*status).into()),
            M::RoundAssignment(assignment) => Body::RoundAssignment(wire::RoundAssignment {
                round: Some(assignment.round.into()),
                model: Some(assignment.model.into()),
                training: Some(assignment.training.into()),
                deadline_ms: millis(assignment.deadline),
                max_staleness: assignment.max_staleness,
                privacy: assignment.privacy.map(Into::into),
                codec: assignment.codec.map(Into::into),
                evaluates: assignment.evaluates,
                steps: assignment.steps.into_iter().map(Into::into).collect(),
                drawn: assignment.drawn.map(|drawn| {
                    let fedra::DrawnModel { sha256, seed, head } = *drawn;
                    wire::DrawnModel { sha256: sha256.as_bytes().to_vec().into(), seed, head }
                }),
                control: assignment.control.map(|control| (*control).into()),
            }),
            M::UploadReady { round, offset } => {
                Body::UploadReady(wire::UploadReady { round: Some(round.into()), offset })
            }
            M::UpdateOutcome(outcome) => Body::UpdateOutcome(outcome.into()),
            M::Standby(standby) => Body::Standby(wire::Standby {
                cause: wire::StandbyCause::from(standby.cause).into(),
                retry_after_ms: millis(standby.retry_after),
                message: standby.message,
            }),
            M::Pong { nonce } => Body::Pong(wire::Pong { nonce }),
            M::KeyDirectory(directory) => Body::KeyDirectory(directory.into()),
            M::MaskedInputRequest(request) => Body::MaskedInputRequest(wire::MaskedInputRequest {
                round: Some(request.round.into()),
                shares: encrypted(request.shares),
                deadline_ms: millis(request.deadline),
            }),
            M::UnmaskingRequest(request) => Body::UnmaskingRequest(wire::UnmaskingRequest {
                round: Some(request.round.into()),
                survivors: request.survivors,
                deadline_ms: millis(request.deadline),
            }),
        };
        Self { body: Some(body) }
    }
}

impl From<fedra::UpdateOutcome> for wire::UpdateOutcome {
    fn from(outcome: fedra::UpdateOutcome) -> Self {
        use fedra::UpdateVerdict as V;
        use wire::UpdateVerdict as W;
        let (verdict, fault) = match outcome.verdict {
            V::Accepted => (W::Accepted, wire::UpdateFault::Unspecified),
            V::Rejected(fault) => (W::Rejected, fault.into()),
            V::Discarded(fault) => (W::Discarded, fault.into()),
        };
        Self {
            round: Some(outcome.round.into()),
            verdict: verdict.into(),
            fault: fault.into(),
            message: outcome.message,
        }
    }
}

impl From<fedra::RoundId> for wire::RoundId {
    fn from(id: fedra::RoundId) -> Self {
        Self { round: id.round, attempt: id.attempt }
    }
}

impl From<fedra::ModelRef> for wire::ModelRef {
    fn from(model: fedra::ModelRef) -> Self {
        Self {
            round: model.round,
            sha256: model.sha256.as_bytes().to_vec().into(),
            url: model.url,
            bytes: model.bytes,
        }
    }
}

impl From<fedra::ModelStep> for wire::ModelStep {
    fn from(step: fedra::ModelStep) -> Self {
        Self {
            base_sha256: step.base.as_bytes().to_vec().into(),
            file: Some(step.file.into()),
            codec: Some(step.codec.into()),
        }
    }
}

impl From<fedra::TaskDescription> for wire::TaskDescription {
    fn from(task: fedra::TaskDescription) -> Self {
        Self {
            id: task.id.into(),
            title: task.title,
            model: Some(task.model.into()),
            update_range: task.update_range.into(),
            data: task.data.map(Into::into),
            client_evaluation: task.client_evaluation.map(Into::into),
            frozen: task.frozen.map(Into::into),
            privacy: task.privacy.map(Into::into),
        }
    }
}

impl From<fedra::TaskStatus> for wire::TaskStatus {
    fn from(status: fedra::TaskStatus) -> Self {
        Self {
            round: Some(status.round.into()),
            phase: wire::RoundPhase::from(status.phase).into(),
            clients_connected: status.clients_connected,
            cohort: status.cohort,
            reported: status.reported,
            left: status.left,
            report_goal: status.report_goal,
            deadline_ms: status.deadline.map(millis),
            model: Some(status.model.into()),
            evaluation: status.evaluation.map(Into::into),
            client_evaluation: status.client_evaluation.map(Into::into),
            rounds_total: status.rounds_total,
            privacy_spent_epsilon: status.privacy_spent_epsilon,
        }
    }
}

fn encrypted(shares: Vec<fedra::EncryptedShare>) -> Vec<wire::EncryptedShare> {
    let wire = |share: fedra::EncryptedShare| wire::EncryptedShare {
        peer: share.peer,
        ciphertext: share.ciphertext.into(),
    };
    shares.into_iter().map(wire).collect()
}

fn revealed(shares: Vec<fedra::RevealedShare>) -> Vec<wire::RevealedShare> {
    let wire = |share: fedra::RevealedShare| wire::RevealedShare {
        peer: share.peer,
        share: share.share.to_vec().into(),
    };
    shares.into_iter().map(wire).collect()
}

impl From<fedra::KeyDirectory> for wire::KeyDirectory {
    fn from(directory: fedra::KeyDirectory) -> Self {
        let neighbour = |neighbour: fedra::Neighbour| wire::Neighbour {
            index: neighbour.index,
            encryption: neighbour.keys.encryption.to_vec().into(),
            masking: neighbour.keys.masking.to_vec().into(),
        };
        Self {
            round: Some(directory.round.into()),
            own: directory.own,
            cohort: directory.cohort,
            threshold: directory.threshold,
            neighbours: directory.neighbours.into_iter().map(neighbour).collect(),
            deadline_ms: millis(directory.deadline),
            group: directory.group.map(|group| wire::MaskingGroup {
                round: Some(group.round.into()),
                privacy: Some(group.privacy.into()),
                weight: group.weight,
            }),
        }
    }
}

impl From<fedra::RoundPrivacy> for wire::RoundPrivacy {
    fn from(privacy: fedra::RoundPrivacy) -> Self {
        let fedra::RoundPrivacy { clipping_norm, rotation } = privacy;
        Self { clipping_norm, rotation: rotation.to_vec().into() }
    }
}

impl From<fedra::PrivacyPolicy> for wire::PrivacyPolicy {
    fn from(policy: fedra::PrivacyPolicy) -> Self {
        use fedra::Mechanism as M;
        use privacy_policy::Mechanism as W;
        Self {
            mechanism: Some(match policy.mechanism {
                M::Distributed => W::Distributed(wire::Unit {}),
                M::Local => W::Local(wire::Unit {}),
                M::Central(fedra::CentralNoise::Independent) => {
                    W::Central(wire::CentralNoise { tree_rounds: 0 })
                }
                M::Central(fedra::CentralNoise::Tree { rounds }) => {
                    W::Central(wire::CentralNoise { tree_rounds: rounds })
                }
                M::Central(fedra::CentralNoise::Banded(noise)) => {
                    let fedra::BandedNoise { rounds, separation, band, exponent } = noise;
                    W::Banded(wire::BandedNoise { rounds, separation, band, exponent })
                }
            }),
            noise_multiplier: policy.noise_multiplier,
            clipping_norm: policy.clipping_norm,
            target_quantile: policy.target_quantile,
            epsilon: policy.epsilon,
            delta: policy.delta,
            cohort: policy.cohort,
            minimum_survivors: policy.minimum_survivors,
            colluders: policy.colluders,
            max_participations: policy.max_participations,
        }
    }
}

impl From<fedra::Capabilities> for wire::Capabilities {
    fn from(capabilities: fedra::Capabilities) -> Self {
        // None says the same as the first version's.
        let first = capabilities.codecs == fedra::Capabilities::version_1_codecs();
        let codecs = if first { Default::default() } else { capabilities.codecs };
        let first = capabilities.losses == fedra::Capabilities::version_1_losses();
        let losses = if first { Default::default() } else { capabilities.losses };
        Self {
            layers: capabilities.layers.into_iter().collect(),
            algorithms: capabilities.algorithms.into_iter().collect(),
            codecs: codecs.into_iter().collect(),
            losses: losses.into_iter().collect(),
        }
    }
}

impl From<fedra::LocalTraining> for wire::LocalTraining {
    fn from(training: fedra::LocalTraining) -> Self {
        use extended_training::Algorithm as Extended;
        use local_training::Algorithm;
        let plain = training.settings().is_empty();
        let training = fedra::RawLocalTraining::from(training);
        let extended = |algorithm| {
            let time_limit = training.time_limit.unwrap_or_default();
            Algorithm::Extended(wire::ExtendedTraining {
                algorithm: Some(algorithm),
                proximal: training.proximal,
                clip_gradient_norm: training.clip_gradient_norm.unwrap_or_default(),
                steps: training.steps,
                time_limit_ms: millis(time_limit),
            })
        };
        Self {
            algorithm: Some(match training.algorithm {
                fedra::ClientAlgorithm::Sgd if plain => Algorithm::Sgd(wire::Unit {}),
                // A client that does not know the settings must not train without them.
                fedra::ClientAlgorithm::Sgd => extended(Extended::Sgd(wire::Unit {})),
                fedra::ClientAlgorithm::Nesterov => extended(Extended::Nesterov(wire::Unit {})),
                fedra::ClientAlgorithm::Adam { beta1, beta2, epsilon } => {
                    extended(Extended::Adam(wire::Adam { beta1, beta2, epsilon }))
                }
                fedra::ClientAlgorithm::Scaffold => extended(Extended::Scaffold(wire::Unit {})),
            }),
            epochs: training.epochs,
            batch_size: training.batch_size,
            learning_rate: training.learning_rate,
            momentum: training.momentum,
            weight_decay: training.weight_decay,
            seed: training.seed,
            max_examples: training.max_examples,
        }
    }
}

impl From<fedra::ModelSpec> for wire::ModelSpec {
    fn from(spec: fedra::ModelSpec) -> Self {
        let plain = spec.objective().settings().is_empty();
        let spec = RawModelSpec::from(spec);
        let loss = match spec.loss {
            fedra::Loss::SoftmaxCrossEntropy if plain => wire::Loss::SoftmaxCrossEntropy,
            // A client that does not know the settings must not train without them.
            fedra::Loss::SoftmaxCrossEntropy => wire::Loss::AdjustedCrossEntropy,
            fedra::Loss::MeanSquaredError => wire::Loss::MeanSquaredError,
            fedra::Loss::BinaryCrossEntropy => wire::Loss::BinaryCrossEntropy,
            fedra::Loss::Huber => wire::Loss::Huber,
        };
        let elements = match spec.elements {
            fedra::ElementKind::Values => wire::ElementKind::Values,
            fedra::ElementKind::TokenIds => wire::ElementKind::TokenIds,
        };
        Self {
            input: spec.input,
            layers: spec.layers.into_iter().map(wire::Layer::from).collect(),
            loss: loss.into(),
            elements: elements.into(),
            vocabulary: spec.vocabulary.unwrap_or(0),
            delta: spec.delta,
            class_weights: spec.class_weights.unwrap_or_default(),
            label_smoothing: spec.label_smoothing,
            positive_weights: spec.positive_weights.unwrap_or_default(),
        }
    }
}

/// A checked enum and its wire form, value by value.
macro_rules! same_values {
    ($name:ident: $($value:ident),+ $(,)?) => {
        impl From<fedra::$name> for wire::$name {
            fn from(value: fedra::$name) -> Self {
                match value { $(fedra::$name::$value => Self::$value),+ }
            }
        }

        impl wire::$name {
            /// The checked value; `None` for one that this version does not know.
            pub(super) fn known(number: i32) -> Option<fedra::$name> {
                match Self::try_from(number).ok()? {
                    $(Self::$value => Some(fedra::$name::$value),)+
                    Self::Unspecified => None,
                }
            }
        }
    };
}

same_values!(RoundPhase: Selecting, Collecting, Sharing, Masking, Unmasking, Finalizing,
    Finished, Paused);
same_values!(RefusalCode: UnsupportedVersion, MalformedMessage, UnexpectedMessage,
    MessageTooLarge, UnknownTask, Overloaded, Timeout, ShuttingDown, Replaced, NotSelected,
    Unauthorized, UnsupportedClient);
same_values!(DeclineCause: NotNow, BadDataset, TrainingDiverged, TrainingFailed, OutOfRange,
    ModelUnavailable);
same_values!(StandbyCause: MissedDeadline, Declined, Rejected, Lost);
same_values!(UpdateFault: RoundOver, UnknownRound, NotInCohort, Duplicate, WrongLength,
    WrongOffset, ChecksumMismatch, NotFinite, OutOfRange, WeightOutOfRange,
    TooStale, InvalidKeys, InvalidShares, WrongStep);
