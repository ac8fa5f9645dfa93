//! Records and secrets in redb. Each write is one transaction, which begins with a look at
//! the number of the task's leader.
//!
//! Transactions are committed in two phases: one that was acknowledged cannot be
//! taken for one that a crash cut off, even if its pages are damaged.

pub(super) mod open;
pub(super) mod tables;

use std::path::{Path, PathBuf};

use fedra_protocol::{Quality, TaskId};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};
use serde::de::DeserializeOwned;

use self::tables::{
    ADDED, DEBITS, DECISIONS, EPOCHS, Hashes, KEPT, Numbered, OfTask, POLICIES, ROUNDS, SECRETS,
    SET_ASIDE, TASKS, all_of, json,
};
use super::disk::Disk;
use super::folder::FolderBlobs;
use super::{
    Debit, Decision, Definition, Epoch, Keeping, OperatorAction, RoundRecord, SecretStore,
    StoreError, TaskStore, Term,
};

/// Outcome of the work of a transaction: a refusal undoes it.
type Outcome<T> = Result<Result<T, StoreError>, redb::Error>;

/// The database in a store's folder.
pub(super) struct RedbStore {
    path: PathBuf,
    database: Database,
}

impl RedbStore {
    /// Opens the database in `folder`, or makes it if there is none and no model either. All
    /// of it is read and checked.
    pub(super) fn open(
        disk: &dyn Disk,
        folder: &Path,
        blobs: &FolderBlobs,
    ) -> Result<Self, StoreError> {
        let database = open::open(disk, folder, blobs)?;
        Ok(Self { path: folder.join(open::DATABASE), database })
    }

    /// Runs one durable transaction.
    fn transaction<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Outcome<T>,
    ) -> Result<T, StoreError> {
        let run = || {
            let mut transaction = self.database.begin_write()?;
            transaction.set_two_phase_commit(true);
            let outcome = work(&transaction)?;
            match outcome {
                Ok(_) => transaction.commit()?,
                Err(_) => transaction.abort()?,
            }
            Ok(outcome)
        };
        run().map_err(|error: redb::Error| self.error(error))?
    }

    /// Runs one durable transaction of a task's leader.
    fn led<T>(
        &self,
        term: &Term,
        work: impl FnOnce(&WriteTransaction) -> Outcome<T>,
    ) -> Result<T, StoreError> {
        self.transaction(|transaction| {
            let epochs = transaction.open_table(EPOCHS)?;
            let leader = epochs.get(term.task.as_str())?.map_or(0, |epoch| epoch.value());
            drop(epochs);
            match term.must_lead(Epoch(leader)) {
                Ok(()) => work(transaction),
                Err(fenced) => Ok(Err(fenced)),
            }
        })
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let run = || work(&self.database.begin_read()?);
        run().map_err(|error| self.error(error))
    }

    fn error(&self, error: redb::Error) -> StoreError {
        match error {
            redb::Error::Io(source) => {
                StoreError::File { action: "read or write", path: self.path.clone(), source }
            }
            other => self.failed(other.to_string()),
        }
    }

    fn failed(&self, problem: String) -> StoreError {
        StoreError::Database { path: self.path.clone(), problem }
    }

    /// Reads an entry of a task.
    fn parse<T: DeserializeOwned>(&self, task: &TaskId, bytes: &[u8]) -> Result<T, StoreError> {
        serde_json::from_slice(bytes)
            .map_err(|error| self.failed(format!("an entry of task {task} is damaged: {error}")))
    }

    /// The last `count` entries of a task, oldest first.
    fn entries<T: DeserializeOwned>(
        &self,
        table: Numbered,
        task: &TaskId,
        count: usize,
    ) -> Result<Vec<T>, StoreError> {
        let entries = self.read(|transaction| {
            let table = transaction.open_table(table)?;
            let mut entries = Vec::new();
            for entry in table.range(all_of(task))?.rev().take(count) {
                entries.push(entry?.1.value().to_vec());
            }
            Ok(entries)
        })?;
        entries.iter().rev().map(|bytes| self.parse(task, bytes)).collect()
    }

    fn task_id(&self, name: String) -> Result<TaskId, StoreError> {
        TaskId::new(name).map_err(|error| self.failed(error.to_string()))
    }

    /// The record of a round; a refusal if there is none.
    fn record_in(
        &self,
        transaction: &WriteTransaction,
        term: &Term,
        round: u64,
    ) -> Outcome<RoundRecord> {
        // A table can be open once in a transaction.
        let rounds = transaction.open_table(ROUNDS)?;
        if let Some(entry) = rounds.get((term.task.as_str(), round))? {
            return Ok(self.parse(&term.task, entry.value()));
        }
        drop(rounds);
        let last = last_round(transaction, &term.task)?;
        let task = term.task.clone();
        Ok(Err(match last {
            Some(last) => StoreError::OutOfOrder { task, round, last },
            None => StoreError::UnknownTask(task),
        }))
    }
}

