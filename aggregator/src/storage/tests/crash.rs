//! The embedded store when it is killed, when the power fails and when a disk
//! operation fails: after any of its operations, what is found at the next start
//! is what was there before the call or after it, never anything between.

use std::path::Path;
use std::sync::Arc;

use super::power::{Cut, Image, Operation, TestDisk};
use super::sample::{
    commit, debit, decision, definition, id, quality, round, round_with_state, task_with_rounds,
};
use crate::storage::disk::Disk;
use crate::storage::embedded::open_on;
use crate::storage::*;
use fedra_protocol::TaskId;

const FOLDER: &str = "/data/store";

fn open(disk: &TestDisk) -> Result<Storage, StoreError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    open_on(&disk, Path::new(FOLDER))
}

/// Something that is written, by the leaders of tasks `a` and `b`.
type Step = fn(&[Lease; 2]) -> Result<(), StoreError>;

/// One call of each kind that changes a store.
const STEPS: [Step; 15] = [
    |[a, _]| {
        let (record, files) = round(0, "0");
        a.create(&definition(), &record, &files)
    },
    |[a, _]| {
        let (record, files) = round_with_state(1, "1");
        a.commit(&record, &files)
    },
    |[a, _]| a.set_quality(1, quality(0.5)),
    |[a, _]| a.secret([1; 32]).map(drop),
    |[a, _]| a.debit(&debit(2, 0)),
    |[a, _]| {
        let (record, files) = round(2, "2");
        a.commit(&record, &files)
    },
    |[a, _]| a.roll_back(1, 7).map(drop),
    |[a, _]| a.debit(&debit(4, 0)),
    |[a, _]| a.prune(&Retention { last: 1, every: 0, best: false }, None),
    |[a, _]| a.decide(&decision(8, OperatorAction::Pause)),
    |[_, b]| b.storage().tasks.add_task(b.task(), "id = \"b\"", 9),
    |[_, b]| {
        let (record, files) = round(0, "b");
        b.create(&definition(), &record, &files)
    },
    |[a, _]| a.decide(&decision(10, OperatorAction::Resume)),
    |[a, _]| {
        let (record, files) = round_with_state(4, "4");
        a.commit(&record, &files)
    },
    |[a, _]| {
        let refusal = GateRefusal { round: 4, loss: None, limit: None, in_a_row: 1 };
        a.refuse(&GATE, refusal, 11).map(drop)
    },
];

/// A gate that pauses the task at once.
const GATE: Gate =
    Gate { source: LossSource::Server, loss_increase: 0.5, loss_limit: None, rollbacks: 1 };

/// The leaders of both tasks.
fn lead(store: &Storage) -> Result<[Lease; 2], StoreError> {
    Ok([Lease::take(store, &id("a"))?, Lease::take(store, &id("b"))?])
}

/// The step that makes the secret.
const SECRET: usize = 3;

/// Everything that a store has, but the secret, which cannot be only looked at.
#[derive(Debug, PartialEq)]
struct Content {
    tasks: Vec<Task>,
    added: Vec<(TaskId, String)>,
}

#[derive(Debug, PartialEq)]
struct Task {
    loaded: Option<Checkpoint>,
    kept: Vec<u64>,
    debits: Vec<Debit>,
    decisions: Vec<Decision>,
}

fn content(leases: &[Lease; 2]) -> Result<Content, StoreError> {
    let task = |lease: &Lease| {
        let (task, store) = (lease.task(), lease.storage());
        let loaded = lease.load(&definition(), usize::MAX)?;
        let kept = store.checkpoints(task)?;
        for round in &kept {
            store.checkpoint(task, *round)?;
        }
        let (debits, decisions) = (store.tasks.debits(task)?, store.tasks.decisions(task)?);
        Ok::<_, StoreError>(Task { loaded, kept, debits, decisions })
    };
    let [a, b] = leases;
    Ok(Content { tasks: vec![task(a)?, task(b)?], added: a.storage().tasks.added_tasks()? })
}

/// Expected content before the first step and after each.
fn expected() -> Vec<Content> {
    let leases = lead(&Storage::in_memory()).expect("leads");
    let mut expected = vec![content(&leases).expect("reads")];
    for step in STEPS {
        step(&leases).expect("works");
        expected.push(content(&leases).expect("reads"));
    }
    expected
}

