//! Contract of [`TaskStore`] and [`SecretStore`], run against every backend.

use std::slice;

use fedra_coordinator::round::Standing;
use tempfile::TempDir;

use super::sample::{debit, decision, definition, id, quality, record, round, round_with_state};
use crate::storage::*;

fn contract(tasks: &dyn TaskStore) {
    rounds(tasks);
    ledger(tasks);
    keeping(tasks);
    decisions(tasks);
    added_tasks(tasks);
    fencing(tasks);
}

/// A task with rounds 0 to `last`.
fn task_with_rounds(tasks: &dyn TaskStore, name: &str, last: u64) -> Term {
    let term = tasks.lead(&id(name)).expect("leads");
    tasks.create(&term, &definition(), &record(0)).expect("creates");
    for number in 1..=last {
        tasks.append(&term, &record(number), None).expect("appends");
    }
    term
}

fn rounds(tasks: &dyn TaskStore) {
    let task = id("rounds");
    let term = tasks.lead(&task).expect("leads");
    assert!(matches!(tasks.append(&term, &record(0), None), Err(StoreError::UnknownTask(_))));
    assert_eq!(tasks.definition(&task).expect("reads"), None);
    assert_eq!(tasks.records(&task, 9).expect("reads"), []);

    tasks.create(&term, &definition(), &record(0)).expect("creates");
    assert_eq!(tasks.definition(&task).expect("reads"), Some(definition()));
    assert!(tasks.tasks().expect("reads").contains(&task));
    assert!(matches!(
        tasks.create(&term, &definition(), &record(0)),
        Err(StoreError::OutOfOrder { last: 0, .. })
    ));
    let (second, _) = round_with_state(1, "1");
    tasks.append(&term, &second, None).expect("appends");
    for wrong in [0, 1, 3] {
        let error = tasks.append(&term, &record(wrong), None);
        assert!(matches!(error, Err(StoreError::OutOfOrder { last: 1, .. })));
    }
    assert_eq!(tasks.records(&task, 9).expect("reads"), [record(0), second.clone()]);
    assert_eq!(tasks.records(&task, 1).expect("reads"), slice::from_ref(&second));
    assert_eq!(tasks.record(&task, 1).expect("reads"), Some(second));
    assert_eq!(tasks.record(&task, 2).expect("reads"), None);

    tasks.set_quality(&term, 1, quality(0.5)).expect("notes");
    let error = tasks.set_quality(&term, 2, quality(0.5));
    assert!(matches!(error, Err(StoreError::OutOfOrder { round: 2, last: 1, .. })));
    let rated = tasks.record(&task, 1).expect("reads").expect("is there");
    assert_eq!(rated.quality, Some(quality(0.5)));
    let stranger = tasks.lead(&id("stranger")).expect("leads");
    let error = tasks.set_quality(&stranger, 0, quality(0.5));
    assert!(matches!(error, Err(StoreError::UnknownTask(_))));
}

fn ledger(tasks: &dyn TaskStore) {
    let (a, b) = (task_with_rounds(tasks, "paid", 0), task_with_rounds(tasks, "free", 0));
    let entries = [debit(1, 0), debit(1, 1), debit(2, 0)];
    for entry in &entries {
        tasks.debit(&a, entry).expect("debits");
    }
    assert_eq!(tasks.debits(&a.task).expect("reads"), entries);
    assert_eq!(tasks.debits(&b.task).expect("reads"), []);
    let stranger = tasks.lead(&id("stranger")).expect("leads");
    assert!(matches!(tasks.debit(&stranger, &entries[0]), Err(StoreError::UnknownTask(_))));
}

fn keeping(tasks: &dyn TaskStore) {
    let term = task_with_rounds(tasks, "kept", 3);
    let keeping = || tasks.keeping(&term.task).expect("reads");
    let kept = |round| (round, Keeping::Kept);
    assert_eq!(keeping(), [0, 1, 2, 3].map(kept));
    tasks.keep(&term, &[(0, Keeping::SetAside), (2, Keeping::Dropped)]).expect("notes");
    assert_eq!(keeping(), [(0, Keeping::SetAside), kept(1), kept(3)]);
    tasks.keep(&term, &[kept(0), (1, Keeping::Dropped)]).expect("notes");
    assert_eq!(keeping(), [kept(0), kept(3)]);
    let error = tasks.keep(&term, &[(3, Keeping::Dropped), kept(4)]);
    assert!(matches!(error, Err(StoreError::OutOfOrder { round: 4, last: 3, .. })));
    tasks.keep(&term, &[]).expect("nothing to note");
    assert_eq!(keeping(), [kept(0), kept(3)]);
}

fn decisions(tasks: &dyn TaskStore) {
    let term = task_with_rounds(tasks, "decided", 1);
    let task = &term.task;
    assert_eq!(tasks.decisions(task).expect("reads"), []);
    assert_eq!(tasks.standing(task).expect("reads"), Standing::Running);
    let made = [
        (OperatorAction::Pause, Standing::Paused),
        (OperatorAction::Resume, Standing::Running),
        (OperatorAction::Stop, Standing::Stopped),
        // Not even this makes it run again.
        (OperatorAction::Resume, Standing::Stopped),
    ];
    for (at, (action, standing)) in (1..).zip(made) {
        tasks.decide(&term, &decision(at, action)).expect("notes");
        assert_eq!(tasks.standing(task).expect("reads"), standing);
    }
    // A decision that makes a round is noted with it, or not at all.
    let back = decision(5, OperatorAction::RollBack { to: 0, round: 2 });
    assert!(tasks.append(&term, &record(7), Some(&back)).is_err());
    tasks.append(&term, &record(2), Some(&back)).expect("appends");
    let seen = tasks.decisions(task).expect("reads");
    assert_eq!(seen.len(), made.len() + 1);
    assert_eq!((&seen[1], &seen[4]), (&decision(2, OperatorAction::Resume), &back));
    let stranger = tasks.lead(&id("stranger")).expect("leads");
    let error = tasks.decide(&stranger, &decision(1, OperatorAction::Stop));
    assert!(matches!(error, Err(StoreError::UnknownTask(_))));
    assert_eq!(tasks.standing(&id("none")).expect("reads"), Standing::Running);
}

