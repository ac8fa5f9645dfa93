//! Wire messages to checked types: every length and range is looked at here.

use std::time::Duration;

use crate::limits::{
    MAX_CAPABILITIES, MAX_CAPABILITY_BYTES, MAX_CHUNK_BYTES, MAX_CIPHERTEXT_BYTES, MAX_COHORT,
    MAX_LAYERS, MAX_MODEL_HEAD_BYTES, MAX_MODEL_STEPS, MAX_NEIGHBOURS, MAX_TEXT_BYTES,
    MAX_UPDATE_BYTES, MAX_URL_BYTES, MAX_VERSIONS,
};
use crate::model::{RawLayer, RawModelSpec};
use crate::wire::{
    client_message, extended_training, local_training, privacy_policy, server_message,
};
use crate::{self as fedra, DecodeError, wire};

fn millis(value: u32) -> Duration {
    Duration::from_millis(u64::from(value))
}

fn missing(field: &'static str) -> impl FnOnce() -> DecodeError {
    move || DecodeError::Missing(field)
}

pub(super) fn invalid(field: &'static str, problem: impl Into<String>) -> DecodeError {
    DecodeError::Invalid { field, problem: problem.into() }
}

fn unsupported(what: &'static str) -> impl FnOnce() -> DecodeError {
    move || DecodeError::Unsupported { what }
}

fn within(field: &'static str, actual: u64, max: u64) -> Result<(), DecodeError> {
    if actual > max { Err(DecodeError::OverLimit { field, actual, max }) } else { Ok(()) }
}

fn text(field: &'static str, text: String, max: usize) -> Result<String, DecodeError> {
    within(field, text.len() as u64, max as u64)?;
    Ok(text)
}

fn round(round: Option<wire::RoundId>) -> Result<fedra::RoundId, DecodeError> {
    let id = round.ok_or_else(missing("round"))?;
    Ok(fedra::RoundId { round: id.round, attempt: id.attempt })
}

pub(super) fn finite(field: &'static str, value: f64) -> Result<f64, DecodeError> {
    if value.is_finite() { Ok(value) } else { Err(invalid(field, "not a finite number")) }
}

fn bytes<const N: usize>(field: &'static str, value: &[u8]) -> Result<[u8; N], DecodeError> {
    value.try_into().map_err(|_| invalid(field, format!("must have {N} bytes")))
}

fn advertised(encryption: &[u8], masking: &[u8]) -> Result<fedra::AdvertisedKeys, DecodeError> {
    let (encryption, masking) =
        (bytes("keys.encryption", encryption)?, bytes("keys.masking", masking)?);
    Ok(fedra::AdvertisedKeys { encryption, masking })
}

fn encrypted(shares: Vec<wire::EncryptedShare>) -> Result<Vec<fedra::EncryptedShare>, DecodeError> {
    within("shares", shares.len() as u64, MAX_NEIGHBOURS as u64)?;
    let share = |share: wire::EncryptedShare| {
        let length = share.ciphertext.len() as u64;
        within("shares.ciphertext", length, MAX_CIPHERTEXT_BYTES as u64)?;
        Ok(fedra::EncryptedShare { peer: share.peer, ciphertext: share.ciphertext.into() })
    };
    shares.into_iter().map(share).collect()
}

fn revealed(shares: &[wire::RevealedShare]) -> Result<Vec<fedra::RevealedShare>, DecodeError> {
    within("shares", shares.len() as u64, MAX_NEIGHBOURS as u64 + 1)?;
    let share = |share: &wire::RevealedShare| {
        let bytes = bytes("shares.share", &share.share)?;
        Ok(fedra::RevealedShare { peer: share.peer, share: bytes })
    };
    shares.iter().map(share).collect()
}

impl TryFrom<wire::KeyDirectory> for fedra::KeyDirectory {
    type Error = DecodeError;

    fn try_from(directory: wire::KeyDirectory) -> Result<Self, DecodeError> {
        let neighbours = directory.neighbours;
        within("key_directory.neighbours", neighbours.len() as u64, MAX_NEIGHBOURS as u64)?;
        within("key_directory.cohort", directory.cohort.into(), MAX_COHORT.into())?;
        let neighbour = |neighbour: wire::Neighbour| {
            let keys = advertised(&neighbour.encryption, &neighbour.masking)?;
            Ok(fedra::Neighbour { index: neighbour.index, keys })
        };
        Ok(Self {
            round: round(directory.round)?,
            own: directory.own,
            cohort: directory.cohort,
            threshold: directory.threshold,
            neighbours: neighbours
                .into_iter()
                .map(neighbour)
                .collect::<Result<_, DecodeError>>()?,
            deadline: millis(directory.deadline_ms),
            group: directory.group.map(TryInto::try_into).transpose()?,
        })
    }
}

