//! The embedded store when files were cut short, changed or removed: it opens as
//! it was, or says what is damaged and what is left. It never panics, and never
//! takes something else for what was written.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;

use super::power::{Image, TestDisk};
use super::sample::{
    commit, debit, decision, definition, id, model, quality, round, round_with, round_with_state,
    round_with_step, task_with_rounds,
};
use crate::storage::disk::Disk;
use crate::storage::embedded::open_on;
use crate::storage::*;

/// The file of a round's model.
fn model_file(folder: &Path, number: u64) -> PathBuf {
    let (record, _) = round(number, &number.to_string());
    folder.join(format!("models/a/{number:010}-{}.safetensors", record.sha256))
}

fn set_aside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".damaged");
    name.into()
}

/// A store with rounds 0 to 4 of a task.
fn sample() -> (TempDir, Lease, Storage) {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path()).expect("opens");
    let lease = task_with_rounds(&store, &id("a"), 4);
    (folder, lease, store)
}

#[test]
fn a_damaged_newest_model_stops_the_task_and_says_what_to_do() {
    let (folder, lease, _store) = sample();
    let file = model_file(folder.path(), 4);
    fs::write(model_file(folder.path(), 2), "model 9").expect("writes");
    let longer = [&model("4")[..], b" "].concat();
    for damage in [&b""[..], &model("9"), &longer] {
        fs::write(&file, damage).expect("writes");
        let error = lease.load(&definition(), 1).expect_err("damaged").to_string();
        assert!(error.starts_with("task a: the newest model, that of round 4, is damaged: "));
        assert!(error.contains(&file.display().to_string()), "{error}");
        assert!(error.contains("Intact are the models of rounds 0, 1, 3."), "{error}");
        assert!(error.contains("go on from round 3 with `fedra-aggregator store repair`"));
    }
    fs::remove_file(&file).expect("removes");
    let error = lease.load(&definition(), 1).expect_err("gone");
    assert!(matches!(&error, StoreError::NewestModel { round: 4, .. }), "{error}");
    assert!(error.to_string().contains("is gone"), "{error}");
    // Nothing was touched, so that a backup can still be put in its place.
    assert!(model_file(folder.path(), 2).exists());
    fs::write(&file, model("4")).expect("writes");
    assert!(lease.load(&definition(), 1).expect("loads").is_some());
}

#[test]
fn older_models_that_are_damaged_are_set_aside() {
    let (folder, lease, store) = sample();
    let task = id("a");
    let (changed, gone) = (model_file(folder.path(), 1), model_file(folder.path(), 3));
    fs::write(&changed, "model 9").expect("writes");
    fs::remove_file(&gone).expect("removes");
    let checkpoint = lease.load(&definition(), 9).expect("loads").expect("is there");
    assert_eq!(checkpoint.history.len(), 5);
    assert_eq!(store.checkpoints(&task).expect("reads"), [0, 2, 4]);
    let (record, _) = round(1, "1");
    assert_eq!(store.model(&task, &record.sha256).expect("reads"), None);
    assert!(lease.roll_back(3, 1).is_err());
    assert!(set_aside(&changed).exists() && !changed.exists());
    drop((lease, store));
    // One that is put back from a backup is there again.
    fs::write(&gone, model("3")).expect("writes");
    let store = open(folder.path()).expect("opens");
    let lease = Lease::take(&store, &task).expect("leads");
    lease.load(&definition(), 1).expect("loads");
    assert_eq!(store.checkpoints(&task).expect("reads"), [0, 2, 3, 4]);
    assert_eq!(lease.roll_back(3, 1).expect("goes back").0.round, 5);
}

#[test]
fn a_model_that_is_damaged_while_the_server_runs_is_not_handed_out() {
    let (folder, lease, store) = sample();
    let task = id("a");
    fs::write(model_file(folder.path(), 2), "model 9").expect("writes");
    let (record, _) = round(2, "2");
    let error = store.model(&task, &record.sha256).expect_err("damaged");
    assert!(matches!(error, StoreError::Model { round: 2, .. }), "{error}");
    assert!(matches!(store.checkpoint(&task, 2), Err(StoreError::Model { .. })));
    assert!(matches!(lease.roll_back(2, 1), Err(StoreError::Model { .. })));
    assert_eq!(store.tasks.decisions(&task).expect("reads"), []);
}

