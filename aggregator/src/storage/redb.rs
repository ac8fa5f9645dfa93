//! The embedded store: records in redb, models as files beside it.
//!
//! ```text
//! fedra.redb                                     tasks, rounds and privacy ledgers, JSON values
//! models/{task}/{round:010}-{sha256}.safetensors
//! ```
//! A model's file is durable (temporary file, fsync, rename, fsync of the
//! folder) before the transaction that names it. What a crash leaves between
//! the two is removed at the next start.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fedra_protocol::{Sha256Hash, TaskId};
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Checkpoint, Debit, Definition, Quality, RoundRecord, Store, StoreError};

/// Task id -> its model specification.
const TASKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("tasks");
/// (task id, round) -> [`RoundRecord`].
const ROUNDS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("rounds");
/// Task id -> its privacy policy, for tasks that have one.
const POLICIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("privacy_policies");
/// (task id, number) -> [`Debit`].
const DEBITS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("privacy_debits");
/// Task id -> its secret.
const SECRETS: TableDefinition<'_, &str, &[u8; 32]> = TableDefinition::new("secrets");
/// "format" -> version of this layout.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const FORMAT: u64 = 1;
const CACHE_BYTES: usize = 16 << 20;
const TEMPORARY: &str = "tmp";

/// The store in a folder.
pub struct RedbStore {
    folder: PathBuf,
    database: Database,
    /// Models kept for each task; 0 keeps all.
    keep_models: usize,
}

impl RedbStore {
    /// Opens the store in `folder`, which is made if it is not there.
    /// `keep_models` newest models of each task are kept, 0 for all.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if another process has it, or it is not readable.
    pub fn open(folder: &Path, keep_models: usize) -> Result<Self, StoreError> {
        let models = folder.join("models");
        fs::create_dir_all(&models).map_err(file_error("create", &models))?;
        let path = folder.join("fedra.redb");
        let database =
            Database::builder().set_cache_size(CACHE_BYTES).create(&path).map_err(|error| {
                match error {
                    DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(folder.to_owned()),
                    other => StoreError::Database { path, problem: other.to_string() },
                }
            })?;
        sync_folder(folder)?;
        let store = Self { folder: folder.to_owned(), database, keep_models };
        store.check_format()?;
        Ok(store)
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let format = self.transaction(|transaction| {
            transaction.open_table(TASKS)?;
            transaction.open_table(ROUNDS)?;
            transaction.open_table(POLICIES)?;
            transaction.open_table(DEBITS)?;
            transaction.open_table(SECRETS)?;
            let mut meta = transaction.open_table(META)?;
            let format = meta.get("format")?.map(|format| format.value());
            if format.is_none() {
                meta.insert("format", FORMAT)?;
            }
            Ok(format.unwrap_or(FORMAT))
        })?;
        if format != FORMAT {
            return Err(
                self.damaged(format!("it has format {format}; this version reads format {FORMAT}"))
            );
        }
        Ok(())
    }

    /// Runs one durable transaction.
    fn transaction<T>(
        &self,
        work: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let run = || {
            let transaction = self.database.begin_write()?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok::<T, redb::Error>(value)
        };
        run().map_err(|error| self.damaged(error.to_string()))
    }

    fn damaged(&self, problem: String) -> StoreError {
        StoreError::Database { path: self.folder.join("fedra.redb"), problem }
    }

