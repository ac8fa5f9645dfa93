//! Check of the checkpoints' files against the database: what is intact, what is
//! damaged or gone, what a crash has left over; and its correction. A checkpoint of which
//! any file is damaged is damaged. No record is ever changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use fedra_protocol::TaskId;

use super::{RedbStore, tables};
use crate::storage::{CheckpointFiles, RoundRecord, Store, StoreError};
use fedra_coordinator::round::Standing;
use fedra_coordinator::storage::{BlobKey, rounds};

/// Result of the check of one model that should be there, with the server optimizer's
/// state beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCheck {
    /// Its round.
    pub round: u64,
    /// Its file, or that of the state if only that has a problem.
    pub path: PathBuf,
    /// The problem with it, if there is one.
    pub problem: Option<String>,
}

/// Result of the check of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskCheck {
    /// The task.
    pub task: TaskId,
    /// Completed rounds.
    pub round: u64,
    /// Its standing, as set by operators.
    pub standing: Standing,
    /// The models that should be there, oldest first.
    pub models: Vec<ModelCheck>,
    /// Files that a crash has left, which the next start removes.
    pub leftovers: usize,
    /// Entries of the privacy ledger.
    pub debits: usize,
    /// Decisions of operators.
    pub decisions: usize,
}

impl TaskCheck {
    /// True if every model is as it was written.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.models.iter().all(|model| model.problem.is_none())
    }
}

impl fmt::Display for TaskCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standing = match self.standing {
            Standing::Running => "running",
            Standing::Paused => "paused",
            Standing::Stopped => "stopped",
        };
        let intact = self.models.iter().filter(|model| model.problem.is_none());
        let intact: Vec<u64> = intact.map(|model| model.round).collect();
        let Self { task, round, debits, decisions, .. } = self;
        write!(
            f,
            "task {task}: {round} completed, {standing}; intact are the models of {}; \
             privacy debits {debits}, operators' decisions {decisions}",
            rounds(&intact)
        )?;
        for model in &self.models {
            let Some(problem) = &model.problem else { continue };
            write!(f, "\n  damaged: the model of round {}: {problem}", model.round)?;
        }
        if self.leftovers > 0 {
            write!(
                f,
                "\n  left by a crash, harmless, removed at the next start: {}",
                self.leftovers
            )?;
        }
        Ok(())
    }
}

/// Result of a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// An older model was damaged or gone; it is not kept any more.
    SetAside(TaskId, ModelCheck),
    /// The newest model was; the task goes on from an earlier one.
    WentBack {
        /// The task.
        task: TaskId,
        /// The newest model as it was.
        damaged: ModelCheck,
        /// The round whose model is the newest again.
        to: u64,
        /// The round that was added for that.
        round: u64,
    },
    /// The newest model was, and no other is intact: nothing was done.
    Lost(TaskId, ModelCheck),
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = |check: &ModelCheck| {
            let problem = check.problem.as_deref().unwrap_or("it is intact");
            format!("the model of round {} is damaged ({problem})", check.round)
        };
        match self {
            Self::SetAside(task, check) => {
                write!(f, "task {task}: {}; it is not kept any more", what(check))
            }
            Self::WentBack { task, damaged, to, round } => write!(
                f,
                "task {task}: {}, and it was the newest; the task goes on with that of round {to}, \
                 as round {round}",
                what(damaged)
            ),
            Self::Lost(task, check) => write!(
                f,
                "task {task}: {}, and no other is intact; put it back from a backup, or give the \
                 task another id",
                what(check)
            ),
        }
    }
}

/// The record of each round whose checkpoint should be there, and true if the database
/// has it as kept.
type Wanted = BTreeMap<u64, (RoundRecord, bool)>;

/// A checkpoint that should be there.
struct Found {
    check: ModelCheck,
    record: RoundRecord,
    /// True if the database has it as kept.
    noted: bool,
}