/// A model with an infinite value, under the hash that it has.
fn infinite() -> Bytes {
    let mut file = model("x").to_vec();
    let last = file.len() - 4;
    file[last..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    file.into()
}

#[test]
fn a_model_with_a_value_that_is_not_finite_is_damaged_though_it_has_its_hash() {
    let (_folder, lease, store) = sample();
    let task = id("a");
    let (record, file) = round_with(5, infinite());
    lease.commit(&record, &file).expect("commits");
    let checks = check(&store).expect("reads");
    let shown = checks[0].to_string();
    assert!(!checks[0].is_intact());
    assert!(shown.contains("damaged: the model of round 5: "), "{shown}");
    assert!(shown.contains(": tensor layers.0.weight: value 0 is not finite"), "{shown}");
    assert!(store.model(&task, &record.sha256).is_err());
    assert!(lease.roll_back(5, 1).is_err());
    let error = lease.load(&definition(), 1).expect_err("damaged").to_string();
    assert!(error.contains("value 0 is not finite. Intact are the models of rounds 0 to 4"));

    let repairs = repair(&store, 9).expect("repairs");
    let lease = Lease::take(&store, &task).expect("leads");
    assert!(matches!(repairs.as_slice(), [Repair::WentBack { to: 4, round: 6, .. }]));
    let checkpoint = lease.load(&definition(), 1).expect("loads").expect("is there");
    assert_eq!(checkpoint.files.model, model("4"));
    // Nor is an older one of this kind offered for a roll-back.
    assert_eq!(store.checkpoints(&task).expect("reads"), [0, 1, 2, 3, 4, 6]);
}

/// The file of the state after a round.
fn state_file(folder: &Path, number: u64) -> PathBuf {
    let (record, _) = round_with_state(number, &number.to_string());
    let sha256 = record.optimizer_state.expect("there is one");
    folder.join(format!("models/a/{number:010}-{sha256}.optimizer"))
}

/// The sample, and rounds 5 to 7 with a state.
fn sample_with_states() -> (TempDir, Lease, Storage) {
    let (folder, lease, store) = sample();
    for number in 5..=7 {
        let (record, files) = round_with_state(number, &number.to_string());
        lease.commit(&record, &files).expect("commits");
    }
    (folder, lease, store)
}

#[test]
fn a_damaged_state_of_the_optimizer_damages_its_checkpoint() {
    let (folder, lease, store) = sample_with_states();
    let task = id("a");
    let newest = state_file(folder.path(), 7);
    let intact = fs::read(&newest).expect("reads");
    fs::write(&newest, "state 9").expect("writes");
    let error = lease.load(&definition(), 1).expect_err("damaged").to_string();
    assert!(error.contains(&newest.display().to_string()), "{error}");
    assert!(error.contains("Intact are the models of rounds 0 to 6."), "{error}");
    let shown = check(&store).expect("reads")[0].to_string();
    assert!(shown.contains("damaged: the model of round 7: "), "{shown}");
    assert!(matches!(store.checkpoint(&task, 7), Err(StoreError::Model { round: 7, .. })));

    fs::write(&newest, &intact).expect("writes");
    assert!(check(&store).expect("reads")[0].is_intact());
    fs::remove_file(&newest).expect("removes");
    let repairs = repair(&store, 9).expect("repairs");
    let lease = Lease::take(&store, &task).expect("leads");
    assert!(matches!(repairs.as_slice(), [Repair::WentBack { to: 6, round: 8, .. }]));
    let found = lease.load(&definition(), 1).expect("loads").expect("is there");
    assert_eq!(found.files, round_with_state(6, "6").1);
}

#[test]
fn an_older_checkpoint_with_a_damaged_state_is_set_aside_until_it_is_put_back() {
    let (folder, lease, store) = sample_with_states();
    let task = id("a");
    let (state, model) = (state_file(folder.path(), 5), model_file(folder.path(), 5));
    let intact = fs::read(&state).expect("reads");
    fs::write(&state, "state 9").expect("writes");
    // The second start has nothing more to say of it.
    for _ in 0..2 {
        lease.load(&definition(), 1).expect("loads");
        assert_eq!(store.checkpoints(&task).expect("reads"), [0, 1, 2, 3, 4, 6, 7]);
        assert!(set_aside(&state).exists() && !state.exists() && model.exists());
        let checks = check(&store).expect("reads");
        assert!(checks[0].is_intact() && checks[0].leftovers == 0, "{checks:?}");
    }
    fs::write(&state, intact).expect("writes");
    lease.load(&definition(), 1).expect("loads");
    assert_eq!(store.checkpoint(&task, 5).expect("is kept"), round_with_state(5, "5"));
}

#[test]
fn leftovers_of_a_crash_go_and_other_files_stay() {
    let (folder, lease, store) = sample();
    let task = id("a");
    let models = folder.path().join("models/a");
    let never_named_hash = round(5, "never named").0.sha256;
    let never_named = models.join(format!("0000000005-{never_named_hash}.safetensors"));
    let half = models.join("0000000005-x.tmp");
    let notes = models.join("notes.txt");
    let state = models.join(format!("0000000004-{never_named_hash}.optimizer"));
    for file in [&never_named, &half, &notes, &state] {
        fs::write(file, "something").expect("writes");
    }
    assert_eq!(check(&store).expect("reads")[0].leftovers, 3);
    lease.load(&definition(), 1).expect("loads");
    assert!(notes.exists() && !half.exists() && !never_named.exists() && !state.exists());
    assert_eq!(store.checkpoints(&task).expect("reads"), [0, 1, 2, 3, 4]);
    lease.prune(&Retention { last: 1, every: 0, best: false }, None).expect("prunes");
    assert_eq!(fs::read_dir(&models).expect("lists").count(), 3);
}

#[test]
fn a_repair_goes_on_from_the_newest_intact_model() {
    let (folder, lease, store) = sample();
    let task = id("a");
    lease.debit(&debit(5, 0)).expect("debits");
    let damaged = [2, 3, 4].map(|number| model_file(folder.path(), number));
    for file in &damaged {
        fs::write(file, "model 9").expect("writes");
    }
    let before = check(&store).expect("reads");
    assert!(!before[0].is_intact());
    assert_eq!(before[0].models.iter().filter(|model| model.problem.is_some()).count(), 3);

    let repairs = repair(&store, 99).expect("repairs");
    let lease = Lease::take(&store, &task).expect("leads");
    assert_eq!(repairs.len(), 3);
    assert!(matches!(&repairs[0], Repair::SetAside(_, check) if check.round == 2));
    assert!(matches!(&repairs[1], Repair::SetAside(_, check) if check.round == 3));
    assert!(matches!(
        &repairs[2],
        Repair::WentBack { damaged, to: 1, round: 5, .. } if damaged.round == 4
    ));
    let checkpoint = lease.load(&definition(), 9).expect("loads").expect("is there");
    assert_eq!(checkpoint.files, round(1, "1").1);
    // Nothing that was is forgotten.
    let history = checkpoint.history;
    assert_eq!(history.len(), 6);
    assert_eq!(history[4].sha256, round(4, "4").0.sha256);
    assert_eq!(history[5].restored, Some(1));
    assert_eq!(store.tasks.debits(&task).expect("reads").len(), 1);
    let made = decision(99, OperatorAction::RollBack { to: 1, round: 5 });
    assert_eq!(store.tasks.decisions(&task).expect("reads"), [made]);
    assert!(damaged.iter().all(|file| set_aside(file).exists() && !file.exists()));
    assert_eq!(store.checkpoints(&task).expect("reads"), [0, 1, 5]);
    assert!(check(&store).expect("reads")[0].is_intact());
    assert_eq!(repair(&store, 100).expect("repairs"), []);
    commit(&Lease::take(&store, &task).expect("leads"), 6);
}

#[test]
fn a_repair_goes_back_to_no_model_that_a_gate_has_refused() {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path()).expect("opens");
    let lease = task_with_rounds(&store, &id("a"), 2);
    lease.set_quality(1, quality(0.5)).expect("notes");
    let gate =
        Gate { source: LossSource::Server, loss_increase: 0.5, loss_limit: None, rollbacks: 9 };
    let refusal = GateRefusal { round: 2, loss: None, limit: None, in_a_row: 1 };
    lease.refuse(&gate, refusal, 98).expect("goes back");
    let name = format!("models/a/{:010}-{}.safetensors", 3, round(1, "1").0.sha256);
    fs::write(folder.path().join(name), "model 9").expect("writes");
    let repairs = repair(&store, 99).expect("repairs");
    assert!(matches!(&repairs[..], [Repair::WentBack { to: 1, round: 4, .. }]), "{repairs:?}");
}