impl TryFrom<wire::MaskingGroup> for fedra::MaskingGroup {
    type Error = DecodeError;

    fn try_from(group: wire::MaskingGroup) -> Result<Self, DecodeError> {
        let (weight, privacy) = (group.weight, group.privacy);
        if !(weight > 0.0 && weight <= 1.0) {
            return Err(invalid("masking_group.weight", "must be above 0 and at most 1"));
        }
        let privacy = privacy.ok_or_else(missing("masking_group.privacy"))?;
        Ok(Self { round: round(group.round)?, privacy: privacy.try_into()?, weight })
    }
}

impl TryFrom<wire::RoundPrivacy> for fedra::RoundPrivacy {
    type Error = DecodeError;

    fn try_from(privacy: wire::RoundPrivacy) -> Result<Self, DecodeError> {
        let clipping_norm = privacy.clipping_norm;
        if !(clipping_norm > 0.0 && clipping_norm.is_finite()) {
            return Err(invalid("round_privacy.clipping_norm", "must be above 0 and finite"));
        }
        Ok(Self { clipping_norm, rotation: bytes("round_privacy.rotation", &privacy.rotation)? })
    }
}

impl TryFrom<wire::PrivacyPolicy> for fedra::PrivacyPolicy {
    type Error = DecodeError;

    fn try_from(policy: wire::PrivacyPolicy) -> Result<Self, DecodeError> {
        use privacy_policy::Mechanism as M;
        let mechanism = policy.mechanism.ok_or_else(unsupported("the privacy mechanism"))?;
        let policy = Self {
            mechanism: match mechanism {
                M::Distributed(_) => fedra::Mechanism::Distributed,
                M::Local(_) => fedra::Mechanism::Local,
                M::Central(noise) => fedra::Mechanism::Central(match noise.tree_rounds {
                    0 => fedra::CentralNoise::Independent,
                    rounds => fedra::CentralNoise::Tree { rounds },
                }),
                M::Banded(noise) => {
                    let wire::BandedNoise { rounds, separation, band, exponent } = noise;
                    let noise = fedra::BandedNoise { rounds, separation, band, exponent };
                    fedra::Mechanism::Central(fedra::CentralNoise::Banded(noise))
                }
            },
            noise_multiplier: policy.noise_multiplier,
            clipping_norm: policy.clipping_norm,
            target_quantile: policy.target_quantile,
            epsilon: policy.epsilon,
            delta: policy.delta,
            cohort: policy.cohort,
            minimum_survivors: policy.minimum_survivors,
            colluders: policy.colluders,
            max_participations: policy.max_participations,
        };
        policy.validate()?;
        Ok(policy)
    }
}

impl TryFrom<wire::ClientMessage> for fedra::ClientMessage {
    type Error = DecodeError;