/// The checkpoints of a task.
pub(super) struct Inspection {
    /// All but the newest, oldest first.
    older: Vec<Found>,
    newest: Found,
    /// The newest files, if they are intact.
    pub files: Option<CheckpointFiles>,
    leftovers: Vec<PathBuf>,
}

impl Inspection {
    fn intact(&self) -> impl Iterator<Item = u64> {
        let intact = self.older.iter().filter(|found| found.check.problem.is_none());
        intact.map(|found| found.check.round)
    }

    /// The error of a task that cannot go on, if it cannot.
    pub(super) fn failure(&self, task: &TaskId) -> Option<StoreError> {
        let problem = self.newest.check.problem.clone()?;
        let (task, round) = (task.clone(), self.newest.check.round);
        Some(StoreError::NewestModel { task, round, problem, intact: self.intact().collect() })
    }
}

impl RedbStore {
    /// Reads every checkpoint of the task. Changes nothing.
    pub(super) fn inspect(
        &self,
        task: &TaskId,
        last: &RoundRecord,
    ) -> Result<Inspection, StoreError> {
        let (mut wanted, leftovers) = self.wanted(task)?;
        let newest = wanted.remove(&last.round).unwrap_or_else(|| (last.clone(), false));
        let older = wanted.into_values().map(|wanted| self.look_at(task, wanted).0).collect();
        let (newest, files) = self.look_at(task, newest);
        Ok(Inspection { older, newest, files, leftovers })
    }

    /// Reads the files of a checkpoint, which are returned if all of them are intact.
    fn look_at(
        &self,
        task: &TaskId,
        (record, noted): (RoundRecord, bool),
    ) -> (Found, Option<CheckpointFiles>) {
        let keys = record.blobs();
        let read = |key: &BlobKey| self.models.read(task, key).map_err(|error| (*key, error));
        let (key, problem, files) = match keys.iter().map(read).collect::<Result<Vec<_>, _>>() {
            Ok(files) => (keys[0], None, CheckpointFiles::of(files)),
            Err((key, problem)) => (key, Some(problem), None),
        };
        let path = self.models.path(task, &key);
        let check = ModelCheck { round: record.round, path, problem };
        (Found { check, record, noted }, files)
    }

    /// The checkpoints that should be there, and the files of ours that should not.
    fn wanted(&self, task: &TaskId) -> Result<(Wanted, Vec<PathBuf>), StoreError> {
        let kept = self.kept(task)?;
        // A store of an earlier version, which did not note what it kept.
        let unnoted = kept.is_empty();
        let set_aside = self.hashes(tables::SET_ASIDE, task)?;
        let mut wanted = Wanted::new();
        for (round, _) in &kept {
            let missing = || self.failed(format!("task {task} keeps round {round} without a record"));
            let record = self.record(task, *round)?.ok_or_else(missing)?;
            wanted.insert(*round, (record, true));
        }
        let listing = self.models.list(task)?;
        let mut leftovers = listing.temporary;
        let rounds: BTreeSet<u64> = listing.blobs.iter().map(|key| key.round).collect();
        for round in rounds {
            let record = match wanted.get(&round) {
                Some((record, _)) => Some(record.clone()),
                // An operator has put back what was set aside.
                None => self.record(task, round)?.filter(|record| {
                    unnoted || set_aside.contains(&(round, record.sha256))
                }),
            };
            let keys = record.as_ref().map(RoundRecord::blobs).unwrap_or_default();
            let there = listing.blobs.iter().filter(|key| key.round == round);
            leftovers.extend(
                there.filter(|key| !keys.contains(key)).map(|key| self.models.path(task, key)),
            );
            // One of which a file lacks stays set aside.
            if let Some(record) = record.filter(|_| keys.iter().all(|k| listing.blobs.contains(k))) {
                wanted.entry(round).or_insert((record, false));
            }
        }
        Ok((wanted, leftovers))
    }

