//! A disk in memory that remembers every operation in order. A test can take the
//! power away after any of them, and see what a real disk may have kept: all
//! that was synced, and any part of the rest.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use redb::{BackendError, Builder, Database, DatabaseError, StorageBackend};

use crate::storage::disk::Disk;

type File = usize;

/// Bytes that a disk writes as a whole or not at all.
const SECTOR: u64 = 512;

#[derive(Debug, Clone)]
pub enum Operation {
    Folder(PathBuf),
    Create(PathBuf, File),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    Write(File, u64, Vec<u8>),
    Resize(File, u64),
    SyncFile(File),
    SyncFolder(PathBuf),
    /// The test says that a call has returned.
    Returned,
}

impl Operation {
    /// The folder in which it changes names.
    fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(path) | Self::Create(path, _) | Self::Remove(path) => path.parent(),
            Self::Rename(_, to) => to.parent(),
            _ => None,
        }
    }

    /// The file in which it changes content.
    fn file(&self) -> Option<File> {
        match self {
            Self::Write(file, ..) | Self::Resize(file, _) => Some(*file),
            _ => None,
        }
    }
}

/// Content of a disk.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// Files, and folders without one.
    names: BTreeMap<PathBuf, Option<File>>,
    contents: Vec<Vec<u8>>,
}

impl Image {
    pub fn content(&mut self, path: &Path) -> &mut Vec<u8> {
        let file = self.names[path].expect("a file");
        &mut self.contents[file]
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Folder(path) => drop(self.names.insert(path.clone(), None)),
            Operation::Create(path, file) => drop(self.names.insert(path.clone(), Some(*file))),
            Operation::Rename(from, to) => {
                let file = self.names.remove(from).expect("is there");
                self.names.insert(to.clone(), file);
            }
            Operation::Remove(path) => drop(self.names.remove(path)),
            Operation::Write(file, offset, bytes) => {
                let (start, content) = (*offset as usize, self.of(*file));
                let end = start + bytes.len();
                content.resize(content.len().max(end), 0);
                content[start..end].copy_from_slice(bytes);
            }
            Operation::Resize(file, length) => self.of(*file).resize(*length as usize, 0),
            Operation::SyncFile(_) | Operation::SyncFolder(_) | Operation::Returned => {}
        }
    }

    fn of(&mut self, file: File) -> &mut Vec<u8> {
        self.contents.resize(self.contents.len().max(file + 1), Vec::new());
        &mut self.contents[file]
    }
}

/// Fate of the data that was not synced.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    /// The process was killed: the system writes it all the same.
    Killed,
    /// The power failed, and it is lost.
    Lost,
    /// The power failed. Chance decides: about each write to a file, of which
    /// the end may be missing, and how far a folder's names have got.
    Chance(u64),
}

impl Cut {
    /// The state of `base` after these operations and the cut.
    pub fn after(self, base: &Image, log: &[Operation]) -> Image {
        let mut image = base.clone();
        let mut rng = match self {
            Self::Killed => {
                log.iter().for_each(|operation| image.apply(operation));
                return image;
            }
            Self::Lost => None,
            Self::Chance(seed) => Some(StdRng::seed_from_u64(seed)),
        };
        // From the first name that a folder has lost, all later ones are.
        let mut behind: Vec<&Path> = Vec::new();
        for (at, operation) in log.iter().enumerate() {
            let mut later = log[at + 1..].iter();
            if let Some(folder) = operation.folder() {
                let synced = later.any(|o| matches!(o, Operation::SyncFolder(f) if f == folder));
                let lucky = rng.as_mut().is_some_and(|rng| rng.random_bool(0.5));
                if !synced && (!lucky || behind.contains(&folder)) {
                    behind.push(folder);
                    continue;
                }
            }
            if let Some(file) = operation.file() {
                let synced = later.any(|o| matches!(o, Operation::SyncFile(f) if *f == file));
                if !synced {
                    if let Some(rng) = &mut rng
                        && rng.random_bool(0.5)
                    {
                        image.apply(&torn(operation, rng));
                    }
                    continue;
                }
            }
            image.apply(operation);
        }
        // What is in a folder that is gone is gone.
        let names = image.names.clone();
        image.names.retain(|path, _| {
            path.ancestors()
                .skip(1)
                .all(|above| above == Path::new("/") || names.contains_key(above))
        });
        image
    }
}