impl TaskStore for RedbStore {
    fn lead(&self, task: &TaskId) -> Result<Term, StoreError> {
        let epoch = self.transaction(|transaction| {
            let mut epochs = transaction.open_table(EPOCHS)?;
            let epoch = epochs.get(task.as_str())?.map_or(0, |epoch| epoch.value()) + 1;
            epochs.insert(task.as_str(), epoch)?;
            Ok(Ok(epoch))
        })?;
        Ok(Term { task: task.clone(), epoch: Epoch(epoch) })
    }

    fn create(
        &self,
        term: &Term,
        definition: &Definition,
        record: &RoundRecord,
    ) -> Result<(), StoreError> {
        let task = &term.task;
        self.led(term, |transaction| {
            if let Some(last) = last_round(transaction, task)? {
                let (task, round) = (task.clone(), record.round);
                return Ok(Err(StoreError::OutOfOrder { task, round, last }));
            }
            let model = json(&definition.model);
            transaction.open_table(TASKS)?.insert(task.as_str(), model.as_slice())?;
            if let Some(privacy) = &definition.privacy {
                let mut policies = transaction.open_table(POLICIES)?;
                policies.insert(task.as_str(), json(privacy).as_slice())?;
            }
            put(transaction, task, record).map(Ok)
        })
    }

    fn append(
        &self,
        term: &Term,
        record: &RoundRecord,
        decision: Option<&Decision>,
    ) -> Result<(), StoreError> {
        let task = &term.task;
        self.led(term, |transaction| {
            let Some(last) = last_round(transaction, task)? else {
                return Ok(Err(StoreError::UnknownTask(task.clone())));
            };
            if record.round != last + 1 {
                let (task, round) = (task.clone(), record.round);
                return Ok(Err(StoreError::OutOfOrder { task, round, last }));
            }
            put(transaction, task, record)?;
            if let Some(decision) = decision {
                tables::append(&mut transaction.open_table(DECISIONS)?, task, decision)?;
            }
            Ok(Ok(()))
        })
    }

    fn keep(&self, term: &Term, notes: &[(u64, Keeping)]) -> Result<(), StoreError> {
        self.led(term, |transaction| {
            for (round, keeping) in notes {
                let record = match self.record_in(transaction, term, *round)? {
                    Ok(record) => record,
                    Err(refusal) => return Ok(Err(refusal)),
                };
                let key = (term.task.as_str(), *round);
                let mut kept = transaction.open_table(KEPT)?;
                let mut set_aside = transaction.open_table(SET_ASIDE)?;
                kept.remove(key)?;
                set_aside.remove(key)?;
                match keeping {
                    Keeping::Kept => drop(kept.insert(key, record.sha256.as_bytes())?),
                    Keeping::SetAside => drop(set_aside.insert(key, record.sha256.as_bytes())?),
                    Keeping::Dropped => {}
                }
            }
            if last_round(transaction, &term.task)?.is_none() {
                return Ok(Err(StoreError::UnknownTask(term.task.clone())));
            }
            Ok(Ok(()))
        })
    }

    fn set_quality(&self, term: &Term, round: u64, quality: Quality) -> Result<(), StoreError> {
        self.led(term, |transaction| {
            let record = match self.record_in(transaction, term, round)? {
                Ok(record) => RoundRecord { quality: Some(quality), ..record },
                Err(refusal) => return Ok(Err(refusal)),
            };
            let mut rounds = transaction.open_table(ROUNDS)?;
            rounds.insert((term.task.as_str(), round), json(&record).as_slice())?;
            Ok(Ok(()))
        })
    }

    fn debit(&self, term: &Term, debit: &Debit) -> Result<(), StoreError> {
        self.led(term, |transaction| {
            if last_round(transaction, &term.task)?.is_none() {
                return Ok(Err(StoreError::UnknownTask(term.task.clone())));
            }
            tables::append(&mut transaction.open_table(DEBITS)?, &term.task, debit).map(Ok)
        })
    }

    fn decide(&self, term: &Term, decision: &Decision) -> Result<(), StoreError> {
        self.led(term, |transaction| {
            if !is_known(transaction, &term.task)? {
                return Ok(Err(StoreError::UnknownTask(term.task.clone())));
            }
            tables::append(&mut transaction.open_table(DECISIONS)?, &term.task, decision).map(Ok)
        })
    }

    fn add_task(&self, task: &TaskId, toml: &str, unix_seconds: u64) -> Result<(), StoreError> {
        let decision = Decision { unix_seconds, action: OperatorAction::Create };
        self.transaction(|transaction| {
            if is_known(transaction, task)? {
                return Ok(Err(StoreError::TaskExists(task.clone())));
            }
            transaction.open_table(ADDED)?.insert(task.as_str(), toml)?;
            tables::append(&mut transaction.open_table(DECISIONS)?, task, &decision).map(Ok)
        })
    }

