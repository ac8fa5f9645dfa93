//! A copy of a whole store, also of one that a server is using: the database as
//! it is at one moment, and the models of the rounds that it has then. The store
//! that is copied is only read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fedra_coordinator::storage::BlobKey;
use fedra_protocol::{Sha256Hash, TaskId};
use redb::{
    ConcurrencyMode, DatabaseError, Key, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    ReadableTable, TableDefinition, Value, WriteTransaction,
};

use super::disk::{Disk, System, file_error, make_folders};
use super::embedded::{self, MODELS};
use super::folder::FolderBlobs;
use super::redb::{open, tables};
use super::survey::{TaskCheck, check};
use super::{BlobError, BlobStore, RoundRecord, StoreError};

/// A newest model that is removed before it is copied makes it start again. It
/// takes a server that keeps one model, and rounds as short as the copying.
const ATTEMPTS: u32 = 20;

/// Copies the store in `folder` to the folder `to`, which must be empty or not
/// there yet. When this returns, the copy is complete, durable, and was checked.
///
/// # Errors
///
/// [`StoreError`] if the store cannot be read, a task's newest model is damaged,
/// or the copy cannot be written.
pub fn back_up(folder: &Path, to: &Path) -> Result<Vec<TaskCheck>, StoreError> {
    let disk = Arc::new(System);
    if !disk.list(to).map_err(file_error("list", to))?.is_empty() {
        return Err(StoreError::NotEmpty(to.to_owned()));
    }
    let source = Source::open(folder, Arc::clone(&disk))?;
    let models = to.join(MODELS);
    make_folders(disk.as_ref(), &models)?;
    let target = FolderBlobs::new(models, Arc::clone(&disk) as Arc<dyn Disk>);
    let mut attempt = 0;
    loop {
        attempt += 1;
        let snapshot = source.snapshot()?;
        match source.copy_models(&snapshot, &target)? {
            Copied::Overtaken(error) if attempt == ATTEMPTS => return Err(error),
            Copied::Overtaken(_) => {}
            Copied::All(copied) => {
                let fill = |new: &WriteTransaction| copy_tables(&snapshot, new, &copied);
                open::create(disk.as_ref(), to, &fill)?;
                return check(&embedded::open(to)?);
            }
        }
    }
}

/// The models that were copied.
type Models = BTreeMap<(TaskId, u64), Sha256Hash>;

enum Copied {
    All(Models),
    /// A newest model of the snapshot is not there, or not any more.
    Overtaken(StoreError),
}

/// A store that is read.
struct Source {
    path: PathBuf,
    database: ReadOnlyDatabase,
    models: FolderBlobs,
}

