//! Check of a task's files against its records: what is intact, what is damaged or gone,
//! what a crash has left over. A checkpoint of which any file is damaged is damaged.
//! Nothing is changed here.

use std::collections::{BTreeMap, BTreeSet};

use fedra_protocol::TaskId;

use super::StoreError;
use super::blobs::{BlobError, BlobKey, CheckpointFiles};
use super::compose::Storage;
use super::records::RoundRecord;
use super::tasks::Keeping;

/// Result of the check of one checkpoint that should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointCheck {
    /// Its round.
    pub round: u64,
    /// Place of its model, or of the file that has a problem.
    pub place: String,
    /// The problem with it, if there is one.
    pub problem: Option<String>,
}

/// A checkpoint that should be there.
pub(super) struct Found {
    pub check: CheckpointCheck,
    /// The file that has a problem.
    pub damaged: Option<BlobKey>,
    /// True if the records have it as kept.
    pub is_noted: bool,
}

/// The checkpoints of a task.
pub struct Inspection {
    /// All but the newest, oldest first.
    pub(super) older: Vec<Found>,
    pub(super) newest: Found,
    /// The newest files, if they are intact.
    pub(super) files: Option<CheckpointFiles>,
    /// Files that no checkpoint has.
    pub(super) orphans: Vec<BlobKey>,
    /// Number of files that were not written to their end.
    pub(super) unfinished: usize,
}

/// The record of each round whose checkpoint should be there, and true if it is noted as
/// kept.
type Wanted = BTreeMap<u64, (RoundRecord, bool)>;

impl Inspection {
    /// Reads every checkpoint of the task whose last round this is.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the stores cannot be read.
    pub fn of(storage: &Storage, task: &TaskId, last: &RoundRecord) -> Result<Self, StoreError> {
        let listing = storage.blobs.list(task)?;
        let (mut wanted, orphans) = wanted(storage, task, &listing.blobs)?;
        let newest = wanted.remove(&last.round).unwrap_or_else(|| (last.clone(), false));
        let older = wanted
            .into_values()
            .map(|wanted| Ok(look_at(storage, task, &wanted)?.0))
            .collect::<Result<_, StoreError>>()?;
        let (newest, files) = look_at(storage, task, &newest)?;
        Ok(Self { older, newest, files, orphans, unfinished: listing.unfinished })
    }

    /// The check of each checkpoint that should be there, oldest first.
    pub fn checks(&self) -> impl Iterator<Item = &CheckpointCheck> {
        self.older.iter().chain([&self.newest]).map(|found| &found.check)
    }

    /// The check of the newest.
    #[must_use]
    pub fn newest(&self) -> &CheckpointCheck {
        &self.newest.check
    }

    /// The rounds before the newest whose checkpoint is intact, oldest first.
    pub fn intact(&self) -> impl DoubleEndedIterator<Item = u64> {
        let intact = self.older.iter().filter(|found| found.check.problem.is_none());
        intact.map(|found| found.check.round)
    }

    /// Number of files that a crash has left.
    #[must_use]
    pub fn leftovers(&self) -> usize {
        self.orphans.len() + self.unfinished
    }

    /// The error of a task that cannot go on, if it cannot.
    pub(super) fn failure(&self, task: &TaskId) -> Option<StoreError> {
        let problem = self.newest.check.problem.clone()?;
        let (task, round) = (task.clone(), self.newest.check.round);
        Some(StoreError::NewestModel { task, round, problem, intact: self.intact().collect() })
    }
}

/// Reads the files of a checkpoint, which are returned if all of them are intact.
fn look_at(
    storage: &Storage,
    task: &TaskId,
    (record, is_noted): &(RoundRecord, bool),
) -> Result<(Found, Option<CheckpointFiles>), StoreError> {
    let keys = record.blobs();
    let (mut files, mut damage) = (Vec::new(), None);
    for key in &keys {
        match storage.blobs.get(task, key) {
            Ok(content) => files.push(content),
            Err(BlobError::Damaged(problem)) => {
                damage = Some((*key, problem));
                break;
            }
            Err(BlobError::Store(error)) => return Err(error),
        }
    }
    let files = if damage.is_none() { CheckpointFiles::of(record, files) } else { None };
    let (damaged, problem) = damage.unzip();
    let place = storage.blobs.place(task, &damaged.unwrap_or(keys[0]));
    let check = CheckpointCheck { round: record.round, place, problem };
    Ok((Found { check, damaged, is_noted: *is_noted }, files))
}

/// The checkpoints that should be there, and of the files that are there those that should
/// not.
fn wanted(
    storage: &Storage,
    task: &TaskId,
    there: &BTreeSet<BlobKey>,
) -> Result<(Wanted, Vec<BlobKey>), StoreError> {
    let keeping: BTreeMap<u64, Keeping> = storage.tasks.keeping(task)?.into_iter().collect();
    // A store of an earlier version, which did not note what it kept.
    let is_unnoted = !keeping.values().any(|keeping| *keeping == Keeping::Kept);
    let (mut wanted, mut orphans) = (Wanted::new(), Vec::new());
    let rounds = there.iter().map(|key| key.round).chain(keeping.keys().copied());
    for round in rounds.collect::<BTreeSet<u64>>() {
        let is_kept = keeping.get(&round) == Some(&Keeping::Kept);
        let record = match keeping.contains_key(&round) || is_unnoted {
            true => storage.tasks.record(task, round)?,
            false => None,
        };
        let keys = record.as_ref().map(RoundRecord::blobs).unwrap_or_default();
        let of_round = there.iter().filter(|key| key.round == round);
        let step = record.as_ref().and_then(RoundRecord::step_blob);
        orphans.extend(of_round.filter(|key| !keys.contains(key) && step != Some(**key)));
        // What was set aside is kept again if an operator has put all of it back.
        let Some(record) = record else { continue };
        if is_kept || keys.iter().all(|key| there.contains(key)) {
            wanted.insert(round, (record, is_kept));
        }
    }
    Ok((wanted, orphans))
}