    fn try_from(message: wire::ClientMessage) -> Result<Self, DecodeError> {
        use client_message::Body;
        Ok(match message.body.ok_or_else(unsupported("the message"))? {
            Body::Hello(hello) => {
                within("hello.versions", hello.versions.len() as u64, MAX_VERSIONS as u64)?;
                Self::Hello(fedra::Hello {
                    versions: hello.versions,
                    software: text("hello.software", hello.software, MAX_TEXT_BYTES)?,
                })
            }
            Body::CheckIn(check_in) => Self::CheckIn {
                task: fedra::TaskId::new(check_in.task_id)
                    .map_err(|error| invalid("check_in.task_id", error.to_string()))?,
                availability: if check_in.observe {
                    fedra::Availability::Paused
                } else {
                    fedra::Availability::Available
                },
                subject: check_in
                    .subject
                    .map(|subject| bytes("check_in.subject", &subject))
                    .transpose()?
                    .map(fedra::SubjectId::from_bytes),
                token: check_in
                    .token
                    .map(fedra::Token::new)
                    .transpose()
                    .map_err(|error| invalid("check_in.token", error.to_string()))?,
                capabilities: check_in
                    .capabilities
                    .map_or_else(|| Ok(fedra::Capabilities::version_1()), TryInto::try_into)?,
            },
            Body::SetAvailability(set) => Self::SetAvailability(if set.available {
                fedra::Availability::Available
            } else {
                fedra::Availability::Paused
            }),
            Body::UpdateBegin(begin) => {
                within("update_begin.bytes", begin.bytes, MAX_UPDATE_BYTES)?;
                Self::UpdateBegin(fedra::UpdateBegin {
                    round: round(begin.round)?,
                    bytes: begin.bytes,
                    examples: begin.examples,
                    crc32: begin.crc32,
                })
            }
            Body::UpdateChunk(chunk) => {
                within("update_chunk.data", chunk.data.len() as u64, MAX_CHUNK_BYTES as u64)?;
                within("update_chunk.offset", chunk.offset, MAX_UPDATE_BYTES)?;
                Self::UpdateChunk(fedra::UpdateChunk {
                    round: round(chunk.round)?,
                    offset: chunk.offset,
                    data: chunk.data,
                    crc32: chunk.crc32,
                })
            }
            Body::Decline(decline) => Self::Decline {
                round: round(decline.round)?,
                reason: text("decline.reason", decline.reason, MAX_TEXT_BYTES)?,
                // A cause of a later version is as good as none.
                cause: wire::DeclineCause::known(decline.cause),
            },
            Body::Ping(ping) => Self::Ping { nonce: ping.nonce },
            Body::AdvertiseKeys(keys) => Self::AdvertiseKeys {
                round: round(keys.round)?,
                keys: advertised(&keys.encryption, &keys.masking)?,
            },
            Body::ShareKeys(share) => {
                Self::ShareKeys { round: round(share.round)?, shares: encrypted(share.shares)? }
            }
            Body::UnmaskingShares(shares) => Self::UnmaskingShares {
                round: round(shares.round)?,
                self_masks: revealed(&shares.self_masks)?,
                pairwise: revealed(&shares.pairwise)?,
            },
        })
    }
}

impl TryFrom<wire::Capabilities> for fedra::Capabilities {
    type Error = DecodeError;

    fn try_from(capabilities: wire::Capabilities) -> Result<Self, DecodeError> {
        let names = |field, names: Vec<String>| -> Result<_, DecodeError> {
            within(field, names.len() as u64, MAX_CAPABILITIES as u64)?;
            names.into_iter().map(|name| text(field, name, MAX_CAPABILITY_BYTES)).collect()
        };
        let codecs = match capabilities.codecs {
            // Of a client that is older than the list.
            none if none.is_empty() => fedra::Capabilities::version_1_codecs(),
            some => names("capabilities.codecs", some)?,
        };
        let losses = match capabilities.losses {
            none if none.is_empty() => fedra::Capabilities::version_1_losses(),
            some => names("capabilities.losses", some)?,
        };
        Ok(Self {
            layers: names("capabilities.layers", capabilities.layers)?,
            algorithms: names("capabilities.algorithms", capabilities.algorithms)?,
            codecs,
            losses,
        })
    }
}

impl TryFrom<wire::ServerMessage> for fedra::ServerMessage {
    type Error = DecodeError;