impl Source {
    fn open(folder: &Path, disk: Arc<System>) -> Result<Self, StoreError> {
        let path = folder.join(open::DATABASE);
        if disk.size(&path).map_err(file_error("read", &path))?.is_none() {
            let source = std::io::ErrorKind::NotFound.into();
            return Err(StoreError::File { action: "read", path, source });
        }
        // The process that has a store open has checked it. Otherwise it is checked here.
        match embedded::open(folder) {
            Ok(_) | Err(StoreError::InUse(_)) => {}
            Err(other) => return Err(other),
        }
        let database = open::builder(ConcurrencyMode::SingleWriter).open_read_only(&path).map_err(
            |error| match error {
                DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
                    StoreError::InUse(folder.to_owned())
                }
                other => failed(&path, &other.into()),
            },
        )?;
        Ok(Self { database, models: FolderBlobs::new(folder.join(MODELS), disk), path })
    }

    fn snapshot(&self) -> Result<ReadTransaction, StoreError> {
        self.database.begin_read().map_err(|error| failed(&self.path, &error.into()))
    }

    /// Copies the models that there are of the snapshot's rounds. An older one
    /// that is damaged, or was removed since, is left out.
    fn copy_models(
        &self,
        snapshot: &ReadTransaction,
        target: &FolderBlobs,
    ) -> Result<Copied, StoreError> {
        let tasks = tasks(snapshot).map_err(|error| failed(&self.path, &error))?;
        let mut copied = Models::new();
        for name in tasks {
            let task = TaskId::new(name).map_err(|error| self.failed(&error))?;
            let records = self.records(snapshot, &task)?;
            let Some((newest, newest_record)) = records.last_key_value() else { continue };
            let there = self.models.list(&task)?.blobs;
            for (round, record) in &records {
                let keys = record.blobs();
                if !there.contains(&keys[0]) {
                    continue;
                }
                let read = |key: &BlobKey| Ok((*key, self.models.get(&task, key)?));
                match keys.iter().map(read).collect::<Result<Vec<_>, BlobError>>() {
                    Ok(files) => {
                        for (key, content) in files {
                            target.put(&task, &key, &content)?;
                        }
                        self.copy_step(&task, record, target)?;
                        copied.insert((task.clone(), *round), record.sha256);
                    }
                    Err(BlobError::Store(error)) => return Err(error),
                    Err(BlobError::Damaged(problem)) if round == newest => {
                        return Ok(Copied::Overtaken(StoreError::Model {
                            task,
                            round: *round,
                            problem,
                        }));
                    }
                    Err(BlobError::Damaged(problem)) => {
                        tracing::warn!(%task, round, problem, "a model is not in the backup");
                    }
                }
            }
            if !copied.contains_key(&(task.clone(), *newest)) {
                let place = self.models.place(&task, &newest_record.blobs()[0]);
                let problem = format!("{place} is gone");
                return Ok(Copied::Overtaken(StoreError::Model { task, round: *newest, problem }));
            }
        }
        Ok(Copied::All(copied))
    }

    /// Copies the step of a round, if it has one. One that is damaged or gone is left out.
    fn copy_step(
        &self,
        task: &TaskId,
        record: &RoundRecord,
        target: &FolderBlobs,
    ) -> Result<(), StoreError> {
        let Some(key) = record.step_blob() else { return Ok(()) };
        match self.models.get(task, &key) {
            Ok(content) => target.put(task, &key, &content),
            Err(BlobError::Store(error)) => Err(error),
            Err(BlobError::Damaged(problem)) => {
                let round = record.round;
                tracing::warn!(%task, round, problem, "a step is not in the backup");
                Ok(())
            }
        }
    }

    /// The records of all rounds of a task.
    fn records(
        &self,
        snapshot: &ReadTransaction,
        task: &TaskId,
    ) -> Result<BTreeMap<u64, RoundRecord>, StoreError> {
        let read = || {
            let mut records = Vec::new();
            for entry in snapshot.open_table(tables::ROUNDS)?.range(tables::all_of(task))? {
                records.push(entry?.1.value().to_vec());
            }
            Ok::<_, redb::Error>(records)
        };
        let records = read().map_err(|error| failed(&self.path, &error))?;
        let parse = |bytes: &Vec<u8>| {
            let record: RoundRecord =
                serde_json::from_slice(bytes).map_err(|error| self.failed(&error))?;
            Ok((record.round, record))
        };
        records.iter().map(parse).collect()
    }

    fn failed(&self, problem: &dyn ToString) -> StoreError {
        StoreError::Database { path: self.path.clone(), problem: problem.to_string() }
    }
}

/// The snapshot as it is, but that the models that are kept are those that were
/// copied.
fn copy_tables(
    snapshot: &ReadTransaction,
    new: &WriteTransaction,
    copied: &Models,
) -> Result<(), redb::Error> {
    copy_table(snapshot, new, tables::TASKS)?;
    copy_table(snapshot, new, tables::ROUNDS)?;
    copy_table(snapshot, new, tables::POLICIES)?;
    copy_table(snapshot, new, tables::DEBITS)?;
    copy_table(snapshot, new, tables::SECRETS)?;
    copy_table(snapshot, new, tables::DECISIONS)?;
    copy_table(snapshot, new, tables::ADDED)?;
    copy_later_table(snapshot, new, tables::EPOCHS)?;
    let mut kept = new.open_table(tables::KEPT)?;
    for ((task, round), sha256) in copied {
        kept.insert((task.as_str(), *round), sha256.as_bytes())?;
    }
    Ok(())
}

fn copy_table<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    table: TableDefinition<'static, K, V>,
) -> Result<(), redb::Error> {
    let source = from.open_table(table)?;
    let mut target = to.open_table(table)?;
    for entry in source.iter()? {
        let (key, value) = entry?;
        target.insert(key.value(), value.value())?;
    }
    Ok(())
}

/// A table that a store of an earlier version, which a server of that version may be using,
/// does not have.
fn copy_later_table<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    table: TableDefinition<'static, K, V>,
) -> Result<(), redb::Error> {
    match copy_table(from, to, table) {
        Err(redb::Error::TableDoesNotExist(_)) => Ok(()),
        result => result,
    }
}

fn tasks(snapshot: &ReadTransaction) -> Result<Vec<String>, redb::Error> {
    let mut tasks = Vec::new();
    for entry in snapshot.open_table(tables::TASKS)?.iter()? {
        tasks.push(entry?.0.value().to_owned());
    }
    Ok(tasks)
}

fn failed(path: &Path, error: &redb::Error) -> StoreError {
    StoreError::Database { path: path.to_owned(), problem: error.to_string() }
}