    fn definition_of(&self, task: &TaskId) -> Result<Option<Definition>, StoreError> {
        let read = || {
            let transaction = self.database.begin_read()?;
            let value = |table: TableDefinition<'_, &str, &[u8]>| {
                let table = transaction.open_table(table)?;
                Ok::<_, redb::Error>(table.get(task.as_str())?.map(|v| v.value().to_vec()))
            };
            Ok((value(TASKS)?, value(POLICIES)?))
        };
        let (model, privacy) = read().map_err(|e: redb::Error| self.damaged(e.to_string()))?;
        let Some(model) = model else { return Ok(None) };
        let privacy = privacy.map(|bytes| self.parse(&bytes)).transpose()?;
        Ok(Some(Definition { model: self.parse(&model)?, privacy }))
    }

    /// The last `count` records of a task, oldest first.
    fn records(&self, task: &TaskId, count: usize) -> Result<Vec<RoundRecord>, StoreError> {
        let read = || {
            let table = self.database.begin_read()?.open_table(ROUNDS)?;
            let mut records = Vec::new();
            for entry in table.range(all_of(task))?.rev().take(count) {
                records.push(entry?.1.value().to_vec());
            }
            Ok::<_, redb::Error>(records)
        };
        let records = read().map_err(|error| self.damaged(error.to_string()))?;
        records.iter().rev().map(|bytes| self.parse(bytes)).collect()
    }

    fn put(
        &self,
        task: &TaskId,
        definition: Option<&Definition>,
        record: &RoundRecord,
    ) -> Result<(), StoreError> {
        self.transaction(|transaction| {
            if let Some(Definition { model, privacy }) = definition {
                transaction.open_table(TASKS)?.insert(task.as_str(), json(model).as_slice())?;
                if let Some(privacy) = privacy {
                    let mut policies = transaction.open_table(POLICIES)?;
                    policies.insert(task.as_str(), json(privacy).as_slice())?;
                }
            }
            let mut rounds = transaction.open_table(ROUNDS)?;
            rounds.insert((task.as_str(), record.round), json(record).as_slice())?;
            Ok(())
        })
    }

    fn parse<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, StoreError> {
        serde_json::from_slice(bytes).map_err(|error| self.damaged(error.to_string()))
    }

    fn task_folder(&self, task: &TaskId) -> PathBuf {
        self.folder.join("models").join(task.as_str())
    }

    fn model_path(&self, task: &TaskId, record: &RoundRecord) -> PathBuf {
        let name = format!("{:010}-{}.safetensors", record.round, record.sha256);
        self.task_folder(task).join(name)
    }

    fn write_model(
        &self,
        task: &TaskId,
        record: &RoundRecord,
        model: &[u8],
    ) -> Result<(), StoreError> {
        let path = self.model_path(task, record);
        let temporary = path.with_extension(TEMPORARY);
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(model)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(file_error("write", &path))?;
        sync_folder(&self.task_folder(task))
    }

    fn read_model(&self, task: &TaskId, record: &RoundRecord) -> Result<Bytes, StoreError> {
        let path = self.model_path(task, record);
        let damaged = |problem: String| {
            let problem = format!("{}: {problem}", path.display());
            StoreError::Model { task: task.clone(), round: record.round, problem }
        };
        let bytes = fs::read(&path).map_err(|error| damaged(error.to_string()))?;
        if Sha256Hash::of(&bytes) != record.sha256 {
            return Err(damaged("its content does not have the hash in its name".to_owned()));
        }
        Ok(bytes.into())
    }

    /// Removes the model files that are no longer kept and, of those after
    /// `last`, what a crash left behind. A file that cannot be removed is only
    /// worth a warning.
    fn tidy(&self, task: &TaskId, last: u64) {
        let first_kept = match self.keep_models as u64 {
            0 => 0,
            keep => (last + 1).saturating_sub(keep),
        };
        let Ok(entries) = fs::read_dir(self.task_folder(task)) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            let round = name.split('-').next().and_then(|round| round.parse::<u64>().ok());
            let temporary = path.extension().is_some_and(|extension| extension == TEMPORARY);
            let kept = round.is_none_or(|round| (first_kept..=last).contains(&round));
            if (temporary || !kept)
                && let Err(error) = fs::remove_file(&path)
            {
                tracing::warn!(path = %path.display(), %error, "cannot remove an old model");
            }
        }
    }

    fn last_record(&self, task: &TaskId) -> Result<RoundRecord, StoreError> {
        let last = self.records(task, 1)?.pop();
        last.ok_or_else(|| StoreError::UnknownTask(task.clone()))
    }
}

impl Store for RedbStore {
    fn create(
        &self,
        task: &TaskId,
        definition: &Definition,
        record: &RoundRecord,
        model: &Bytes,
    ) -> Result<(), StoreError> {
        if let Some(last) = self.records(task, 1)?.pop() {
            let (task, round, last) = (task.clone(), record.round, last.round);
            return Err(StoreError::OutOfOrder { task, round, last });
        }
        let folder = self.task_folder(task);
        fs::create_dir_all(&folder).map_err(file_error("create", &folder))?;
        sync_folder(&self.folder.join("models"))?;
        self.write_model(task, record, model)?;
        self.put(task, Some(definition), record)
    }