    fn try_from(message: wire::ServerMessage) -> Result<Self, DecodeError> {
        use server_message::Body;
        Ok(match message.body.ok_or_else(unsupported("the message"))? {
            Body::Welcome(welcome) => Self::Welcome(welcome.try_into()?),
            Body::Refusal(refusal) => Self::Refusal(refusal.try_into()?),
            Body::CheckedIn(checked_in) => {
                let task = checked_in.task.ok_or_else(missing("checked_in.task"))?;
                let status = checked_in.status.ok_or_else(missing("checked_in.status"))?;
                Self::CheckedIn(Box::new(fedra::CheckedIn {
                    task: task.try_into()?,
                    status: status.try_into()?,
                }))
            }
            Body::TaskStatus(status) => Self::TaskStatus(Box::new(status.try_into()?)),
            Body::RoundAssignment(assignment) => {
                let model = assignment.model.ok_or_else(missing("round_assignment.model"))?;
                let training =
                    assignment.training.ok_or_else(missing("round_assignment.training"))?;
                Self::RoundAssignment(fedra::RoundAssignment {
                    round: round(assignment.round)?,
                    model: model.try_into()?,
                    training: training.try_into()?,
                    deadline: millis(assignment.deadline_ms),
                    max_staleness: assignment.max_staleness,
                    privacy: assignment.privacy.map(TryInto::try_into).transpose()?,
                    codec: assignment.codec.map(TryInto::try_into).transpose()?,
                    evaluates: assignment.evaluates,
                    steps: steps(assignment.steps)?,
                    drawn: assignment
                        .drawn
                        .map(|drawn| drawn.try_into().map(Box::new))
                        .transpose()?,
                    control: assignment
                        .control
                        .map(|control| control.try_into().map(Box::new))
                        .transpose()?,
                })
            }
            Body::UploadReady(ready) => {
                Self::UploadReady { round: round(ready.round)?, offset: ready.offset }
            }
            Body::UpdateOutcome(outcome) => Self::UpdateOutcome(outcome.try_into()?),
            Body::Standby(standby) => Self::Standby(fedra::Standby {
                cause: wire::StandbyCause::known(standby.cause)
                    .ok_or_else(unsupported("the cause of a standby"))?,
                retry_after: millis(standby.retry_after_ms),
                message: text("standby.message", standby.message, MAX_TEXT_BYTES)?,
            }),
            Body::Pong(pong) => Self::Pong { nonce: pong.nonce },
            Body::KeyDirectory(directory) => Self::KeyDirectory(directory.try_into()?),
            Body::MaskedInputRequest(request) => {
                Self::MaskedInputRequest(fedra::MaskedInputRequest {
                    round: round(request.round)?,
                    shares: encrypted(request.shares)?,
                    deadline: millis(request.deadline_ms),
                })
            }
            Body::UnmaskingRequest(request) => {
                let survivors = request.survivors;
                within("survivors", survivors.len() as u64, u64::from(MAX_COHORT))?;
                if !survivors.is_sorted_by(|a, b| a < b) {
                    return Err(invalid("survivors", "must increase"));
                }
                Self::UnmaskingRequest(fedra::UnmaskingRequest {
                    round: round(request.round)?,
                    survivors,
                    deadline: millis(request.deadline_ms),
                })
            }
        })
    }
}

impl TryFrom<wire::Welcome> for fedra::Welcome {
    type Error = DecodeError;

    fn try_from(welcome: wire::Welcome) -> Result<Self, DecodeError> {
        if welcome.heartbeat_ms == 0 {
            return Err(invalid("welcome.heartbeat_ms", "must be at least 1"));
        }
        if !(1..=MAX_CHUNK_BYTES as u32).contains(&welcome.max_chunk_bytes) {
            let problem = format!("must be 1 to {MAX_CHUNK_BYTES}");
            return Err(invalid("welcome.max_chunk_bytes", problem));
        }
        Ok(Self {
            version: welcome.version,
            session_id: text("welcome.session_id", welcome.session_id, MAX_TEXT_BYTES)?,
            heartbeat: millis(welcome.heartbeat_ms),
            max_chunk_bytes: welcome.max_chunk_bytes,
        })
    }
}

impl TryFrom<wire::Refusal> for fedra::Refusal {
    type Error = DecodeError;

    fn try_from(refusal: wire::Refusal) -> Result<Self, DecodeError> {
        Ok(Self {
            code: wire::RefusalCode::known(refusal.code)
                .ok_or_else(unsupported("the code of a refusal"))?,
            message: text("refusal.message", refusal.message, MAX_TEXT_BYTES)?,
            retry_after: (refusal.retry_after_ms > 0).then(|| millis(refusal.retry_after_ms)),
        })
    }
}

impl TryFrom<wire::UpdateOutcome> for fedra::UpdateOutcome {
    type Error = DecodeError;

    fn try_from(outcome: wire::UpdateOutcome) -> Result<Self, DecodeError> {
        use fedra::UpdateVerdict as V;
        use wire::UpdateVerdict as W;
        let fault = wire::UpdateFault::known(outcome.fault)
            .ok_or_else(unsupported("the fault of an update"));
        let verdict = match W::try_from(outcome.verdict) {
            Ok(W::Accepted) => V::Accepted,
            Ok(W::Rejected) => V::Rejected(fault?),
            Ok(W::Discarded) => V::Discarded(fault?),
            Ok(W::Unspecified) | Err(_) => {
                return Err(unsupported("the verdict on an update")());
            }
        };
        Ok(Self {
            round: round(outcome.round)?,
            verdict,
            message: text("update_outcome.message", outcome.message, MAX_TEXT_BYTES)?,
        })
    }
}

