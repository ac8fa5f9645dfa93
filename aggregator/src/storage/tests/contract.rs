//! Contract of every store, run against each of them.

use std::slice;

use fedra_coordinator::round::Standing;
use fedra_protocol::{Mechanism, ModelSpec, TaskId};
use tempfile::TempDir;

use super::sample::{
    commit, debit, decision, definition, id, policy, quality, round, round_with_state,
    task_with_rounds,
};
use crate::storage::*;

fn contract(store: &dyn Store) {
    let (a, b) = (id("a"), id("b"));
    rounds(store, &a, &b);
    privacy(store, &a, &b);
    checkpoints(store, &id("kept"));
    going_back(store, &id("back"));
    optimizer_states(store, &id("momentum"));
    decisions(store, &a);
    added_tasks(store, &a);
}

/// Leaves tasks `a`, with two rounds, and `b`, with one.
fn rounds(store: &dyn Store, a: &TaskId, b: &TaskId) {
    let (first, model) = round(0, "0");
    assert_eq!(store.load(a, &definition(), 5).expect("loads"), None);
    assert!(matches!(store.commit(a, &first, &model), Err(StoreError::UnknownTask(_))));

    store.create(a, &definition(), &first, &model.model).expect("creates");
    store.create(b, &definition(), &first, &model.model).expect("the same model in another task");
    assert!(matches!(
        store.create(a, &definition(), &first, &model.model),
        Err(StoreError::OutOfOrder { last: 0, .. })
    ));
    let (second, newer) = round(1, "1");
    store.commit(a, &second, &newer).expect("commits");
    for wrong in [0, 1, 3] {
        let (record, model) = round(wrong, "wrong");
        assert!(matches!(
            store.commit(a, &record, &model),
            Err(StoreError::OutOfOrder { last: 1, .. })
        ));
    }

    let checkpoint = store.load(a, &definition(), 5).expect("loads").expect("is there");
    assert_eq!(checkpoint.history, [first.clone(), second.clone()]);
    assert_eq!(checkpoint.files, newer);
    let checkpoint = store.load(a, &definition(), 1).expect("loads").expect("is there");
    assert_eq!(checkpoint.history, slice::from_ref(&second));

    store.set_quality(a, 1, quality(0.5)).expect("notes");
    assert!(store.set_quality(a, 2, quality(0.5)).is_err());
    let checkpoint = store.load(a, &definition(), 1).expect("loads").expect("is there");
    assert_eq!(checkpoint.history[0].quality, Some(quality(0.5)));

    assert_eq!(store.model(a, &second.sha256).expect("reads"), Some(newer.model));
    assert_eq!(store.model(a, &first.sha256).expect("reads"), Some(model.model));
    assert_eq!(store.model(b, &second.sha256).expect("reads"), None);
    let other = Definition { model: ModelSpec::mnist_2nn(), ..definition() };
    assert!(matches!(store.load(a, &other, 1), Err(StoreError::ModelChanged(_))));
}

/// The ledger and the secret, for tasks `a` and `b` that are there.
fn privacy(store: &dyn Store, a: &TaskId, b: &TaskId) {
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

    let other = Definition { privacy: Some(policy(Mechanism::Distributed)), ..definition() };
    assert!(matches!(store.load(a, &other, 1), Err(StoreError::PrivacyChanged(_))));
    let none = Definition { privacy: None, ..definition() };
    assert!(matches!(store.load(a, &none, 1), Err(StoreError::PrivacyChanged(_))));
}

