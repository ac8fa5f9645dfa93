//! Things to put into a store.

use bytes::Bytes;
use fedra_protocol::{Mechanism, ModelSpec, PrivacyPolicy, Sha256Hash, SubjectId, TaskId};

use crate::storage::{Action, Debit, Decision, Definition, Quality, RoundRecord, Store};

pub fn id(name: &str) -> TaskId {
    TaskId::new(name).expect("valid")
}

pub fn round(number: u64, content: &str) -> (RoundRecord, Bytes) {
    let model = Bytes::from(format!("model {content}"));
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
        clipping_norm: Some(0.75),
        restored: None,
    };
    (record, model)
}

/// Round `number` with the content of its number.
pub fn commit(store: &dyn Store, task: &TaskId, number: u64) {
    let (record, model) = round(number, &number.to_string());
    store.commit(task, &record, &model).expect("commits");
}

/// A task with rounds 0 to `last`.
pub fn task_with_rounds(store: &dyn Store, task: &TaskId, last: u64) {
    let (record, model) = round(0, "0");
    store.create(task, &definition(), &record, &model).expect("creates");
    (1..=last).for_each(|number| commit(store, task, number));
}

pub fn definition() -> Definition {
    Definition { model: ModelSpec::softmax_regression(), privacy: Some(policy(Mechanism::Local)) }
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

pub fn decision(unix_seconds: u64, action: Action) -> Decision {
    Decision { unix_seconds, action }
}

pub fn quality(accuracy: f64) -> Quality {
    Quality { accuracy: Some(accuracy), loss: 1.25 }
}
