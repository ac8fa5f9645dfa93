//! The embedded store: records in redb, models as files beside it.
//!
//! ```text
//! fedra.redb                                     everything but models, mostly JSON values
//! models/{task}/{round:010}-{sha256}.safetensors
//! models/{task}/{round:010}-{sha256}.optimizer   state of the server optimizer, if any
//! ```
//! A checkpoint's file is durable (temporary file, fsync, rename, fsync of the
//! folder) before the transaction that names it; it is removed after the
//! transaction that says that it is not kept. What a crash leaves between the
//! two is settled at the next start. Everything else is one transaction.
//!
//! Transactions are committed in two phases: one that was acknowledged cannot be
//! taken for one that a crash cut off, even if its pages are damaged.

mod backup;
mod models;
mod open;
mod survey;
mod tables;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fedra_coordinator::storage::{BlobKey, BlobKind};
use fedra_protocol::{Sha256Hash, TaskId};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};
use serde::de::DeserializeOwned;

use self::models::ModelFiles;
use self::tables::{
    ADDED, DEBITS, DECISIONS, Hashes, KEPT, Numbered, OfTask, POLICIES, ROUNDS, SECRETS, TASKS,
    all_of, json,
};
use super::disk::{Disk, System};
use super::{
    Checkpoint, CheckpointFiles, Debit, Decision, Definition, OperatorAction, Quality, Retention, RoundRecord,
    Store, StoreError,
};

pub use self::backup::back_up;
pub use self::survey::{ModelCheck, Repair, TaskCheck};

/// The folder of models in the store's folder.
const MODELS: &str = "models";

/// The store in a folder.
pub struct RedbStore {
    path: PathBuf,
    database: Database,
    models: ModelFiles,
    /// Held while models are written or removed, which changes what is kept.
    writing: Mutex<()>,
}