#[test]
fn a_damaged_step_is_named_and_removed() {
    let (folder, lease, store) = sample();
    let (record, files) = round_with_step(5, round(4, "4").0.sha256);
    lease.commit(&record, &files).expect("commits");
    let sha256 = record.step.expect("a step").sha256;
    let file = folder.path().join(format!("models/a/0000000005-{sha256}.step"));
    assert!(check(&store).expect("reads")[0].is_intact());
    fs::write(&file, "a step").expect("writes");
    let found = check(&store).expect("reads").remove(0);
    assert!(!found.is_intact());
    assert!(found.models.iter().all(|model| model.problem.is_none()));
    let text = found.to_string();
    assert!(text.contains("damaged: the step to the model of round 5: "), "{text}");
    assert!(text.contains(&file.display().to_string()), "{text}");

    let repairs = repair(&store, 99).expect("repairs");
    assert!(matches!(repairs.as_slice(), [Repair::RemovedStep(_, step)] if step.round == 5));
    assert!(!file.exists());
    assert!(check(&store).expect("reads")[0].is_intact());
    assert_eq!(repair(&store, 100).expect("repairs"), []);
    let lease = Lease::take(&store, &id("a")).expect("leads");
    assert!(lease.load(&definition(), 1).expect("loads").is_some());
}

