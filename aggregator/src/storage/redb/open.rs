//! Opens the database: a new one is there as a whole or not at all, an old one
//! is read through and checked before anything relies on it. What cannot be
//! opened is explained, and nothing is thrown away.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Builder, ConcurrencyMode, Database, DatabaseError, StorageError, WriteTransaction};

use super::tables;
use crate::storage::StoreError;
use crate::storage::disk::{Disk, file_error};
use crate::storage::folder::FolderBlobs;

/// The database's file in the store's folder.
pub(in crate::storage) const DATABASE: &str = "fedra.redb";
/// A database that is being made.
const UNFINISHED: &str = "fedra.redb.new";

const CACHE_BYTES: usize = 16 << 20;

/// Options for opening the database. One process writes; another may read beside it,
/// for a backup. Every page is checked first.
pub(in crate::storage) fn builder(mode: ConcurrencyMode) -> Builder {
    let mut builder = Database::builder();
    builder
        .set_cache_size(CACHE_BYTES)
        .set_concurrency_mode(mode)
        .set_check_integrity_on_open(true);
    builder
}

/// Opens the database in `folder`, or makes it.
pub(super) fn open(
    disk: &dyn Disk,
    folder: &Path,
    models: &FolderBlobs,
) -> Result<Database, StoreError> {
    let path = folder.join(DATABASE);
    let unreadable = |problem: String| StoreError::Unreadable {
        path: path.clone(),
        problem,
        kept: models.describe(),
    };
    match size(disk, &path)? {
        None if models.any() => return Err(unreadable("it is gone".to_owned())),
        None => create(disk, folder, &|_| Ok(()))?,
        // It has never been empty.
        Some(0) => return Err(unreadable("it is empty".to_owned())),
        Some(_) => {}
    }
    let database =
        open_file(disk, folder, &path).map_err(|failure| failure.explain(&unreadable))?;
    let format =
        initialise(&database, &|_| Ok(())).map_err(|error| unreadable(error.to_string()))?;
    if format != tables::FORMAT {
        return Err(StoreError::Format { path, format, known: tables::FORMAT });
    }
    Ok(database)
}

/// Initial content of a new database.
type Fill<'a> = &'a dyn Fn(&WriteTransaction) -> Result<(), redb::Error>;

/// Makes a database with its tables. It gets its name when it is complete: what
/// a crash leaves of it is not taken for a damaged store, or for an empty one.
pub(in crate::storage) fn create(
    disk: &dyn Disk,
    folder: &Path,
    fill: Fill<'_>,
) -> Result<(), StoreError> {
    let (path, unfinished) = (folder.join(DATABASE), folder.join(UNFINISHED));
    let problem = |error: &dyn ToString| StoreError::Database {
        path: unfinished.clone(),
        problem: error.to_string(),
    };
    let database = match open_file(disk, folder, &unfinished) {
        Ok(database) => database,
        Err(Failure::Content(_)) => {
            disk.remove(&unfinished).map_err(file_error("remove", &unfinished))?;
            open_file(disk, folder, &unfinished).map_err(|f| f.explain(&|text| problem(&text)))?
        }
        Err(other) => return Err(other.explain(&|text| problem(&text))),
    };
    initialise(&database, fill).map_err(|error| problem(&error))?;
    // Its lock is held until it has its name, so that of two processes that
    // begin at the same time only one makes the store.
    if size(disk, &path)?.is_some() {
        return Err(StoreError::InUse(folder.to_owned()));
    }
    disk.rename(&unfinished, &path).map_err(file_error("rename", &unfinished))?;
    database.close().map_err(|error| problem(&error))?;
    disk.sync_folder(folder).map_err(file_error("sync", folder))
}

/// Makes the tables that are not there yet; returns the format.
fn initialise(database: &Database, fill: Fill<'_>) -> Result<u64, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    let format = tables::make(&transaction)?;
    fill(&transaction)?;
    transaction.commit()?;
    Ok(format)
}

fn size(disk: &dyn Disk, path: &Path) -> Result<Option<u64>, StoreError> {
    disk.size(path).map_err(file_error("read", path))
}

/// Failure to open a database file.
enum Failure {
    Taken(PathBuf),
    System(PathBuf, io::Error),
    /// Its content is not right.
    Content(String),
}

impl Failure {
    fn explain(self, content: &dyn Fn(String) -> StoreError) -> StoreError {
        match self {
            Self::Taken(folder) => StoreError::InUse(folder),
            Self::System(path, source) => StoreError::File { action: "open", path, source },
            Self::Content(problem) => content(problem),
        }
    }
}

fn open_file(disk: &dyn Disk, folder: &Path, path: &Path) -> Result<Database, Failure> {
    let open = |mode| {
        // Damaged files make the database report errors, nearly always. Where it
        // takes something for impossible it panics, and an operator is to read
        // the same message then. Nothing outlives the attempt.
        catch_unwind(AssertUnwindSafe(|| disk.database(&builder(mode), path)))
            .unwrap_or_else(|panic| Err(StorageError::Corrupted(panic_text(panic)).into()))
    };
    let opened = match open(ConcurrencyMode::SingleWriter) {
        // No locks on parts of a file here: then there are no readers beside the writer.
        Err(DatabaseError::Storage(StorageError::Unsupported)) => {
            open(ConcurrencyMode::ExclusiveWriter)
        }
        opened => opened,
    };
    opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            Failure::Taken(folder.to_owned())
        }
        DatabaseError::Storage(StorageError::Io(source)) if !is_content(source.kind()) => {
            Failure::System(path.to_owned(), source)
        }
        other => Failure::Content(other.to_string()),
    })
}

/// True if an error is about the content of a file, not about the system.
fn is_content(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(kind, InvalidData | InvalidInput | UnexpectedEof)
}

fn panic_text(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().map_or("unknown", |text| *text).to_owned(),
    }
}