/// Leaves a task that keeps rounds 0, 4, 5 and 6 of 6.
fn checkpoints(store: &dyn Store, task: &TaskId) {
    let keep = Retention { last: 2, every: 4, best: true };
    assert!(matches!(store.prune(task, &keep), Err(StoreError::UnknownTask(_))));
    assert!(store.checkpoints(task).expect("reads").is_empty());
    task_with_rounds(store, task, 6);
    assert_eq!(store.checkpoints(task).expect("reads"), [0, 1, 2, 3, 4, 5, 6]);
    store.prune(task, &Retention { last: 0, ..keep }).expect("prunes");
    assert_eq!(store.checkpoints(task).expect("reads"), [0, 1, 2, 3, 4, 5, 6]);

    store.set_quality(task, 2, quality(0.9)).expect("notes");
    store.set_quality(task, 5, quality(0.8)).expect("notes");
    store.prune(task, &keep).expect("prunes");
    assert_eq!(store.checkpoints(task).expect("reads"), [0, 2, 4, 5, 6]);
    // What is better now takes its place.
    store.set_quality(task, 4, quality(0.95)).expect("notes");
    store.prune(task, &keep).expect("prunes");
    assert_eq!(store.checkpoints(task).expect("reads"), [0, 4, 5, 6]);

    let (kept, model) = round(4, "4");
    assert_eq!(store.model(task, &kept.sha256).expect("reads"), Some(model.model.clone()));
    let (record, file) = store.checkpoint(task, 4).expect("is kept");
    assert_eq!((record.round, record.sha256, file), (4, kept.sha256, model));
    let (gone, _) = round(2, "2");
    assert_eq!(store.model(task, &gone.sha256).expect("reads"), None);
    let error = store.checkpoint(task, 2).expect_err("is gone");
    assert!(matches!(&error, StoreError::NotKept { round: 2, kept, .. } if *kept == [0, 4, 5, 6]));
    assert!(error.to_string().ends_with("kept are those of rounds 0, 4 to 6"), "{error}");
    assert!(matches!(store.checkpoint(task, 7), Err(StoreError::NotKept { round: 7, .. })));
    assert!(matches!(store.checkpoint(&id("none"), 0), Err(StoreError::UnknownTask(_))));
    let history = store.load(task, &definition(), 9).expect("loads").expect("is there").history;
    assert_eq!(history.len(), 7);
}

fn going_back(store: &dyn Store, task: &TaskId) {
    task_with_rounds(store, task, 3);
    store.set_quality(task, 1, quality(0.7)).expect("notes");
    let (record, model) = store.roll_back(task, 1, 77).expect("goes back");
    assert_eq!((record.round, record.restored), (4, Some(1)));
    assert_eq!((record.reports, record.cohort, record.weight), (0, 0, 0));
    assert_eq!(record.quality, Some(quality(0.7)));
    assert_eq!(record.clipping_norm, Some(0.75));
    assert_eq!(model, round(1, "1").1);
    let made = decision(77, OperatorAction::RollBack { to: 1, round: 4 });
    assert_eq!(store.decisions(task).expect("reads"), slice::from_ref(&made));
    assert_eq!(store.standing(task).expect("reads"), Standing::Running);

    let checkpoint = store.load(task, &definition(), 9).expect("loads").expect("is there");
    assert_eq!(checkpoint.history.len(), 5);
    assert_eq!(checkpoint.history[3].restored, None);
    assert_eq!(checkpoint.history[4], record);
    assert_eq!(checkpoint.files, model);
    commit(store, task, 5);
    // The restored model stays although the one that it was is gone.
    store.prune(task, &Retention { last: 2, every: 0, best: false }).expect("prunes");
    assert_eq!(store.checkpoints(task).expect("reads"), [0, 4, 5]);
    assert_eq!(store.model(task, &record.sha256).expect("reads"), Some(model.model));
    let gone = store.roll_back(task, 1, 78).expect_err("is gone");
    assert!(matches!(gone, StoreError::NotKept { round: 1, .. }), "{gone}");
    assert_eq!(store.decisions(task).expect("reads"), [made]);
    let (record, _) = store.roll_back(task, 4, 79).expect("goes back");
    assert_eq!((record.round, record.restored), (6, Some(4)));
    assert!(matches!(store.roll_back(&id("none"), 0, 1), Err(StoreError::UnknownTask(_))));
}

