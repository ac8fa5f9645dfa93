//! Copies of a store that is in use, and of one that is not.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::sample::{
    commit, debit, definition, id, record, round, round_with_state, round_with_step,
    task_with_rounds,
};
use crate::storage::*;

/// A round with a state, but the initial one.
fn state_at(number: u64) -> (RoundRecord, CheckpointFiles) {
    let content = number.to_string();
    if number == 0 { round(0, &content) } else { round_with_state(number, &content) }
}

#[test]
fn a_backup_of_a_store_that_is_written_to_is_whole() {
    let folder = TempDir::new().expect("a folder");
    let live = folder.path().join("live");
    let (task, store) = (id("a"), open(&live).expect("opens"));
    let lease = task_with_rounds(&store, &task, 0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                number += 1;
                lease.debit(&debit(number, 0)).expect("debits");
                let (record, files) = state_at(number);
                lease.commit(&record, &files).expect("commits");
                lease.prune(&Retention { last: 3, every: 0, best: false }, None).expect("prunes");
            }
            number
        });
        let mut rounds = 0;
        for copy in 0..5 {
            let to = folder.path().join(format!("copy-{copy}"));
            let checks = back_up(&live, &to);
            // The writer is to end in any case.
            done.store(copy == 4 || checks.is_err(), Ordering::Relaxed);
            let checks = checks.expect("backs up");
            assert_eq!(checks.len(), 1);
            assert!(checks[0].is_intact(), "{checks:?}");
            let twin = open(&to).expect("opens");
            let leader = Lease::take(&twin, &task).expect("leads");
            let found = leader.load(&definition(), usize::MAX).expect("loads");
            let Checkpoint { history, files } = found.expect("is there");
            let last = history.len() as u64 - 1;
            assert!(history.iter().map(|record| record.round).eq(0..=last));
            assert_eq!(files, state_at(last).1);
            // The debit of a round comes before it.
            let debits = twin.tasks.debits(&task).expect("reads").len() as u64;
            assert!(debits == last || debits == last + 1, "{debits} for {last} rounds");
            assert!(last >= rounds);
            rounds = last;
            commit(&leader, last + 1);
        }
        assert!(writer.join().expect("no panic") >= rounds);
    });
    // The store itself has noticed nothing.
    drop((lease, store));
    let store = open(&live).expect("opens");
    assert!(check(&store).expect("reads")[0].is_intact());
}

#[test]
fn a_backup_has_everything() {
    let folder = TempDir::new().expect("a folder");
    let (live, copy) = (folder.path().join("live"), folder.path().join("deep/copy"));
    let store = open(&live).expect("opens");
    let lease = task_with_rounds(&store, &id("a"), 3);
    task_with_rounds(&store, &id("b"), 0);
    let (stepped, files) = round_with_step(4, record(3).sha256);
    lease.commit(&stepped, &files).expect("commits");
    lease.secret([7; 32]).expect("makes");
    lease.roll_back(1, 5).expect("goes back");
    store.tasks.add_task(&id("c"), "id = \"c\"", 6).expect("adds");
    let before = check(&store).expect("reads");
    let epoch = Lease::take(&store, &id("a")).expect("leads").epoch();
    drop((lease, store));

    let checks = back_up(&live, &copy).expect("backs up");
    assert_eq!(checks.len(), before.len());
    let twin = open(&copy).expect("opens");
    let store = open(&live).expect("opens");
    for task in [id("a"), id("b")] {
        let load = |store: &Storage| {
            let lease = Lease::take(store, &task).expect("leads");
            lease.load(&definition(), 9).expect("loads")
        };
        assert_eq!(load(&twin), load(&store));
        assert_eq!(
            twin.checkpoints(&task).expect("reads"),
            store.checkpoints(&task).expect("reads")
        );
        let decisions = |store: &Storage| store.tasks.decisions(&task).expect("reads");
        assert_eq!(decisions(&twin), decisions(&store));
    }
    assert!(Lease::take(&twin, &id("a")).expect("leads").epoch() > epoch);
    assert_eq!(twin.secrets.secret(&id("a"), [8; 32]).expect("keeps"), [7; 32]);
    let step = stepped.step.expect("a step").sha256;
    assert_eq!(twin.step(&id("a"), &step).expect("reads"), files.step);
    assert_eq!(twin.tasks.added_tasks().expect("reads"), store.tasks.added_tasks().expect("reads"));
}

#[test]
fn a_backup_is_made_of_a_sound_store_into_an_empty_folder() {
    let folder = TempDir::new().expect("a folder");
    let (live, copy) = (folder.path().join("live"), folder.path().join("copy"));
    assert!(matches!(back_up(&live, &copy), Err(StoreError::File { .. })));
    assert!(!live.exists() && !copy.exists());
    let store = open(&live).expect("opens");
    task_with_rounds(&store, &id("a"), 1);
    drop(store);
    assert!(matches!(back_up(&live, &live), Err(StoreError::NotEmpty(_))));

    let (newest, _) = round(1, "1");
    let file = live.join(format!("models/a/0000000001-{}.safetensors", newest.sha256));
    fs::write(&file, "model 9").expect("writes");
    let error = back_up(&live, &copy).expect_err("damaged");
    assert!(matches!(&error, StoreError::Model { round: 1, .. }), "{error}");
    // What there is of it is not taken for a store.
    assert!(matches!(open(&copy), Err(StoreError::Unreadable { .. })));
}
