//! Checkpoints in all stores together: what a task's leader writes, and what is found again.

use std::slice;

use fedra_coordinator::round::Standing;
use fedra_protocol::{Mechanism, ModelSpec};
use tempfile::TempDir;

use super::sample::{
    commit, decision, definition, id, policy, quality, record, round, round_with_state,
    round_with_step, task_with_rounds,
};
use crate::storage::*;

pub fn contract(store: &Storage) {
    rounds(store);
    definitions(store);
    checkpoints(store);
    going_back(store);
    refusing(store);
    optimizer_states(store);
    steps(store);
    orphans(store);
    replaced_leaders(store);
}

/// Leaves task `a` with two rounds, and `b` with one.
fn rounds(store: &Storage) {
    let (first, files) = round(0, "0");
    let [a, b] = ["a", "b"].map(|name| Lease::take(store, &id(name)).expect("leads"));
    assert_eq!(a.load(&definition(), 5).expect("loads"), None);
    assert!(matches!(a.commit(&first, &files), Err(StoreError::UnknownTask(_))));

    a.create(&definition(), &first, &files).expect("creates");
    b.create(&definition(), &first, &files).expect("the same model in another task");
    let again = a.create(&definition(), &first, &files);
    assert!(matches!(again, Err(StoreError::OutOfOrder { last: 0, .. })));
    let (second, newer) = round(1, "1");
    a.commit(&second, &newer).expect("commits");
    for wrong in [0, 1, 3] {
        let (record, files) = round(wrong, "wrong");
        let error = a.commit(&record, &files);
        assert!(matches!(error, Err(StoreError::OutOfOrder { last: 1, .. })));
    }

    let checkpoint = a.load(&definition(), 5).expect("loads").expect("is there");
    assert_eq!(checkpoint.history, [first.clone(), second.clone()]);
    assert_eq!(checkpoint.files, newer);
    let checkpoint = a.load(&definition(), 1).expect("loads").expect("is there");
    assert_eq!(checkpoint.history, slice::from_ref(&second));

    let model =
        |name: &str, record: &RoundRecord| store.model(&id(name), &record.sha256).expect("reads");
    assert_eq!(model("a", &second), Some(newer.model));
    assert_eq!(model("a", &first), Some(files.model));
    assert_eq!(model("b", &second), None);
}

fn definitions(store: &Storage) {
    let lease = Lease::take(store, &id("a")).expect("leads");
    let other = Definition { model: ModelSpec::mnist_2nn(), ..definition() };
    assert!(matches!(lease.load(&other, 1), Err(StoreError::ModelChanged(_))));
    let other = Definition { privacy: Some(policy(Mechanism::Distributed)), ..definition() };
    assert!(matches!(lease.load(&other, 1), Err(StoreError::PrivacyChanged(_))));
    let none = Definition { privacy: None, ..definition() };
    assert!(matches!(lease.load(&none, 1), Err(StoreError::PrivacyChanged(_))));
}

/// Leaves a task that keeps rounds 0, 4, 5 and 6 of 6.
fn checkpoints(store: &Storage) {
    let task = &id("kept");
    let keep = Retention { last: 2, every: 4, best: true };
    let early = Lease::take(store, task).expect("leads").prune(&keep, None);
    assert!(matches!(early, Err(StoreError::UnknownTask(_))));
    assert!(store.checkpoints(task).expect("reads").is_empty());
    let lease = task_with_rounds(store, task, 6);
    assert_eq!(store.checkpoints(task).expect("reads"), [0, 1, 2, 3, 4, 5, 6]);
    lease.prune(&Retention { last: 0, ..keep }, None).expect("prunes");
    assert_eq!(store.checkpoints(task).expect("reads"), [0, 1, 2, 3, 4, 5, 6]);

    lease.set_quality(2, quality(0.9)).expect("notes");
    lease.set_quality(5, quality(0.8)).expect("notes");
    lease.prune(&keep, None).expect("prunes");
    assert_eq!(store.checkpoints(task).expect("reads"), [0, 2, 4, 5, 6]);
    // What is better now takes its place.
    lease.set_quality(4, quality(0.95)).expect("notes");
    lease.prune(&keep, None).expect("prunes");
    assert_eq!(store.checkpoints(task).expect("reads"), [0, 4, 5, 6]);
    assert_eq!(store.blobs.list(task).expect("lists").blobs.len(), 4);

    let (kept, files) = round(4, "4");
    assert_eq!(store.model(task, &kept.sha256).expect("reads"), Some(files.model.clone()));
    let (record, found) = store.checkpoint(task, 4).expect("is kept");
    assert_eq!((record.round, record.sha256, found), (4, kept.sha256, files));
    let (gone, _) = round(2, "2");
    assert_eq!(store.model(task, &gone.sha256).expect("reads"), None);
    let error = store.checkpoint(task, 2).expect_err("is gone");
    assert!(matches!(&error, StoreError::NotKept { round: 2, kept, .. } if *kept == [0, 4, 5, 6]));
    assert!(error.to_string().ends_with("kept are those of rounds 0, 4 to 6"), "{error}");
    assert!(matches!(store.checkpoint(task, 7), Err(StoreError::NotKept { round: 7, .. })));
    assert!(matches!(store.checkpoint(&id("none"), 0), Err(StoreError::UnknownTask(_))));
    let history = lease.load(&definition(), 9).expect("loads").expect("is there").history;
    assert_eq!(history.len(), 7);
}