    /// Makes files and database agree about all but the newest model: sets
    /// damaged files aside, and removes what a crash has left. Returns what was
    /// damaged.
    pub(super) fn settle(
        &self,
        task: &TaskId,
        inspection: Inspection,
    ) -> Result<Vec<ModelCheck>, StoreError> {
        let Inspection { older, newest, leftovers, .. } = inspection;
        let (intact, damaged): (Vec<_>, Vec<_>) =
            older.into_iter().partition(|found| found.check.problem.is_none());
        for Found { check, .. } in &damaged {
            let (round, problem) = (check.round, check.problem.as_deref().unwrap_or_default());
            tracing::warn!(%task, round, problem, "a kept model is damaged; it is set aside");
            self.models.set_aside(&check.path)?;
        }
        let newest = Some(&newest).filter(|newest| newest.check.problem.is_none());
        let adopted: Vec<_> = intact.iter().chain(newest).filter(|found| !found.noted).collect();
        if !damaged.is_empty() || !adopted.is_empty() {
            self.transaction(|transaction| {
                let mut kept = transaction.open_table(tables::KEPT)?;
                let mut set_aside = transaction.open_table(tables::SET_ASIDE)?;
                for Found { check, record, .. } in adopted {
                    let key = (task.as_str(), check.round);
                    kept.insert(key, record.sha256.as_bytes())?;
                    set_aside.remove(key)?;
                }
                for Found { check, record, .. } in &damaged {
                    let key = (task.as_str(), check.round);
                    kept.remove(key)?;
                    set_aside.insert(key, record.sha256.as_bytes())?;
                }
                Ok(())
            })?;
        }
        leftovers.iter().for_each(|path| self.models.remove(path));
        Ok(damaged.into_iter().map(|found| found.check).collect())
    }

    /// Reads the whole store. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database cannot be read.
    pub fn check(&self) -> Result<Vec<TaskCheck>, StoreError> {
        let check = |task: TaskId| {
            let last = self.last_record(&task)?;
            self.check_history(&task, &last)?;
            let Inspection { older, newest, leftovers, .. } = self.inspect(&task, &last)?;
            let models = older.into_iter().chain([newest]).map(|found| found.check).collect();
            Ok(TaskCheck {
                round: last.round,
                standing: self.standing(&task)?,
                models,
                leftovers: leftovers.len(),
                debits: self.debits(&task)?.len(),
                decisions: self.decisions(&task)?.len(),
                task,
            })
        };
        self.tasks()?.into_iter().map(check).collect()
    }

    /// Lets every task go on from its newest intact model. History is not
    /// rewritten: where the newest is damaged, a roll-back is added.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database cannot be read or written.
    pub fn repair(&self, unix_seconds: u64) -> Result<Vec<Repair>, StoreError> {
        let mut repairs = Vec::new();
        for task in self.tasks()? {
            let inspection = self.inspect(&task, &self.last_record(&task)?)?;
            let newest = inspection.newest.check.clone();
            let to = inspection.intact().last();
            let settled = self.settle(&task, inspection)?;
            repairs.extend(settled.into_iter().map(|c| Repair::SetAside(task.clone(), c)));
            match to {
                _ if newest.problem.is_none() => {}
                None => repairs.push(Repair::Lost(task, newest)),
                Some(to) => {
                    let (record, _) = self.roll_back(&task, to, unix_seconds)?;
                    // It is an older one now.
                    self.settle(&task, self.inspect(&task, &record)?)?;
                    let round = record.round;
                    repairs.push(Repair::WentBack { task, damaged: newest, to, round });
                }
            }
        }
        Ok(repairs)
    }

    /// That a task has every round up to its last.
    fn check_history(&self, task: &TaskId, last: &RoundRecord) -> Result<(), StoreError> {
        let records = self.records(task, usize::MAX)?;
        match records.iter().zip(0..).find(|(record, round)| record.round != *round) {
            None => Ok(()),
            Some((_, round)) => {
                let last = last.round;
                Err(self.failed(format!("task {task} has {last} rounds, but no round {round}")))
            }
        }
    }
}