/// Opens what is left after `done` steps and part of the next, and goes on with
/// it. Returns the disk.
fn check(image: Image, done: usize, expected: &[Content], at: &str) -> TestDisk {
    let disk = TestDisk::new(image);
    let leases = open(&disk).and_then(|store| lead(&store));
    let leases = leases.unwrap_or_else(|error| panic!("{at}: {error}"));
    let found = content(&leases).unwrap_or_else(|error| panic!("{at}: {error}"));
    let next = (done + 1).min(STEPS.len());
    assert!(found == expected[done] || found == expected[next], "{at}: {found:#?}");
    if let Some(Checkpoint { history, .. }) = &found.tasks[0].loaded {
        let secret = leases[0].secret([9; 32]).expect("there is one");
        assert!(secret == [1; 32] || (secret == [9; 32] && done <= SECRET), "{at}");
        commit(&leases[0], history.len() as u64);
    } else {
        task_with_rounds(leases[0].storage(), &id("a"), 1);
    }
    drop(leases);
    let leases = open(&disk).and_then(|store| lead(&store));
    let leases = leases.unwrap_or_else(|error| panic!("{at}, later: {error}"));
    content(&leases).unwrap_or_else(|error| panic!("{at}, later: {error}"));
    disk
}

/// Does all steps, and returns what the disk has been asked to do.
fn history() -> Vec<Operation> {
    let disk = TestDisk::default();
    let leases = lead(&open(&disk).expect("opens")).expect("leads");
    for step in STEPS {
        step(&leases).expect("works");
        disk.returned();
    }
    drop(leases);
    disk.log()
}

fn returned(log: &[Operation]) -> usize {
    log.iter().filter(|operation| matches!(operation, Operation::Returned)).count()
}

#[test]
fn a_crash_after_any_operation_leaves_the_old_or_the_new_state() {
    let (log, expected) = (history(), expected());
    assert!(log.len() > 100, "{}", log.len());
    for at in 0..=log.len() {
        let log = &log[..at];
        let seed = at as u64;
        for cut in [Cut::Killed, Cut::Lost, Cut::Chance(2 * seed), Cut::Chance(2 * seed + 1)] {
            let image = cut.after(&Image::default(), log);
            check(image, returned(log), &expected, &format!("{cut:?} after {at} operations"));
        }
    }
}

#[test]
fn a_crash_while_it_recovers_from_a_crash_loses_nothing_either() {
    let (log, expected) = (history(), expected());
    for at in (5..log.len()).step_by(23) {
        let (log, done) = (&log[..at], returned(&log[..at]));
        let first = Cut::Chance(at as u64).after(&Image::default(), log);
        let disk = TestDisk::new(first.clone());
        content(&lead(&open(&disk).expect("opens")).expect("leads")).expect("reads");
        let recovery = disk.log();
        for again in 0..recovery.len() {
            let cut = Cut::Chance(again as u64);
            let image = cut.after(&first, &recovery[..again]);
            check(image, done, &expected, &format!("{at} operations, then {again} of recovery"));
        }
    }
}

#[test]
fn a_failing_operation_is_an_error_and_changes_nothing_else() {
    let expected = expected();
    let operations = history().len();
    let mut failures = 0;
    for at in 0..operations {
        let disk = TestDisk::default();
        disk.fail_after(at);
        let mut done = 0;
        // The first attempt meets the fault, the second must not need to know.
        for attempt in 0..2 {
            if attempt > 0 {
                disk.mend();
            }
            let Ok(leases) = open(&disk).and_then(|store| lead(&store)) else {
                assert_eq!(attempt, 0, "operation {at}");
                failures += 1;
                continue;
            };
            let found = content(&leases).unwrap_or_else(|error| panic!("operation {at}: {error}"));
            // The call that failed may have been done all the same.
            done += usize::from(found != expected[done]);
            assert_eq!(found, expected[done], "operation {at}");
            let steps = &STEPS[done..];
            let failed = steps.iter().position(|step| step(&leases).is_err());
            assert!(failed.is_none() || attempt == 0, "operation {at}");
            failures += usize::from(failed.is_some());
            done += failed.unwrap_or(steps.len());
        }
        let found = content(&lead(&open(&disk).expect("opens")).expect("leads")).expect("reads");
        assert_eq!(found, expected[STEPS.len()], "operation {at}");
    }
    assert!(failures > operations / 2, "{failures} of {operations}");
}

#[test]
fn a_full_disk_does_not_end_the_store() {
    let disk = TestDisk::default();
    let store = open(&disk).expect("opens");
    task_with_rounds(&store, &id("a"), 1);
    let leases = lead(&store).expect("leads");
    let before = content(&leases).expect("reads");
    // Each of its files is made, written, synced, renamed, and the folder synced.
    let (record, files) = round_with_state(2, "2");
    for operation in 0..10 {
        disk.fail_after(operation);
        let error = leases[0].commit(&record, &files).expect_err("no room");
        assert!(matches!(&error, StoreError::File { .. }), "{error}");
        assert!(error.to_string().contains("/data/store/models/a"), "{error}");
        assert_eq!(content(&leases).expect("reads"), before);
    }
    leases[0].commit(&record, &files).expect("there is room again");
}