fn refusing(store: &Storage) {
    let task = &id("refuse");
    let lease = task_with_rounds(store, task, 3);
    for (round, accuracy) in [(1, 0.7), (2, 0.6)] {
        lease.set_quality(round, quality(accuracy)).expect("notes");
    }
    let gate =
        Gate { source: LossSource::Server, loss_increase: 0.5, loss_limit: None, rollbacks: 2 };
    let refusal = GateRefusal { round: 3, loss: Some(9.0), limit: Some(1.5), in_a_row: 1 };
    lease.prune(&Retention { last: 1, every: 0, best: false }, Some(&gate)).expect("prunes");
    assert_eq!(store.checkpoints(task).expect("reads"), [0, 2, 3], "the last kept one stays");
    let (record, files) = lease.refuse(&gate, refusal, 77).expect("goes back");
    assert_eq!((record.round, record.restored, record.refusal), (4, Some(2), Some(refusal)));
    assert_eq!((record.quality, files), (Some(quality(0.6)), round(2, "2").1));
    assert_eq!(store.tasks.decisions(task).expect("reads"), [], "no operator has decided");
    let again = lease.refuse(&gate, refusal, 78).expect_err("another round has followed");
    assert!(matches!(again, StoreError::OutOfOrder { round: 4, last: 4, .. }), "{again}");
    commit(&lease, 5);
    let refusal = GateRefusal { round: 5, in_a_row: 2, ..refusal };
    let (record, _) = lease.refuse(&gate, refusal, 79).expect("goes back");
    assert_eq!((record.round, record.restored), (6, Some(4)));
    let pause = decision(79, OperatorAction::PauseByGate { refused: 5 });
    assert_eq!(store.tasks.decisions(task).expect("reads"), [pause]);
    assert_eq!(store.tasks.standing(task).expect("reads"), Standing::Paused);
    let loaded = lease.load(&definition(), 1).expect("loads").expect("is there");
    assert_eq!(loaded.history, [record]);
}

fn going_back(store: &Storage) {
    let task = &id("back");
    let lease = task_with_rounds(store, task, 3);
    lease.set_quality(1, quality(0.7)).expect("notes");
    let (record, files) = lease.roll_back(1, 77).expect("goes back");
    assert_eq!((record.round, record.restored), (4, Some(1)));
    assert_eq!((record.reports, record.cohort, record.weight), (0, 0, 0));
    assert_eq!(record.quality, Some(quality(0.7)));
    assert_eq!(record.clipping_norm, Some(0.75));
    assert_eq!(files, round(1, "1").1);
    let made = decision(77, OperatorAction::RollBack { to: 1, round: 4 });
    assert_eq!(store.tasks.decisions(task).expect("reads"), slice::from_ref(&made));

    let checkpoint = lease.load(&definition(), 9).expect("loads").expect("is there");
    assert_eq!(checkpoint.history.len(), 5);
    assert_eq!(checkpoint.history[3].restored, None);
    assert_eq!(checkpoint.history[4], record);
    assert_eq!(checkpoint.files, files);
    commit(&lease, 5);
    // The restored model stays although the one that it was is gone.
    lease.prune(&Retention { last: 2, every: 0, best: false }, None).expect("prunes");
    assert_eq!(store.checkpoints(task).expect("reads"), [0, 4, 5]);
    assert_eq!(store.model(task, &record.sha256).expect("reads"), Some(files.model));
    let gone = lease.roll_back(1, 78).expect_err("is gone");
    assert!(matches!(gone, StoreError::NotKept { round: 1, .. }), "{gone}");
    assert_eq!(store.tasks.decisions(task).expect("reads"), [made]);
    let (record, _) = lease.roll_back(4, 79).expect("goes back");
    assert_eq!((record.round, record.restored), (6, Some(4)));
    let none = Lease::take(store, &id("none")).expect("leads");
    assert!(matches!(none.roll_back(0, 1), Err(StoreError::UnknownTask(_))));
}