fn hash(sha256: &[u8]) -> Result<fedra::Sha256Hash, DecodeError> {
    Ok(fedra::Sha256Hash::from_bytes(bytes("model.sha256", sha256)?))
}

impl TryFrom<wire::ModelRef> for fedra::ModelRef {
    type Error = DecodeError;

    fn try_from(model: wire::ModelRef) -> Result<Self, DecodeError> {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, ':' | '\\' | '?' | '#' | '"');
        let segment = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(plain);
        if !model.url.split('/').all(segment) {
            return Err(invalid("model.url", "must be a path below the socket's address"));
        }
        Ok(Self {
            round: model.round,
            sha256: hash(&model.sha256)?,
            url: text("model.url", model.url, MAX_URL_BYTES)?,
            bytes: model.bytes,
        })
    }
}

/// The steps of an assignment; none if one is in a codec that only a later version knows,
/// since the model can be had without them.
fn steps(steps: Vec<wire::ModelStep>) -> Result<Box<[fedra::ModelStep]>, DecodeError> {
    within("round_assignment.steps", steps.len() as u64, MAX_MODEL_STEPS as u64)?;
    match steps.into_iter().map(TryInto::try_into).collect() {
        Err(DecodeError::Unsupported { .. }) => Ok(Box::default()),
        steps => steps,
    }
}

impl TryFrom<wire::ModelStep> for fedra::ModelStep {
    type Error = DecodeError;

    fn try_from(step: wire::ModelStep) -> Result<Self, DecodeError> {
        Ok(Self {
            base: hash(&step.base_sha256)?,
            file: step.file.ok_or_else(missing("round_assignment.steps.file"))?.try_into()?,
            codec: step.codec.ok_or_else(missing("round_assignment.steps.codec"))?.try_into()?,
        })
    }
}

impl TryFrom<wire::DrawnModel> for fedra::DrawnModel {
    type Error = DecodeError;

    fn try_from(drawn: wire::DrawnModel) -> Result<Self, DecodeError> {
        let wire::DrawnModel { sha256, seed, head } = drawn;
        within("round_assignment.drawn.head", head.len() as u64, MAX_MODEL_HEAD_BYTES as u64)?;
        Ok(Self { sha256: hash(&sha256)?, seed, head })
    }
}

impl TryFrom<wire::TaskDescription> for fedra::TaskDescription {
    type Error = DecodeError;

    fn try_from(task: wire::TaskDescription) -> Result<Self, DecodeError> {
        let model: fedra::ModelSpec = task.model.ok_or_else(missing("task.model"))?.try_into()?;
        if task.frozen.is_some() == model.frozen_layers().is_empty() {
            return Err(invalid("task.frozen", "must be there if and only if layers are frozen"));
        }
        Ok(Self {
            id: fedra::TaskId::new(task.id)
                .map_err(|error| invalid("task.id", error.to_string()))?,
            title: text("task.title", task.title, MAX_TEXT_BYTES)?,
            model,
            frozen: task.frozen.map(TryInto::try_into).transpose()?,
            update_range: fedra::UpdateRange::new(task.update_range)
                .map_err(|error| invalid("task.update_range", error.to_string()))?,
            data: task.data.map(fedra::EncodedDataSpec::new).transpose()?,
            client_evaluation: task.client_evaluation.map(TryInto::try_into).transpose()?,
            privacy: task.privacy.map(TryInto::try_into).transpose()?,
        })
    }
}

impl TryFrom<wire::TaskStatus> for fedra::TaskStatus {
    type Error = DecodeError;

    fn try_from(status: wire::TaskStatus) -> Result<Self, DecodeError> {
        Ok(Self {
            round: round(status.round)?,
            phase: wire::RoundPhase::known(status.phase)
                .ok_or_else(unsupported("the phase of the task"))?,
            clients_connected: status.clients_connected,
            cohort: status.cohort,
            reported: status.reported,
            left: status.left,
            report_goal: status.report_goal,
            deadline: status.deadline_ms.map(millis),
            model: status.model.ok_or_else(missing("task_status.model"))?.try_into()?,
            evaluation: status.evaluation.map(TryInto::try_into).transpose()?,
            client_evaluation: status.client_evaluation.map(TryInto::try_into).transpose()?,
            rounds_total: status.rounds_total,
            privacy_spent_epsilon: status
                .privacy_spent_epsilon
                .map(|epsilon| finite("task_status.privacy_spent_epsilon", epsilon))
                .transpose()?,
        })
    }
}