/// A write that may end at the boundary of a sector.
fn torn(operation: &Operation, rng: &mut StdRng) -> Operation {
    let Operation::Write(file, offset, bytes) = operation else { return operation.clone() };
    let end = offset + bytes.len() as u64;
    let last = end.div_ceil(SECTOR);
    let cut = (rng.random_range(offset / SECTOR + 1..=last) * SECTOR).min(end);
    Operation::Write(*file, *offset, bytes[..(cut - offset) as usize].to_vec())
}

#[derive(Debug, Default)]
struct State {
    image: Image,
    log: Vec<Operation>,
    /// The operation, counted from 0, that fails once.
    fault: Option<usize>,
}

/// A disk in memory. A clone is the same disk.
#[derive(Debug, Clone, Default)]
pub struct TestDisk {
    state: Arc<Mutex<State>>,
}

impl TestDisk {
    pub fn new(image: Image) -> Self {
        Self { state: Arc::new(Mutex::new(State { image, ..State::default() })) }
    }

    /// Makes one operation fail after `operations` that succeed.
    pub fn fail_after(&self, operations: usize) {
        let mut state = self.state();
        state.fault = Some(state.log.len() + operations);
    }

    /// No operation fails any more.
    pub fn mend(&self) {
        self.state().fault = None;
    }

    /// Notes that a call has returned.
    pub fn returned(&self) {
        self.state().log.push(Operation::Returned);
    }

    pub fn log(&self) -> Vec<Operation> {
        self.state().log.clone()
    }

    pub fn image(&self) -> Image {
        self.state().image.clone()
    }

    /// The files in a folder, by name.
    pub fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut files = self.list(Path::new(folder)).expect("lists");
        files.sort();
        files
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, operation: Operation) -> io::Result<()> {
        let mut state = self.state();
        if state.fault == Some(state.log.len()) {
            state.fault = None;
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the test's disk is full"));
        }
        state.image.apply(&operation);
        state.log.push(operation);
        Ok(())
    }

    fn file(&self, path: &Path) -> io::Result<File> {
        let found = self.state().image.names.get(path).copied().flatten();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        let above = path.parent().expect("below the root");
        if !self.state().image.names.contains_key(above) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = self.state().image.contents.len();
        self.state().image.contents.push(Vec::new());
        self.run(Operation::Create(path.to_owned(), file))?;
        Ok(file)
    }
}

impl Disk for TestDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        if self.state().image.names.contains_key(path) {
            return Ok(());
        }
        let above = path.parent().expect("below the root");
        if above != Path::new("/") && !self.state().image.names.contains_key(above) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.run(Operation::Folder(path.to_owned()))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.run(Operation::SyncFolder(path.to_owned()))
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let file = self.create(path)?;
        self.run(Operation::Write(file, 0, content.to_vec()))?;
        self.run(Operation::SyncFile(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.file(from)?;
        self.run(Operation::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        self.run(Operation::Remove(path.to_owned()))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.file(path)?;
        Ok(self.state().image.of(file).clone())
    }

    fn size(&self, path: &Path) -> io::Result<Option<u64>> {
        match self.file(path) {
            Ok(file) => Ok(Some(self.state().image.of(file).len() as u64)),
            Err(_) => Ok(None),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let names = &self.state().image.names;
        Ok(names.keys().filter(|name| name.parent() == Some(path)).cloned().collect())
    }

    fn database(&self, builder: &Builder, path: &Path) -> Result<Database, DatabaseError> {
        let file = match self.file(path) {
            Ok(file) => file,
            Err(_) => self.create(path)?,
        };
        builder.create_with_backend(Backend { disk: self.clone(), file })
    }
}

/// A database's file on the disk.
#[derive(Debug)]
struct Backend {
    disk: TestDisk,
    file: File,
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().image.of(self.file).len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let start = offset as usize;
        let found = state.image.of(self.file).get(start..start + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.run(Operation::Resize(self.file, length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.run(Operation::SyncFile(self.file))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.run(Operation::Write(self.file, offset, data.to_vec()))
    }

    // A test has its disk for itself.

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(false)
    }
}
