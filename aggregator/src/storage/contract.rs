//! What every store has to do, run against each of them.

use std::fs;

use bytes::Bytes;
use fedra_protocol::{Mechanism, ModelSpec, PrivacyPolicy, Sha256Hash, SubjectId, TaskId};
use tempfile::TempDir;

use super::*;

fn id(name: &str) -> TaskId {
    TaskId::new(name).expect("valid")
}

fn round(number: u64, content: &str) -> (RoundRecord, Bytes) {
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
    };
    (record, model)
}

fn spec() -> Definition {
    Definition { model: ModelSpec::softmax_regression(), privacy: Some(policy(Mechanism::Local)) }
}

fn policy(mechanism: Mechanism) -> PrivacyPolicy {
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

fn debit(round: u64, attempt: u32) -> Debit {
    let subjects = vec![SubjectId::from_bytes([round as u8; 16])];
    Debit { round, attempt, unix_seconds: 1_700_000_000, rho: 0.125, subjects }
}

/// The ledger and the secret, for tasks `a` and `b` that are there.
fn privacy_contract(store: &dyn Store, a: &TaskId, b: &TaskId) {
    let entries = [debit(1, 0), debit(1, 1), debit(2, 0)];
    for entry in &entries {
        store.debit(a, entry).expect("debits");
    }
    assert_eq!(store.debits(a).expect("reads"), entries);
    assert_eq!(store.debits(b).expect("reads"), []);
    let stranger = id("stranger");
    assert!(matches!(store.debit(&stranger, &entries[0]), Err(StoreError::UnknownTask(_))));
    assert_eq!(store.secret(a, [1; 32]).expect("makes"), [1; 32]);
    assert_eq!(store.secret(a, [2; 32]).expect("keeps"), [1; 32]);
    assert_eq!(store.secret(b, [3; 32]).expect("makes"), [3; 32]);
    assert!(matches!(store.secret(&stranger, [1; 32]), Err(StoreError::UnknownTask(_))));

    let other = Definition { privacy: Some(policy(Mechanism::Distributed)), ..spec() };
    assert!(matches!(store.load(a, &other, 1), Err(StoreError::PrivacyChanged(_))));
    let none = Definition { privacy: None, ..spec() };
    assert!(matches!(store.load(a, &none, 1), Err(StoreError::PrivacyChanged(_))));
}

fn contract(store: &dyn Store) {
    let (a, b) = (id("a"), id("b"));
    let (first, model) = round(0, "0");
    assert_eq!(store.load(&a, &spec(), 5).expect("loads"), None);
    assert!(matches!(store.commit(&a, &first, &model), Err(StoreError::UnknownTask(_))));

    store.create(&a, &spec(), &first, &model).expect("creates");
    store.create(&b, &spec(), &first, &model).expect("the same model in another task");
    assert!(matches!(
        store.create(&a, &spec(), &first, &model),
        Err(StoreError::OutOfOrder { last: 0, .. })
    ));
    let (second, newer) = round(1, "1");
    store.commit(&a, &second, &newer).expect("commits");
    for wrong in [0, 1, 3] {
        let (record, model) = round(wrong, "wrong");
        assert!(matches!(
            store.commit(&a, &record, &model),
            Err(StoreError::OutOfOrder { last: 1, .. })
        ));
    }

    let checkpoint = store.load(&a, &spec(), 5).expect("loads").expect("is there");
    assert_eq!(checkpoint.history, [first.clone(), second.clone()]);
    assert_eq!(checkpoint.model, newer);
    let checkpoint = store.load(&a, &spec(), 1).expect("loads").expect("is there");
    assert_eq!(checkpoint.history, std::slice::from_ref(&second));

    let quality = Quality { accuracy: Some(0.5), loss: 1.25 };
    store.set_quality(&a, 1, quality).expect("notes");
    assert!(store.set_quality(&a, 2, quality).is_err());
    let checkpoint = store.load(&a, &spec(), 1).expect("loads").expect("is there");
    assert_eq!(checkpoint.history[0].quality, Some(quality));

    assert_eq!(store.model(&a, &second.sha256).expect("reads"), Some(newer));
    assert_eq!(store.model(&a, &first.sha256).expect("reads"), Some(model));
    assert_eq!(store.model(&b, &second.sha256).expect("reads"), None);
    privacy_contract(store, &a, &b);
    let other = Definition { model: ModelSpec::mnist_2nn(), ..spec() };
    assert!(matches!(store.load(&a, &other, 1), Err(StoreError::ModelChanged(_))));
}

#[test]
fn memory_keeps_the_contract() {
    contract(&MemoryStore::default());
}

#[test]
fn redb_keeps_the_contract() {
    let folder = TempDir::new().expect("a folder");
    contract(&RedbStore::open(folder.path(), 0).expect("opens"));
    // And what it kept is still there in another run.
    let store = RedbStore::open(folder.path(), 0).expect("opens again");
    let checkpoint = store.load(&id("a"), &spec(), 9).expect("loads").expect("is there");
    assert_eq!(checkpoint.history.len(), 2);
    assert!(store.load(&id("b"), &spec(), 9).expect("loads").is_some());
    assert_eq!(store.debits(&id("a")).expect("reads").len(), 3);
    assert_eq!(store.secret(&id("a"), [9; 32]).expect("keeps"), [1; 32]);
}

#[test]
fn a_store_has_one_owner() {
    let folder = TempDir::new().expect("a folder");
    let _store = RedbStore::open(folder.path(), 0).expect("opens");
    assert!(matches!(RedbStore::open(folder.path(), 0), Err(StoreError::InUse(_))));
}

#[test]
fn old_models_and_leftovers_go() {
    let folder = TempDir::new().expect("a folder");
    let task = id("a");
    let models = folder.path().join("models/a");
    let store = RedbStore::open(folder.path(), 2).expect("opens");
    let (record, model) = round(0, "0");
    store.create(&task, &spec(), &record, &model).expect("creates");
    for number in 1..=4 {
        let (record, model) = round(number, &number.to_string());
        store.commit(&task, &record, &model).expect("commits");
    }
    assert_eq!(store.model(&task, &record.sha256).expect("reads"), None);
    fs::write(models.join("0000000005-x.tmp"), "half").expect("writes");
    fs::write(models.join("0000000005-y.safetensors"), "never named").expect("writes");
    store.load(&task, &spec(), 1).expect("loads");
    let left = fs::read_dir(&models).expect("lists").count();
    assert_eq!(left, 2);
}

#[test]
fn damage_is_named() {
    let folder = TempDir::new().expect("a folder");
    let task = id("a");
    let store = RedbStore::open(folder.path(), 0).expect("opens");
    let (record, model) = round(0, "0");
    store.create(&task, &spec(), &record, &model).expect("creates");
    let file = fs::read_dir(folder.path().join("models/a"))
        .expect("lists")
        .next()
        .expect("one file")
        .expect("readable")
        .path();
    fs::write(&file, "model 9").expect("writes");
    let error = store.load(&task, &spec(), 1).expect_err("damaged").to_string();
    assert!(error.contains("model of round 0 is damaged"), "{error}");
    fs::remove_file(&file).expect("removes");
    assert!(matches!(store.load(&task, &spec(), 1), Err(StoreError::Model { .. })));
    drop(store);

    let database = folder.path().join("fedra.redb");
    fs::write(&database, "this is no database, and long enough to be read as one").expect("writes");
    assert!(matches!(RedbStore::open(folder.path(), 0), Err(StoreError::Database { .. })));
}