impl TryFrom<wire::LocalTraining> for fedra::LocalTraining {
    type Error = DecodeError;

    fn try_from(training: wire::LocalTraining) -> Result<Self, DecodeError> {
        use extended_training::Algorithm as Extended;
        use local_training::Algorithm;
        let unknown = || unsupported("the training algorithm");
        let extended = match training.algorithm.ok_or_else(unknown())? {
            Algorithm::Sgd(unit) => wire::ExtendedTraining {
                algorithm: Some(Extended::Sgd(unit)),
                ..Default::default()
            },
            Algorithm::Extended(extended) => extended,
        };
        let wire::ExtendedTraining { proximal, clip_gradient_norm, steps, time_limit_ms, .. } =
            extended;
        Ok(Self::new(fedra::RawLocalTraining {
            algorithm: match extended.algorithm.ok_or_else(unknown())? {
                Extended::Sgd(_) => fedra::ClientAlgorithm::Sgd,
                Extended::Nesterov(_) => fedra::ClientAlgorithm::Nesterov,
                Extended::Adam(wire::Adam { beta1, beta2, epsilon }) => {
                    fedra::ClientAlgorithm::Adam { beta1, beta2, epsilon }
                }
                Extended::Scaffold(_) => fedra::ClientAlgorithm::Scaffold,
            },
            epochs: training.epochs,
            steps,
            time_limit: (time_limit_ms > 0).then(|| millis(time_limit_ms)),
            batch_size: training.batch_size,
            learning_rate: training.learning_rate,
            momentum: training.momentum,
            weight_decay: training.weight_decay,
            proximal,
            clip_gradient_norm: (clip_gradient_norm != 0.0).then_some(clip_gradient_norm),
            seed: training.seed,
            max_examples: training.max_examples,
        })?)
    }
}

impl TryFrom<wire::ModelSpec> for fedra::ModelSpec {
    type Error = DecodeError;

    fn try_from(spec: wire::ModelSpec) -> Result<Self, DecodeError> {
        within("model.layers", spec.layers.len() as u64, MAX_LAYERS as u64)?;
        within("model.input", spec.input.len() as u64, 3)?;
        let known =
            |layer| RawLayer::try_from(layer).map_err(|_| unsupported("a layer of the model")());
        let layers = spec.layers.into_iter().map(known).collect::<Result<_, _>>()?;
        let loss = match wire::Loss::try_from(spec.loss) {
            Ok(wire::Loss::SoftmaxCrossEntropy | wire::Loss::AdjustedCrossEntropy) => {
                fedra::Loss::SoftmaxCrossEntropy
            }
            Ok(wire::Loss::MeanSquaredError) => fedra::Loss::MeanSquaredError,
            Ok(wire::Loss::BinaryCrossEntropy) => fedra::Loss::BinaryCrossEntropy,
            Ok(wire::Loss::Huber) => fedra::Loss::Huber,
            Ok(wire::Loss::Unspecified) | Err(_) => return Err(unsupported("the model's loss")()),
        };
        let class_weights = (!spec.class_weights.is_empty()).then_some(spec.class_weights);
        let adjusted = class_weights.is_some() || spec.label_smoothing.is_some();
        if adjusted && spec.loss == wire::Loss::SoftmaxCrossEntropy as i32 {
            return Err(invalid("model.loss", "must be the adjusted one with these settings"));
        }
        let elements = match wire::ElementKind::try_from(spec.elements) {
            Ok(wire::ElementKind::Values) => fedra::ElementKind::Values,
            Ok(wire::ElementKind::TokenIds) => fedra::ElementKind::TokenIds,
            Err(_) => return Err(unsupported("the kind of the model's input")()),
        };
        let vocabulary = (spec.vocabulary != 0).then_some(spec.vocabulary);
        let spec = RawModelSpec {
            input: spec.input,
            elements,
            vocabulary,
            layers,
            loss,
            delta: spec.delta,
            class_weights,
            label_smoothing: spec.label_smoothing,
            positive_weights: (!spec.positive_weights.is_empty()).then_some(spec.positive_weights),
        };
        Ok(spec.try_into()?)
    }
}