    fn load(
        &self,
        task: &TaskId,
        definition: &Definition,
        rounds: usize,
    ) -> Result<Option<Checkpoint>, StoreError> {
        let Some(stored) = self.definition_of(task)? else { return Ok(None) };
        stored.must_be(definition, task)?;
        let history = self.records(task, rounds.max(1))?;
        let Some(last) = history.last() else {
            return Err(self.damaged(format!("task {task} has no round")));
        };
        let model = self.read_model(task, last)?;
        self.tidy(task, last.round);
        Ok(Some(Checkpoint { history, model }))
    }

    fn commit(&self, task: &TaskId, record: &RoundRecord, model: &Bytes) -> Result<(), StoreError> {
        let last = self.last_record(task)?.round;
        if record.round != last + 1 {
            let (task, round) = (task.clone(), record.round);
            return Err(StoreError::OutOfOrder { task, round, last });
        }
        self.write_model(task, record, model)?;
        self.put(task, None, record)?;
        self.tidy(task, record.round);
        Ok(())
    }

    fn set_quality(&self, task: &TaskId, round: u64, quality: Quality) -> Result<(), StoreError> {
        let last = self.last_record(task)?.round;
        let found = self.transaction(|transaction| {
            let mut rounds = transaction.open_table(ROUNDS)?;
            let key = (task.as_str(), round);
            let bytes = rounds.get(key)?.map(|value| value.value().to_vec());
            let record = bytes.and_then(|b| serde_json::from_slice::<RoundRecord>(&b).ok());
            let Some(record) = record else { return Ok(false) };
            let record = RoundRecord { quality: Some(quality), ..record };
            rounds.insert(key, json(&record).as_slice())?;
            Ok(true)
        })?;
        if !found {
            return Err(StoreError::OutOfOrder { task: task.clone(), round, last });
        }
        Ok(())
    }

    fn model(&self, task: &TaskId, sha256: &Sha256Hash) -> Result<Option<Bytes>, StoreError> {
        let count = if self.keep_models == 0 { usize::MAX } else { self.keep_models };
        let records = self.records(task, count)?;
        let Some(record) = records.iter().rev().find(|record| record.sha256 == *sha256) else {
            return Ok(None);
        };
        self.read_model(task, record).map(Some)
    }

    fn debit(&self, task: &TaskId, debit: &Debit) -> Result<(), StoreError> {
        self.last_record(task)?;
        self.transaction(|transaction| {
            let mut debits = transaction.open_table(DEBITS)?;
            let last = debits.range(all_of(task))?.next_back().transpose()?;
            let number = last.map_or(0, |(key, _)| key.value().1 + 1);
            debits.insert((task.as_str(), number), json(debit).as_slice())?;
            Ok(())
        })
    }

    fn debits(&self, task: &TaskId) -> Result<Vec<Debit>, StoreError> {
        let read = || {
            let table = self.database.begin_read()?.open_table(DEBITS)?;
            let mut debits = Vec::new();
            for entry in table.range(all_of(task))? {
                debits.push(entry?.1.value().to_vec());
            }
            Ok::<_, redb::Error>(debits)
        };
        let debits = read().map_err(|error| self.damaged(error.to_string()))?;
        debits.iter().map(|bytes| self.parse(bytes)).collect()
    }

    fn secret(&self, task: &TaskId, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        self.last_record(task)?;
        self.transaction(|transaction| {
            let mut secrets = transaction.open_table(SECRETS)?;
            if let Some(secret) = secrets.get(task.as_str())? {
                return Ok(*secret.value());
            }
            secrets.insert(task.as_str(), &fresh)?;
            Ok(fresh)
        })
    }
}

/// The keys of a task in a table that numbers its entries.
fn all_of(task: &TaskId) -> RangeInclusive<(&str, u64)> {
    (task.as_str(), 0)..=(task.as_str(), u64::MAX)
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("records are plain data with text keys")
}

/// Makes a rename in the folder durable.
fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(file_error("sync", folder))
}

fn file_error<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> StoreError + 'a {
    move |source| StoreError::File { action, path: path.to_owned(), source }
}
