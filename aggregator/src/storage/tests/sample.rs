//! Things to put into a store.

use bytes::Bytes;
use fedra_aggregation::OptimizerState;
use fedra_coordinator::storage::StepRecord;
use fedra_learning::safetensors;
use fedra_protocol::layers::Linear;
use fedra_protocol::{
    CodecName, Layer, Loss, Mechanism, ModelSpec, PrivacyPolicy, Quality, Sha256Hash, SubjectId,
    TaskId, UpdateRange,
};

use crate::storage::{
    CheckpointFiles, Debit, Decision, Definition, Lease, OperatorAction, RoundRecord, Storage,
};

pub fn id(name: &str) -> TaskId {
    TaskId::new(name).expect("valid")
}

/// A model of two parameters that depend on the text.
pub fn model(content: &str) -> Bytes {
    let hash = Sha256Hash::of(content.as_bytes());
    let values = [0, 8].map(|at| f32::from(hash.as_bytes()[at]));
    safetensors::write(&definition().model, &values).expect("fits the model").into()
}

pub fn round(number: u64, content: &str) -> (RoundRecord, CheckpointFiles) {
    round_with(number, model(content))
}

/// A round with this file as its model.
pub fn round_with(number: u64, model: Bytes) -> (RoundRecord, CheckpointFiles) {
    let record = RoundRecord {
        round: number,
        attempt: 0,
        sha256: Sha256Hash::of(&model),
        model_bytes: model.len() as u64,
        cohort: 4,
        reports: 3,
        weight: 300,
        seconds: 1.5,
        bytes_up: 10,
        bytes_down: 20,
        quality: None,
        client_quality: None,
        clipping_norm: Some(0.75),
        restored: None,
        refusal: None,
        optimizer_state: None,
        frozen: None,
        step: None,
        residual: None,
        control: None,
    };
    (record, CheckpointFiles::of_model(model))
}

/// A round after which the server optimizer has a state.
pub fn round_with_state(number: u64, content: &str) -> (RoundRecord, CheckpointFiles) {
    let (record, mut files) = round(number, content);
    let velocity = vec![number as f32, -0.5];
    let state = OptimizerState::Momentum { velocity }.encode().expect("finite");
    files.optimizer_state = state.map(Bytes::from);
    (RoundRecord { optimizer_state: files.state_sha256(), ..record }, files)
}

/// A round whose model is made by a step from the model with the hash of `base`.
pub fn round_with_step(number: u64, base: Sha256Hash) -> (RoundRecord, CheckpointFiles) {
    let (record, mut files) = round(number, &number.to_string());
    let file = Bytes::from(vec![number as u8; 5]);
    let step = StepRecord {
        sha256: Sha256Hash::of(&file),
        bytes: 5,
        base,
        codec: CodecName::Int4,
        range: UpdateRange::new(64).expect("a power of two"),
    };
    files.residual = Some(vec![number as u8; 8].into());
    files.step = Some(file);
    (RoundRecord { step: Some(step), residual: files.residual_sha256(), ..record }, files)
}

/// The record of round `number` with the content of its number.
pub fn record(number: u64) -> RoundRecord {
    round(number, &number.to_string()).0
}

/// Round `number` with the content of its number.
pub fn commit(lease: &Lease, number: u64) {
    let (record, files) = round(number, &number.to_string());
    lease.commit(&record, &files).expect("commits");
}

/// A task with rounds 0 to `last`, and its leader.
pub fn task_with_rounds(store: &Storage, task: &TaskId, last: u64) -> Lease {
    let lease = Lease::take(store, task).expect("leads");
    let (record, files) = round(0, "0");
    lease.create(&definition(), &record, &files).expect("creates");
    (1..=last).for_each(|number| commit(&lease, number));
    lease
}

pub fn definition() -> Definition {
    let layers = vec![Layer::Linear(Linear { outputs: 1 })];
    let model = ModelSpec::new(&[1], layers, Loss::MeanSquaredError).expect("a sound model");
    Definition { model, privacy: Some(policy(Mechanism::Local)) }
}

pub fn policy(mechanism: Mechanism) -> PrivacyPolicy {
    PrivacyPolicy {
        mechanism,
        noise_multiplier: 1.0,
        clipping_norm: 1.0,
        target_quantile: None,
        epsilon: 8.0,
        delta: 1e-5,
        cohort: 10,
        minimum_survivors: 8,
        colluders: 0,
        max_participations: 4,
    }
}

pub fn debit(round: u64, attempt: u32) -> Debit {
    let subjects = vec![SubjectId::from_bytes([round as u8; 16])];
    Debit { round, attempt, unix_seconds: 1_700_000_000, rho: 0.125, subjects }
}

pub fn decision(unix_seconds: u64, action: OperatorAction) -> Decision {
    Decision { unix_seconds, action }
}

pub fn quality(accuracy: f64) -> Quality {
    Quality { accuracy: Some(accuracy), macro_f1: Some(0.5), ..Quality::of_loss(1.25) }
}