impl RedbStore {
    /// Opens the store in `folder`, which is made if it is not there. The whole
    /// database is read and checked.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if another process has it, or it is damaged.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let disk: Arc<dyn Disk> = Arc::new(System);
        Self::open_on(&disk, folder)
    }

    pub(super) fn open_on(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Self, StoreError> {
        let models = folder.join(MODELS);
        make_folders(disk.as_ref(), &models)?;
        let models = ModelFiles::new(models, Arc::clone(disk));
        let database = open::open(disk.as_ref(), folder, &models)?;
        let path = folder.join(open::DATABASE);
        Ok(Self { path, database, models, writing: Mutex::default() })
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one durable transaction.
    fn transaction<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let run = || {
            let mut transaction = self.database.begin_write()?;
            transaction.set_two_phase_commit(true);
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok::<T, redb::Error>(value)
        };
        run().map_err(|error| self.error(error))
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

    fn definition_of(&self, task: &TaskId) -> Result<Option<Definition>, StoreError> {
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

    fn last_record(&self, task: &TaskId) -> Result<RoundRecord, StoreError> {
        let last = self.records(task, 1)?.pop();
        last.ok_or_else(|| StoreError::UnknownTask(task.clone()))
    }

    /// The tasks that have a model, by name.
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

    fn task_id(&self, name: String) -> Result<TaskId, StoreError> {
        TaskId::new(name).map_err(|error| self.failed(error.to_string()))
    }

    /// The rounds whose model is kept and the models' hashes, oldest first.
    fn kept(&self, task: &TaskId) -> Result<Vec<(u64, Sha256Hash)>, StoreError> {
        self.hashes(KEPT, task)
    }

    fn hashes(&self, table: Hashes, task: &TaskId) -> Result<Vec<(u64, Sha256Hash)>, StoreError> {
        self.read(|transaction| {
            let mut hashes = Vec::new();
            for entry in transaction.open_table(table)?.range(all_of(task))? {
                let (key, sha256) = entry?;
                hashes.push((key.value().1, Sha256Hash::from_bytes(*sha256.value())));
            }
            Ok(hashes)
        })
    }

    /// Writes a checkpoint's files, then the record that names them and, with it, the
    /// decision that it comes from.
    fn append(
        &self,
        task: &TaskId,
        record: &RoundRecord,
        files: &CheckpointFiles,
        decision: Option<&Decision>,
    ) -> Result<(), StoreError> {
        let last = self.last_record(task)?.round;
        if record.round != last + 1 {
            let (task, round) = (task.clone(), record.round);
            return Err(StoreError::OutOfOrder { task, round, last });
        }
        for (key, content) in record.blobs().iter().zip(files.all()) {
            self.models.write(task, key, content)?;
        }
        self.transaction(|transaction| {
            put(transaction, task, record)?;
            if let Some(decision) = decision {
                tables::append(&mut transaction.open_table(DECISIONS)?, task, decision)?;
            }
            Ok(())
        })
    }

    /// The files of a kept round; `None` if they are not kept any more.
    fn kept_files(
        &self,
        task: &TaskId,
        record: &RoundRecord,
    ) -> Result<Option<CheckpointFiles>, StoreError> {
        let read = |key: &BlobKey| self.models.read(task, key);
        match record.blobs().iter().map(read).collect::<Result<Vec<_>, _>>() {
            Ok(files) => Ok(CheckpointFiles::of(files)),
            // They may have been removed since.
            Err(_) if !self.kept(task)?.contains(&(record.round, record.sha256)) => Ok(None),
            Err(problem) => {
                Err(StoreError::Model { task: task.clone(), round: record.round, problem })
            }
        }
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
        let _writing = self.writing();
        if let Some(last) = self.records(task, 1)?.pop() {
            let (task, round, last) = (task.clone(), record.round, last.round);
            return Err(StoreError::OutOfOrder { task, round, last });
        }
        self.models.add_task(task)?;
        for key in record.blobs() {
            self.models.write(task, &key, model)?;
        }
        self.transaction(|transaction| {
            let model = json(&definition.model);
            transaction.open_table(TASKS)?.insert(task.as_str(), model.as_slice())?;
            if let Some(privacy) = &definition.privacy {
                let mut policies = transaction.open_table(POLICIES)?;
                policies.insert(task.as_str(), json(privacy).as_slice())?;
            }
            put(transaction, task, record)
        })
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
            return Err(self.failed(format!("task {task} has no round")));
        };
        if history.windows(2).any(|pair| pair[1].round != pair[0].round + 1) {
            return Err(self.failed(format!("task {task} lacks one of its last rounds")));
        }
        let _writing = self.writing();
        let mut inspection = self.inspect(task, last)?;
        if let Some(failure) = inspection.failure(task) {
            return Err(failure);
        }
        let files = inspection.files.take().expect("the newest checkpoint is intact");
        self.settle(task, inspection)?;
        Ok(Some(Checkpoint { history, files }))
    }

    fn commit(
        &self,
        task: &TaskId,
        record: &RoundRecord,
        files: &CheckpointFiles,
    ) -> Result<(), StoreError> {
        let _writing = self.writing();
        self.append(task, record, files, None)
    }

    fn roll_back(
        &self,
        task: &TaskId,
        to: u64,
        unix_seconds: u64,
    ) -> Result<(RoundRecord, CheckpointFiles), StoreError> {
        let _writing = self.writing();
        let (target, files) = self.checkpoint(task, to)?;
        let record = target.restored_as(self.last_record(task)?.round + 1);
        let action = OperatorAction::RollBack { to, round: record.round };
        self.append(task, &record, &files, Some(&Decision { unix_seconds, action }))?;
        Ok((record, files))
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
        let kept = self.kept(task)?;
        let Some((round, _)) = kept.iter().rev().find(|(_, kept)| kept == sha256) else {
            return Ok(None);
        };
        let key = BlobKey { round: *round, kind: BlobKind::Model, sha256: *sha256 };
        match self.models.read(task, &key) {
            Ok(model) => Ok(Some(model)),
            // It may have been removed since.
            Err(_) if !self.kept(task)?.contains(&(*round, *sha256)) => Ok(None),
            Err(problem) => Err(StoreError::Model { task: task.clone(), round: *round, problem }),
        }
    }

    fn checkpoint(
        &self,
        task: &TaskId,
        round: u64,
    ) -> Result<(RoundRecord, CheckpointFiles), StoreError> {
        self.last_record(task)?;
        if self.kept(task)?.iter().any(|(kept, _)| *kept == round)
            && let Some(record) = self.record(task, round)?
            && let Some(files) = self.kept_files(task, &record)?
        {
            return Ok((record, files));
        }
        let kept = self.checkpoints(task)?;
        Err(StoreError::NotKept { task: task.clone(), round, kept })
    }

    fn checkpoints(&self, task: &TaskId) -> Result<Vec<u64>, StoreError> {
        Ok(self.kept(task)?.into_iter().map(|(round, _)| round).collect())
    }

    fn prune(&self, task: &TaskId, keep: &Retention) -> Result<(), StoreError> {
        self.last_record(task)?;
        if keep.everything() {
            return Ok(());
        }
        let _writing = self.writing();
        let mut records = Vec::new();
        for round in self.checkpoints(task)? {
            records.extend(self.record(task, round)?);
        }
        let staying = keep.rounds(&records);
        records.retain(|record| !staying.contains(&record.round));
        if records.is_empty() {
            return Ok(());
        }
        self.transaction(|transaction| {
            let mut kept = transaction.open_table(KEPT)?;
            for record in &records {
                kept.remove((task.as_str(), record.round))?;
            }
            Ok(())
        })?;
        for key in records.iter().flat_map(RoundRecord::blobs) {
            self.models.remove(&self.models.path(task, &key));
        }
        Ok(())
    }

    fn debit(&self, task: &TaskId, debit: &Debit) -> Result<(), StoreError> {
        self.last_record(task)?;
        self.transaction(|transaction| {
            tables::append(&mut transaction.open_table(DEBITS)?, task, debit)
        })
    }

    fn debits(&self, task: &TaskId) -> Result<Vec<Debit>, StoreError> {
        self.entries(DEBITS, task, usize::MAX)
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

    fn decide(&self, task: &TaskId, decision: &Decision) -> Result<(), StoreError> {
        let known = self.transaction(|transaction| {
            let known = is_known(transaction, task)?;
            if known {
                tables::append(&mut transaction.open_table(DECISIONS)?, task, decision)?;
            }
            Ok(known)
        })?;
        if known { Ok(()) } else { Err(StoreError::UnknownTask(task.clone())) }
    }

    fn decisions(&self, task: &TaskId) -> Result<Vec<Decision>, StoreError> {
        self.entries(DECISIONS, task, usize::MAX)
    }

    fn add_task(&self, task: &TaskId, toml: &str, unix_seconds: u64) -> Result<(), StoreError> {
        let decision = Decision { unix_seconds, action: OperatorAction::Create };
        let known = self.transaction(|transaction| {
            let known = is_known(transaction, task)?;
            if !known {
                transaction.open_table(ADDED)?.insert(task.as_str(), toml)?;
                tables::append(&mut transaction.open_table(DECISIONS)?, task, &decision)?;
            }
            Ok(known)
        })?;
        if known { Err(StoreError::TaskExists(task.clone())) } else { Ok(()) }
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
}

/// Adds a record, whose model is kept.
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

/// True if the store has a task of this name, with a model or without one yet.
fn is_known(transaction: &WriteTransaction, task: &TaskId) -> Result<bool, redb::Error> {
    let name = task.as_str();
    let has_model = transaction.open_table(TASKS)?.get(name)?.is_some();
    Ok(has_model || transaction.open_table(ADDED)?.get(name)?.is_some())
}

/// Makes a folder and those above it, all of them durable.
fn make_folders(disk: &dyn Disk, folder: &Path) -> Result<(), StoreError> {
    let above = match folder.parent() {
        None => return Ok(()),
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
    };
    match disk.create_folder(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_folders(disk, above)?;
            disk.create_folder(folder).map_err(file_error("create", folder))?;
        }
        result => result.map_err(file_error("create", folder))?,
    }
    disk.sync_folder(above).map_err(file_error("sync", above))
}

fn file_error<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> StoreError + 'a {
    move |source| StoreError::File { action, path: path.to_owned(), source }
}