/// The optimizer's state comes and goes with its round.
fn optimizer_states(store: &Storage) {
    let task = &id("momentum");
    let lease = task_with_rounds(store, task, 0);
    let rounds = [round_with_state(1, "1"), round_with_state(2, "2"), round(3, "3")];
    for (record, files) in &rounds {
        lease.commit(record, files).expect("commits");
        let found = lease.load(&definition(), 1).expect("loads").expect("is there");
        assert_eq!((&found.history[0], &found.files), (record, files));
    }
    assert_eq!(store.checkpoint(task, 2).expect("is kept"), rounds[1]);
    let (record, files) = lease.roll_back(1, 1).expect("goes back");
    assert_eq!((record.round, record.optimizer_state), (4, rounds[0].0.optimizer_state));
    assert_eq!(files, rounds[0].1);
    let found = lease.load(&definition(), 1).expect("loads").expect("is there");
    assert_eq!((&found.history[0], &found.files), (&record, &files));
    // The state stays as long as its round, whatever becomes of an equal one.
    lease.prune(&Retention { last: 1, every: 0, best: false }, None).expect("prunes");
    assert_eq!(store.checkpoints(task).expect("reads"), [0, 4]);
    assert_eq!(store.checkpoint(task, 4).expect("is kept"), (record, files));
}

/// A residual belongs to its checkpoint; a step comes and goes with it, and may be missing.
fn steps(store: &Storage) {
    let task = &id("steps");
    let lease = task_with_rounds(store, task, 0);
    let mut base = record(0).sha256;
    let mut rounds = Vec::new();
    for number in 1..=3 {
        let (record, files) = round_with_step(number, base);
        lease.commit(&record, &files).expect("commits");
        base = record.sha256;
        rounds.push((record, files));
    }
    // A step is read by itself.
    let read = |files: &CheckpointFiles| CheckpointFiles { step: None, ..files.clone() };
    let found = lease.load(&definition(), 1).expect("loads").expect("is there");
    assert_eq!((&found.history[0], found.files), (&rounds[2].0, read(&rounds[2].1)));
    let step = |at: usize| {
        let sha256 = rounds[at].0.step.expect("a step").sha256;
        store.step(task, &sha256).expect("reads")
    };
    assert_eq!([step(0), step(1), step(2)], [0, 1, 2].map(|at| rounds[at].1.step.clone()));
    let (record, files) = lease.roll_back(2, 1).expect("goes back");
    assert_eq!((record.step, record.residual), (None, rounds[1].0.residual));
    assert_eq!(files, read(&rounds[1].1));
    lease.prune(&Retention { last: 2, every: 0, best: false }, None).expect("prunes");
    assert_eq!([step(0), step(1), step(2)], [None, None, rounds[2].1.step.clone()]);
    let files_of = |round: u64| {
        let blobs = store.blobs.list(task).expect("lists").blobs;
        blobs.into_iter().filter(|key| key.round == round).count()
    };
    assert_eq!([1, 2, 3, 4].map(files_of), [0, 0, 3, 2]);
    // A step that is gone is no damage.
    store.blobs.delete(task, &rounds[2].0.step_blob().expect("a step")).expect("removes");
    assert_eq!(step(2), None);
    let kept = check(store).expect("reads").into_iter().find(|check| check.task == *task);
    assert!(kept.expect("the task").is_intact());
    lease.load(&definition(), 1).expect("loads");
    assert_eq!(store.checkpoints(task).expect("reads"), [0, 3, 4]);
}

/// Files that no record names go at the next load, and only they.
fn orphans(store: &Storage) {
    let task = &id("orphans");
    let lease = task_with_rounds(store, task, 2);
    lease.prune(&Retention { last: 1, every: 0, best: false }, None).expect("prunes");
    let kept = store.blobs.list(task).expect("lists");
    for (number, content) in [(3, "never named"), (2, "another of round 2"), (1, "1")] {
        let (record, files) = round_with_state(number, content);
        for (key, content) in record.blobs().iter().zip(files.all()) {
            store.blobs.put(task, key, content).expect("stores");
        }
    }
    assert_eq!(check(store).expect("reads").iter().map(|task| task.leftovers).sum::<usize>(), 6);
    lease.load(&definition(), 1).expect("loads");
    assert_eq!(store.blobs.list(task).expect("lists"), kept);
}

