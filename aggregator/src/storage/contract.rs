//! What every store has to do, run against each of them.

use std::fs;

use bytes::Bytes;
use fedra_protocol::{ModelSpec, Sha256Hash, TaskId};
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
    };
    (record, model)
}

fn spec() -> ModelSpec {
    ModelSpec::softmax_regression()
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
    let other = ModelSpec::mnist_2nn();
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