#[test]
fn what_cannot_be_repaired_is_left_as_it_is() {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path()).expect("opens");
    let lease = task_with_rounds(&store, &id("a"), 0);
    let file = model_file(folder.path(), 0);
    fs::write(&file, "model 9").expect("writes");
    let error = lease.load(&definition(), 1).expect_err("damaged").to_string();
    assert!(error.contains("No other model of the task is intact"), "{error}");
    let repairs = repair(&store, 1).expect("looks");
    assert!(matches!(repairs.as_slice(), [Repair::Lost(_, check)] if check.round == 0));
    assert!(file.exists());
}

#[test]
fn a_database_that_is_gone_is_not_made_anew() {
    let (folder, lease, store) = sample();
    drop((lease, store));
    let database = folder.path().join("fedra.redb");
    let intact = fs::read(&database).expect("reads");
    let error = |folder: &Path| {
        let error = open(folder).err().expect("damaged");
        assert!(matches!(&error, StoreError::Unreadable { .. }), "{error}");
        error.to_string()
    };
    for content in
        [&b""[..], b"x", b"this is no database, and long enough to be one", &[0; 100_000]]
    {
        fs::write(&database, content).expect("writes");
        let error = error(folder.path());
        assert!(error.contains("fedra.redb is damaged or not Fedra's"), "{error}");
        assert!(error.contains("as they were: a (5, the newest of round 4)."), "{error}");
        assert_eq!(fs::read(&database).expect("reads"), content);
    }
    fs::remove_file(&database).expect("removes");
    assert!(error(folder.path()).contains("it is gone"));
    assert!(!database.exists());
    fs::write(&database, intact).expect("writes");
    open(folder.path()).expect("opens again");
}

/// Everything but models, which a task's name, rounds and ledger are in.
fn look(store: &Storage) -> Result<String, StoreError> {
    let task = id("a");
    let loaded = Lease::take(store, &task)?.load(&definition(), usize::MAX)?;
    let (kept, debits) = (store.checkpoints(&task)?, store.tasks.debits(&task)?);
    let (decisions, added) = (store.tasks.decisions(&task)?, store.tasks.added_tasks()?);
    let checked = check(store)?;
    Ok(format!("{loaded:?} {kept:?} {debits:?} {decisions:?} {added:?} {checked:?}"))
}

const STORE: &str = "/store";
const DATABASE: &str = "/store/fedra.redb";

fn open_disk(disk: TestDisk) -> Result<Storage, StoreError> {
    let disk: Arc<dyn Disk> = Arc::new(disk);
    open_on(&disk, Path::new(STORE))
}

