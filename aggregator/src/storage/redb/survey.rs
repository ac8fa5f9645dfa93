//! Holds the models' files against the database: what is intact, what is
//! damaged or gone, what a crash has left over; and sets it right. It never
//! changes a record.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use fedra_protocol::{Sha256Hash, TaskId};

use super::{RedbStore, tables};
use crate::storage::{RoundRecord, Store, StoreError};
use fedra_coordinator::round::Standing;
use fedra_coordinator::storage::rounds;

/// Result of the check of one model that should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCheck {
    /// Its round.
    pub round: u64,
    /// Its file.
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
        let intact = self.models.iter().filter(|model| model.problem.is_none());
        let intact: Vec<u64> = intact.map(|model| model.round).collect();
        let Self { task, round, standing, debits, decisions, .. } = self;
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

/// A model's hash by round, and true if the database has it as kept.
type Wanted = BTreeMap<u64, (Sha256Hash, bool)>;

/// A model that should be there.
struct Found {
    check: ModelCheck,
    sha256: Sha256Hash,
    /// True if the database has it as kept.
    noted: bool,
}

/// The models of a task.
pub(super) struct Inspection {
    /// All but the newest, oldest first.
    older: Vec<Found>,
    newest: Found,
    /// The newest model's file, if it is intact.
    pub model: Option<Bytes>,
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
    /// Reads every model of the task. Changes nothing.
    pub(super) fn inspect(
        &self,
        task: &TaskId,
        last: &RoundRecord,
    ) -> Result<Inspection, StoreError> {
        let (mut wanted, leftovers) = self.wanted(task)?;
        wanted.entry(last.round).or_insert((last.sha256, false));
        let mut model = None;
        let mut look = |(round, (sha256, noted)): (u64, (Sha256Hash, bool))| {
            let path = self.models.path(task, round, &sha256);
            let problem = match self.models.read(&path, &sha256) {
                Ok(bytes) if round == last.round => {
                    model = Some(bytes);
                    None
                }
                result => result.err(),
            };
            Found { check: ModelCheck { round, path, problem }, sha256, noted }
        };
        let newest = wanted.remove(&last.round).expect("it was added above");
        let older = wanted.into_iter().map(&mut look).collect();
        let newest = look((last.round, newest));
        Ok(Inspection { older, newest, model, leftovers })
    }

    /// The models that should be there, by round, and whether the database has
    /// them as kept; and the files of ours that should not.
    fn wanted(&self, task: &TaskId) -> Result<(Wanted, Vec<PathBuf>), StoreError> {
        let kept = self.kept(task)?;
        // A store of an earlier version, which did not note what it kept.
        let unnoted = kept.is_empty();
        let set_aside = self.hashes(tables::SET_ASIDE, task)?;
        let mut wanted: Wanted =
            kept.iter().map(|(round, sha256)| (*round, (*sha256, true))).collect();
        let listing = self.models.list(task)?;
        let mut leftovers = listing.temporary;
        for file in listing.models {
            let model = (file.round, file.sha256);
            if kept.contains(&model) {
                continue;
            }
            // An operator has put back what was set aside.
            let put_back = set_aside.contains(&model);
            let record = if unnoted { self.record(task, file.round)? } else { None };
            if put_back || record.is_some_and(|record| record.sha256 == file.sha256) {
                wanted.insert(file.round, (file.sha256, false));
            } else {
                leftovers.push(file.path);
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
                for Found { check, sha256, .. } in adopted {
                    let key = (task.as_str(), check.round);
                    kept.insert(key, sha256.as_bytes())?;
                    set_aside.remove(key)?;
                }
                for Found { check, sha256, .. } in &damaged {
                    let key = (task.as_str(), check.round);
                    kept.remove(key)?;
                    set_aside.insert(key, sha256.as_bytes())?;
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