/// A leader that was replaced changes no checkpoint.
fn replaced_leaders(store: &Storage) {
    let task = &id("replaced");
    let old = task_with_rounds(store, task, 2);
    let new = Lease::take(store, task).expect("leads");
    assert!(old.epoch() < new.epoch());
    let fenced = |error: StoreError| assert!(matches!(error, StoreError::Fenced { .. }), "{error}");
    let (record, files) = round(3, "of the old leader");
    fenced(old.commit(&record, &files).expect_err("another leads"));
    fenced(old.roll_back(0, 1).expect_err("another leads"));
    fenced(
        old.prune(&Retention { last: 1, every: 0, best: false }, None).expect_err("another leads"),
    );
    // What it has put is an orphan, which it may not remove either.
    fenced(old.load(&definition(), 1).expect_err("another leads"));
    assert_eq!(store.checkpoints(task).expect("reads"), [0, 1, 2]);
    commit(&new, 3);
    let found = new.load(&definition(), 1).expect("loads").expect("is there");
    assert_eq!(found.files, round(3, "3").1);
    assert_eq!(store.blobs.list(task).expect("lists").blobs.len(), 4);
}

#[test]
fn memory_keeps_the_contract() {
    let store = Storage::in_memory();
    contract(&store);
    // A clone is what a restart finds.
    assert_eq!(store.clone().checkpoints(&id("kept")).expect("reads"), [0, 4, 5, 6]);
}

#[test]
fn the_embedded_store_keeps_the_contract() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path().join("made/on/the/way");
    contract(&open(&folder).expect("opens"));
    // And what it kept is still there in another run.
    let store = open(&folder).expect("opens again");
    let load = |name: &str| {
        let lease = Lease::take(&store, &id(name)).expect("leads");
        lease.load(&definition(), 9).expect("loads").expect("is there")
    };
    assert_eq!(load("a").history.len(), 2);
    assert_eq!(load("b").history.len(), 1);
    assert_eq!(store.checkpoints(&id("kept")).expect("reads"), [0, 4, 5, 6]);
}

#[test]
fn a_store_has_one_owner() {
    let folder = TempDir::new().expect("a folder");
    let _store = open(folder.path()).expect("opens");
    assert!(matches!(open(folder.path()), Err(StoreError::InUse(_))));
}

#[test]
fn a_store_of_an_earlier_version_is_read() {
    let folder = TempDir::new().expect("a folder");
    let task = id("a");
    task_with_rounds(&open(folder.path()).expect("opens"), &task, 3);
    // It had four tables less.
    let path = folder.path().join("fedra.redb");
    let database = ::redb::Database::open(path).expect("opens");
    let transaction = database.begin_write().expect("begins");
    let hashes = ::redb::TableDefinition::<(&str, u64), &[u8; 32]>::new;
    transaction.delete_table(hashes("kept_models")).expect("deletes");
    transaction.delete_table(hashes("models_set_aside")).expect("deletes");
    let decisions = ::redb::TableDefinition::<(&str, u64), &[u8]>::new("decisions");
    transaction.delete_table(decisions).expect("deletes");
    let epochs = ::redb::TableDefinition::<&str, u64>::new("epochs");
    transaction.delete_table(epochs).expect("deletes");
    transaction.commit().expect("commits");
    drop(database);

    let store = open(folder.path()).expect("opens");
    assert!(check(&store).expect("reads")[0].is_intact());
    let lease = Lease::take(&store, &task).expect("leads");
    let checkpoint = lease.load(&definition(), 9).expect("loads").expect("is there");
    assert_eq!(checkpoint.history.len(), 4);
    assert_eq!(store.checkpoints(&task).expect("reads"), [0, 1, 2, 3]);
    commit(&lease, 4);
    assert_eq!(store.checkpoints(&task).expect("reads"), [0, 1, 2, 3, 4]);
}

#[test]
fn a_store_of_a_later_version_is_left_alone() {
    let folder = TempDir::new().expect("a folder");
    drop(open(folder.path()).expect("opens"));
    let database = ::redb::Database::open(folder.path().join("fedra.redb")).expect("opens");
    let transaction = database.begin_write().expect("begins");
    let meta = ::redb::TableDefinition::<&str, u64>::new("meta");
    transaction.open_table(meta).expect("opens").insert("format", 2).expect("inserts");
    transaction.commit().expect("commits");
    drop(database);
    let error = open(folder.path()).err().expect("too new");
    assert!(matches!(error, StoreError::Format { format: 2, known: 1, .. }), "{error}");
}