fn added_tasks(tasks: &dyn TaskStore) {
    assert_eq!(tasks.added_tasks().expect("reads"), []);
    let (x, y) = (id("x"), id("y"));
    tasks.add_task(&y, "id = \"y\"", 5).expect("adds");
    tasks.add_task(&x, "id = \"x\"", 6).expect("adds");
    let added = [(x.clone(), "id = \"x\"".to_owned()), (y.clone(), "id = \"y\"".to_owned())];
    assert_eq!(tasks.added_tasks().expect("reads"), added);
    assert_eq!(tasks.decisions(&y).expect("reads"), [decision(5, OperatorAction::Create)]);
    for taken in [&x, &id("decided")] {
        assert!(matches!(tasks.add_task(taken, "", 7), Err(StoreError::TaskExists(_))));
    }
    // It may be paused before it has its model, which then comes as usual.
    let term = tasks.lead(&x).expect("leads");
    tasks.decide(&term, &decision(8, OperatorAction::Pause)).expect("notes");
    assert_eq!(tasks.definition(&x).expect("reads"), None);
    task_with_rounds(tasks, "x", 1);
    assert_eq!(tasks.standing(&x).expect("reads"), Standing::Paused);
}

/// A leader that was replaced writes nothing.
fn fencing(tasks: &dyn TaskStore) {
    let task = id("led");
    let unborn = tasks.lead(&task).expect("leads");
    let old = task_with_rounds(tasks, "led", 1);
    let fenced = |result: Result<(), StoreError>| {
        let error = result.expect_err("another leads");
        assert!(matches!(error, StoreError::Fenced { .. }), "{error}");
        assert!(error.to_string().contains("another server leads it"), "{error}");
    };
    fenced(tasks.create(&unborn, &definition(), &record(0)));
    let new = tasks.lead(&task).expect("leads");
    assert!(unborn.epoch < old.epoch && old.epoch < new.epoch);
    fenced(tasks.append(&old, &record(2), None));
    fenced(tasks.keep(&old, &[(0, Keeping::Dropped)]));
    fenced(tasks.keep(&old, &[]));
    fenced(tasks.set_quality(&old, 1, quality(0.5)));
    fenced(tasks.debit(&old, &debit(2, 0)));
    fenced(tasks.decide(&old, &decision(1, OperatorAction::Stop)));
    assert_eq!(tasks.records(&task, 9).expect("reads"), [record(0), record(1)]);
    assert_eq!(tasks.keeping(&task).expect("reads").len(), 2);
    assert_eq!(tasks.debits(&task).expect("reads"), []);
    assert_eq!(tasks.decisions(&task).expect("reads"), []);
    tasks.append(&new, &record(2), None).expect("appends");
    // The leader of another task is its own.
    let other = task_with_rounds(tasks, "other", 0);
    tasks.append(&other, &record(1), None).expect("appends");
}

fn secrets(secrets: &dyn SecretStore) {
    let (a, b) = (id("a"), id("b"));
    assert_eq!(secrets.secret(&a, [1; 32]).expect("makes"), [1; 32]);
    assert_eq!(secrets.secret(&a, [2; 32]).expect("keeps"), [1; 32]);
    assert_eq!(secrets.secret(&b, [3; 32]).expect("makes"), [3; 32]);
}

#[test]
fn memory_keeps_the_contract() {
    let store = Storage::in_memory();
    contract(store.tasks.as_ref());
    secrets(store.secrets.as_ref());
}

#[test]
fn redb_keeps_the_contract() {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path()).expect("opens");
    contract(store.tasks.as_ref());
    secrets(store.secrets.as_ref());
    drop(store);
    // And what it kept is still there in another run.
    let store = open(folder.path()).expect("opens again");
    assert_eq!(store.tasks.debits(&id("paid")).expect("reads").len(), 3);
    assert_eq!(store.tasks.standing(&id("decided")).expect("reads"), Standing::Stopped);
    assert_eq!(store.tasks.keeping(&id("kept")).expect("reads").len(), 2);
    assert_eq!(store.tasks.added_tasks().expect("reads").len(), 2);
    assert_eq!(store.secrets.secret(&id("a"), [9; 32]).expect("keeps"), [1; 32]);
    // The leaders of the first run count.
    let term = store.tasks.lead(&id("led")).expect("leads");
    assert_eq!(term.epoch, Epoch(4));
}

#[test]
fn an_intercepted_store_keeps_the_contract() {
    struct Passes;
    impl Intercept for Passes {
        fn write(
            &self,
            _: &Write<'_>,
            run: &mut dyn FnMut() -> Result<(), StoreError>,
        ) -> Result<(), StoreError> {
            run()
        }
    }
    let store = Storage::in_memory().intercepted(std::sync::Arc::new(Passes));
    contract(store.tasks.as_ref());
    secrets(store.secrets.as_ref());
}

#[test]
fn records_read_well() {
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