fn open_image(image: Image) -> Result<Storage, StoreError> {
    open_disk(TestDisk::new(image))
}

/// A store after an orderly stop, and as a kill leaves it; and what is in it.
fn images() -> ([Image; 2], String) {
    let disk = TestDisk::default();
    let store = open_disk(disk.clone()).expect("opens");
    let task = id("a");
    let lease = task_with_rounds(&store, &task, 30);
    for attempt in 0..40 {
        lease.debit(&debit(31, attempt)).expect("debits");
    }
    lease.set_quality(30, quality(0.5)).expect("notes");
    lease.decide(&decision(5, OperatorAction::Pause)).expect("notes");
    store.tasks.add_task(&id("b"), "id = \"b\"", 6).expect("adds");
    lease.prune(&Retention { last: 2, every: 0, best: true }, None).expect("prunes");
    let content = look(&store).expect("reads");
    let killed = disk.image();
    drop((lease, store));
    ([disk.image(), killed], content)
}

/// Opens a damaged store. Returns whether it was as before.
fn survives(image: Image, content: &str, damage: &str) -> bool {
    match open_image(image).and_then(|store| look(&store)) {
        Ok(found) => {
            assert_eq!(found, content, "{damage}");
            true
        }
        Err(error) => {
            assert!(error.to_string().contains(DATABASE), "{damage}: {error}");
            false
        }
    }
}

#[test]
fn a_database_with_a_changed_byte_is_as_before_or_refused() {
    let (images, content) = images();
    let (mut intact, mut refused) = (0, 0);
    for (kind, image) in images.into_iter().enumerate() {
        assert!(survives(image.clone(), &content, "no damage"));
        let length = image.clone().content(Path::new(DATABASE)).len();
        // All of the header, and some of every page.
        for at in (0..320).chain((320..length).step_by(83)) {
            let mut damaged = image.clone();
            damaged.content(Path::new(DATABASE))[at] ^= 1 << (at % 8);
            let damage = format!("byte {at} of {length}, image {kind}");
            *if survives(damaged, &content, &damage) { &mut intact } else { &mut refused } += 1;
        }
    }
    assert!(intact > 0 && refused > 0, "{intact} were as before, {refused} refused");
}

#[test]
fn a_database_that_was_cut_short_is_as_before_or_refused() {
    let (images, content) = images();
    let mut refused = 0;
    for (kind, image) in images.into_iter().enumerate() {
        let length = image.clone().content(Path::new(DATABASE)).len();
        for cut in (0..length).step_by(509).chain([1, 8, 320, length - 1]) {
            let mut damaged = image.clone();
            damaged.content(Path::new(DATABASE)).truncate(cut);
            let damage = format!("{cut} of {length} bytes, image {kind}");
            refused += usize::from(!survives(damaged, &content, &damage));
        }
        for more in [1, 4096, length] {
            let mut damaged = image.clone();
            damaged.content(Path::new(DATABASE)).resize(length + more, 0xa5);
            survives(damaged, &content, &format!("{more} bytes more, image {kind}"));
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn no_change_of_a_model_goes_unseen() {
    let disk = TestDisk::default();
    let store = open_disk(disk.clone()).expect("opens");
    let lease = task_with_rounds(&store, &id("a"), 1);
    let (record, files) = round_with_state(2, "2");
    lease.commit(&record, &files).expect("commits");
    drop((lease, store));
    let files = disk.files("/store/models/a");
    assert_eq!(files.len(), 4);
    for (at, path) in files.into_iter().enumerate() {
        // The last round has two.
        let round = at.min(2);
        let length = disk.image().content(&path).len();
        for at in 0..2 * length {
            let mut image = disk.image();
            let content = image.content(&path);
            if at < length {
                content[at] ^= 0x10;
            } else {
                content.truncate(at - length);
            }
            let store = open_image(image).expect("opens");
            let lease = Lease::take(&store, &id("a")).expect("leads");
            match lease.load(&definition(), 1) {
                Ok(_) => {
                    assert!(round < 2);
                    let kept = store.checkpoints(&id("a")).expect("reads");
                    assert!(kept.len() == 2 && !kept.contains(&(round as u64)));
                }
                Err(error) => {
                    assert_eq!(round, 2);
                    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
                }
            }
        }
    }
}