/// The optimizer's state comes and goes with its round.
fn optimizer_states(store: &dyn Store, task: &TaskId) {
    task_with_rounds(store, task, 0);
    let rounds = [round_with_state(1, "1"), round_with_state(2, "2"), round(3, "3")];
    for (record, files) in &rounds {
        store.commit(task, record, files).expect("commits");
        let found = store.load(task, &definition(), 1).expect("loads").expect("is there");
        assert_eq!((&found.history[0], &found.files), (record, files));
    }
    assert_eq!(store.checkpoint(task, 2).expect("is kept"), rounds[1]);
    let (record, files) = store.roll_back(task, 1, 1).expect("goes back");
    assert_eq!((record.round, record.optimizer_state), (4, rounds[0].0.optimizer_state));
    assert_eq!(files, rounds[0].1);
    let found = store.load(task, &definition(), 1).expect("loads").expect("is there");
    assert_eq!((&found.history[0], &found.files), (&record, &files));
    // The state stays as long as its round, whatever becomes of an equal one.
    store.prune(task, &Retention { last: 1, every: 0, best: false }).expect("prunes");
    assert_eq!(store.checkpoints(task).expect("reads"), [0, 4]);
    assert_eq!(store.checkpoint(task, 4).expect("is kept"), (record, files));
}

fn decisions(store: &dyn Store, task: &TaskId) {
    assert_eq!(store.decisions(task).expect("reads"), []);
    assert_eq!(store.standing(task).expect("reads"), Standing::Running);
    let made = [
        (OperatorAction::Pause, Standing::Paused),
        (OperatorAction::Resume, Standing::Running),
        (OperatorAction::Stop, Standing::Stopped),
        // Not even this makes it run again.
        (OperatorAction::Resume, Standing::Stopped),
    ];
    for (at, (action, standing)) in (1..).zip(made) {
        store.decide(task, &decision(at, action)).expect("notes");
        assert_eq!(store.standing(task).expect("reads"), standing);
    }
    let seen: Vec<_> = store.decisions(task).expect("reads");
    assert_eq!(seen.len(), made.len());
    assert_eq!(seen[1], decision(2, OperatorAction::Resume));
    let stranger = store.decide(&id("none"), &decision(1, OperatorAction::Stop));
    assert!(matches!(stranger, Err(StoreError::UnknownTask(_))));
    assert_eq!(store.standing(&id("none")).expect("reads"), Standing::Running);
}

fn added_tasks(store: &dyn Store, there: &TaskId) {
    assert_eq!(store.added_tasks().expect("reads"), []);
    let (x, y) = (id("x"), id("y"));
    store.add_task(&y, "id = \"y\"", 5).expect("adds");
    store.add_task(&x, "id = \"x\"", 6).expect("adds");
    let added = [(x.clone(), "id = \"x\"".to_owned()), (y.clone(), "id = \"y\"".to_owned())];
    assert_eq!(store.added_tasks().expect("reads"), added);
    assert_eq!(store.decisions(&y).expect("reads"), [decision(5, OperatorAction::Create)]);
    for taken in [&x, there] {
        assert!(matches!(store.add_task(taken, "", 7), Err(StoreError::TaskExists(_))));
    }
    // It may be paused before it has its model, which then comes as usual.
    store.decide(&x, &decision(8, OperatorAction::Pause)).expect("notes");
    assert_eq!(store.load(&x, &definition(), 1).expect("loads"), None);
    task_with_rounds(store, &x, 1);
    assert_eq!(store.standing(&x).expect("reads"), Standing::Paused);
}

#[test]
fn memory_keeps_the_contract() {
    let store = MemoryStore::default();
    contract(&store);
    // A clone is what a restart finds.
    assert!(store.clone().load(&id("a"), &definition(), 9).expect("loads").is_some());
}