    fn tasks(&self) -> Result<Vec<TaskId>, StoreError> {
        let names = self.read(|transaction| {
            let mut names = Vec::new();
            for entry in transaction.open_table(TASKS)?.iter()? {
                names.push(entry?.0.value().to_owned());
            }
            Ok(names)
        })?;
        names.into_iter().map(|name| self.task_id(name)).collect()
    }

    fn added_tasks(&self) -> Result<Vec<(TaskId, String)>, StoreError> {
        let added = self.read(|transaction| {
            let mut added = Vec::new();
            for entry in transaction.open_table(ADDED)?.iter()? {
                let (task, toml) = entry?;
                added.push((task.value().to_owned(), toml.value().to_owned()));
            }
            Ok(added)
        })?;
        added.into_iter().map(|(task, toml)| Ok((self.task_id(task)?, toml))).collect()
    }

    fn definition(&self, task: &TaskId) -> Result<Option<Definition>, StoreError> {
        let (model, privacy) = self.read(|transaction| {
            let value = |table: OfTask| {
                let table = transaction.open_table(table)?;
                Ok::<_, redb::Error>(table.get(task.as_str())?.map(|v| v.value().to_vec()))
            };
            Ok((value(TASKS)?, value(POLICIES)?))
        })?;
        let Some(model) = model else { return Ok(None) };
        let privacy = privacy.map(|bytes| self.parse(task, &bytes)).transpose()?;
        Ok(Some(Definition { model: self.parse(task, &model)?, privacy }))
    }

    fn records(&self, task: &TaskId, count: usize) -> Result<Vec<RoundRecord>, StoreError> {
        self.entries(ROUNDS, task, count)
    }

    fn record(&self, task: &TaskId, round: u64) -> Result<Option<RoundRecord>, StoreError> {
        let bytes = self.read(|transaction| {
            let table = transaction.open_table(ROUNDS)?;
            Ok(table.get((task.as_str(), round))?.map(|value| value.value().to_vec()))
        })?;
        bytes.map(|bytes| self.parse(task, &bytes)).transpose()
    }

    fn keeping(&self, task: &TaskId) -> Result<Vec<(u64, Keeping)>, StoreError> {
        let mut keeping = self.read(|transaction| {
            let mut keeping = Vec::new();
            for (table, state) in [(KEPT, Keeping::Kept), (SET_ASIDE, Keeping::SetAside)] {
                keeping.extend(rounds_in(transaction, table, task)?.map(|round| (round, state)));
            }
            Ok(keeping)
        })?;
        keeping.sort_by_key(|(round, _)| *round);
        Ok(keeping)
    }

    fn debits(&self, task: &TaskId) -> Result<Vec<Debit>, StoreError> {
        self.entries(DEBITS, task, usize::MAX)
    }

    fn decisions(&self, task: &TaskId) -> Result<Vec<Decision>, StoreError> {
        self.entries(DECISIONS, task, usize::MAX)
    }
}

impl SecretStore for RedbStore {
    fn secret(&self, task: &TaskId, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        self.transaction(|transaction| {
            let mut secrets = transaction.open_table(SECRETS)?;
            let secret = secrets.get(task.as_str())?.map(|secret| *secret.value());
            if secret.is_none() {
                secrets.insert(task.as_str(), &fresh)?;
            }
            Ok(Ok(secret.unwrap_or(fresh)))
        })
    }
}

/// Adds a record, whose checkpoint is kept.
fn put(
    transaction: &WriteTransaction,
    task: &TaskId,
    record: &RoundRecord,
) -> Result<(), redb::Error> {
    let key = (task.as_str(), record.round);
    transaction.open_table(ROUNDS)?.insert(key, json(record).as_slice())?;
    transaction.open_table(KEPT)?.insert(key, record.sha256.as_bytes())?;
    Ok(())
}

/// The last round of a task; `None` if it has no model yet.
fn last_round(transaction: &WriteTransaction, task: &TaskId) -> Result<Option<u64>, redb::Error> {
    let rounds = transaction.open_table(ROUNDS)?;
    let last = rounds.range(all_of(task))?.next_back().transpose()?;
    Ok(last.map(|(key, _)| key.value().1))
}

fn rounds_in(
    transaction: &ReadTransaction,
    table: Hashes,
    task: &TaskId,
) -> Result<impl Iterator<Item = u64> + use<>, redb::Error> {
    let mut rounds = Vec::new();
    for entry in transaction.open_table(table)?.range(all_of(task))? {
        rounds.push(entry?.0.value().1);
    }
    Ok(rounds.into_iter())
}

/// True if the store has a task of this name, with a model or without one yet.
fn is_known(transaction: &WriteTransaction, task: &TaskId) -> Result<bool, redb::Error> {
    let name = task.as_str();
    let has_model = transaction.open_table(TASKS)?.get(name)?.is_some();
    Ok(has_model || transaction.open_table(ADDED)?.get(name)?.is_some())
}
