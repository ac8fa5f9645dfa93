//! The few file operations that the embedded store is made of. A trait only so
//! that a test can cut the power between any two of them; it decides nothing.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use redb::{Builder, Database, DatabaseError};

use super::StoreError;

/// Storage of the store's files.
pub(super) trait Disk: Send + Sync {
    /// Makes a folder whose parent is there. Not an error if it is there.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable: after files or folders were made,
    /// renamed or removed in it.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// Writes a file as a whole. Its content is durable then, its name is not.
    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()>;

    /// Renames a file within its folder, over another one if need be.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The size of a file, if it is there.
    fn size(&self, path: &Path) -> io::Result<Option<u64>>;

    /// The entries of a folder, in no order; nothing if it is not there.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;

    /// Opens a database, or makes it if the file is not there.
    fn database(&self, builder: &Builder, path: &Path) -> Result<Database, DatabaseError>;
}

/// The machine's own.
pub(super) struct System;

impl Disk for System {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(_) if path.is_dir() => Ok(()),
            result => result,
        }
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(content)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn size(&self, path: &Path) -> io::Result<Option<u64>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        match fs::read_dir(path) {
            Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn database(&self, builder: &Builder, path: &Path) -> Result<Database, DatabaseError> {
        builder.create(path)
    }
}

/// Makes a folder and those above it, all of them durable.
pub(super) fn make_folders(disk: &dyn Disk, folder: &Path) -> Result<(), StoreError> {
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

/// The error of a disk operation.
pub(super) fn file_error<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl Fn(io::Error) -> StoreError + 'a {
    move |source| StoreError::File { action, path: path.to_owned(), source }
}