#[test]
fn redb_keeps_the_contract() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path().join("made/on/the/way");
    contract(&RedbStore::open(&folder).expect("opens"));
    // And what it kept is still there in another run.
    let store = RedbStore::open(&folder).expect("opens again");
    let checkpoint = store.load(&id("a"), &definition(), 9).expect("loads").expect("is there");
    assert_eq!(checkpoint.history.len(), 2);
    assert!(store.load(&id("b"), &definition(), 9).expect("loads").is_some());
    assert_eq!(store.debits(&id("a")).expect("reads").len(), 3);
    assert_eq!(store.secret(&id("a"), [9; 32]).expect("keeps"), [1; 32]);
    assert_eq!(store.checkpoints(&id("kept")).expect("reads"), [0, 4, 5, 6]);
    assert_eq!(store.standing(&id("a")).expect("reads"), Standing::Stopped);
    assert_eq!(store.added_tasks().expect("reads").len(), 2);
}

#[test]
fn a_store_has_one_owner() {
    let folder = TempDir::new().expect("a folder");
    let _store = RedbStore::open(folder.path()).expect("opens");
    assert!(matches!(RedbStore::open(folder.path()), Err(StoreError::InUse(_))));
}

#[test]
fn a_store_of_an_earlier_version_is_read() {
    let folder = TempDir::new().expect("a folder");
    let task = id("a");
    task_with_rounds(&RedbStore::open(folder.path()).expect("opens"), &task, 3);
    // It had three tables less.
    let path = folder.path().join("fedra.redb");
    let database = ::redb::Database::open(path).expect("opens");
    let transaction = database.begin_write().expect("begins");
    let hashes = ::redb::TableDefinition::<(&str, u64), &[u8; 32]>::new;
    transaction.delete_table(hashes("kept_models")).expect("deletes");
    transaction.delete_table(hashes("models_set_aside")).expect("deletes");
    let decisions = ::redb::TableDefinition::<(&str, u64), &[u8]>::new("decisions");
    transaction.delete_table(decisions).expect("deletes");
    transaction.commit().expect("commits");
    drop(database);

    let store = RedbStore::open(folder.path()).expect("opens");
    assert!(store.check().expect("reads")[0].is_intact());
    let checkpoint = store.load(&task, &definition(), 9).expect("loads").expect("is there");
    assert_eq!(checkpoint.history.len(), 4);
    assert_eq!(store.checkpoints(&task).expect("reads"), [0, 1, 2, 3]);
    commit(&store, &task, 4);
    assert_eq!(store.checkpoints(&task).expect("reads"), [0, 1, 2, 3, 4]);
}

#[test]
fn a_store_of_a_later_version_is_left_alone() {
    let folder = TempDir::new().expect("a folder");
    drop(RedbStore::open(folder.path()).expect("opens"));
    let database = ::redb::Database::open(folder.path().join("fedra.redb")).expect("opens");
    let transaction = database.begin_write().expect("begins");
    let meta = ::redb::TableDefinition::<&str, u64>::new("meta");
    transaction.open_table(meta).expect("opens").insert("format", 2).expect("inserts");
    transaction.commit().expect("commits");
    drop(database);
    let error = RedbStore::open(folder.path()).err().expect("too new");
    assert!(matches!(error, StoreError::Format { format: 2, known: 1, .. }), "{error}");
}

#[test]
fn decisions_read_well() {
    let json = |action| serde_json::to_string(&decision(9, action)).expect("plain data");
    assert_eq!(json(OperatorAction::Pause), r#"{"unix_seconds":9,"action":"pause"}"#);
    assert_eq!(
        json(OperatorAction::RollBack { to: 3, round: 8 }),
        r#"{"unix_seconds":9,"action":"roll-back","to":3,"round":8}"#
    );
    assert_eq!(serde_json::to_string(&Standing::Paused).expect("plain data"), r#""paused""#);
    // And what an earlier version has written is read.
    let (record, _) = round(0, "0");
    let json = serde_json::to_string(&record).expect("plain data");
    assert!(!json.contains("restored") && !json.contains("optimizer"), "{json}");
    assert_eq!(serde_json::from_str::<RoundRecord>(&json).expect("reads"), record);
}
