//! Files of checkpoints in a folder: `models/{task}/{round:010}-{sha256}.safetensors`, and
//! beside it the server optimizer's state as `.optimizer`, and `.residual` and `.step` of a
//! model that travels in a codec.
//!
//! Not built on `object_store`'s local folder, although that can sync what it writes: this
//! one keeps the names that stores have had from the first version on, takes every disk
//! operation from [`Disk`] so that a test can cut the power between any two of them, and
//! makes the renaming of damaged files durable.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fedra_coordinator::storage::{BlobError, BlobKey, BlobKind, BlobStore, Listing};
use fedra_protocol::TaskId;

use super::StoreError;
use super::disk::{Disk, file_error};

/// A file that is being written.
const TEMPORARY: &str = "tmp";
/// A damaged file that was set aside.
const DAMAGED: &str = "damaged";

/// Files in the folder of a store.
pub struct FolderBlobs {
    folder: PathBuf,
    disk: Arc<dyn Disk>,
}

impl FolderBlobs {
    pub(super) fn new(folder: PathBuf, disk: Arc<dyn Disk>) -> Self {
        Self { folder, disk }
    }

    fn path(&self, task: &TaskId, key: &BlobKey) -> PathBuf {
        self.folder.join(task.as_str()).join(key.to_string())
    }

    /// Makes the folder of a task, if it is not there. Its name is durable then.
    fn add_task(&self, folder: &Path) -> Result<(), StoreError> {
        self.disk.create_folder(folder).map_err(file_error("create", folder))?;
        self.sync(&self.folder)
    }

    /// The files that were not written to their end, beside the others.
    fn listing(&self, task: &TaskId) -> Result<(BTreeSet<BlobKey>, Vec<PathBuf>), StoreError> {
        let folder = self.folder.join(task.as_str());
        let (mut blobs, mut unfinished) = (BTreeSet::new(), Vec::new());
        for path in self.disk.list(&folder).map_err(file_error("list", &folder))? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(key) = BlobKey::parse(name) {
                blobs.insert(key);
            } else if path.extension().is_some_and(|extension| extension == TEMPORARY) {
                unfinished.push(path);
            }
        }
        Ok((blobs, unfinished))
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        match self.disk.remove(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(file_error("remove", path)),
        }
    }

    /// True if there is any model of any task.
    pub(super) fn any(&self) -> bool {
        self.tasks().iter().any(|(_, rounds)| !rounds.is_empty())
    }

    /// The models that are there, in a sentence, for a store whose database
    /// cannot say.
    pub(super) fn describe(&self) -> String {
        let task = |(name, rounds): (String, Vec<u64>)| {
            let newest = rounds.iter().max()?;
            Some(format!("{name} ({}, the newest of round {newest})", rounds.len()))
        };
        let tasks: Vec<String> = self.tasks().into_iter().filter_map(task).collect();
        match tasks.as_slice() {
            [] => "There are no models beside it.".to_owned(),
            tasks => format!("The models beside it are as they were: {}.", tasks.join(", ")),
        }
    }

    /// The folders that there are, and the rounds of the models in them.
    fn tasks(&self) -> Vec<(String, Vec<u64>)> {
        let mut folders = self.disk.list(&self.folder).unwrap_or_default();
        folders.sort();
        let task = |folder: PathBuf| {
            let name = folder.file_name()?.to_str()?.to_owned();
            let files = self.disk.list(&folder).unwrap_or_default();
            let keys = files.iter().filter_map(|path| BlobKey::parse(path.file_name()?.to_str()?));
            let models = keys.filter(|key| key.kind == BlobKind::Model);
            Some((name, models.map(|key| key.round).collect()))
        };
        folders.into_iter().filter_map(task).collect()
    }

    fn sync(&self, folder: &Path) -> Result<(), StoreError> {
        self.disk.sync_folder(folder).map_err(file_error("sync", folder))
    }
}

impl BlobStore for FolderBlobs {
    fn put(&self, task: &TaskId, key: &BlobKey, content: &Bytes) -> Result<(), StoreError> {
        let path = self.path(task, key);
        let folder = self.folder.join(task.as_str());
        let temporary = path.with_extension(TEMPORARY);
        // A folder with a file in it has been made durable before that file was written.
        if self.disk.list(&folder).map_err(file_error("list", &folder))?.is_empty() {
            self.add_task(&folder)?;
        }
        self.disk.write(&temporary, content).map_err(file_error("write", &temporary))?;
        self.disk.rename(&temporary, &path).map_err(file_error("write", &path))?;
        self.sync(&folder)
    }

    fn get(&self, task: &TaskId, key: &BlobKey) -> Result<Bytes, BlobError> {
        let path = self.path(task, key);
        let content = self.disk.read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::Damaged(format!("{} is gone", path.display())),
            _ => BlobError::Damaged(format!("{}: {error}", path.display())),
        })?;
        let problem = |problem| BlobError::Damaged(format!("{}{problem}", path.display()));
        key.check(&content).map_err(problem)?;
        Ok(content.into())
    }

    fn delete(&self, task: &TaskId, key: &BlobKey) -> Result<(), StoreError> {
        self.remove(&self.path(task, key))
    }

    fn set_aside(&self, task: &TaskId, key: &BlobKey) -> Result<(), StoreError> {
        let path = self.path(task, key);
        let mut name = path.as_os_str().to_owned();
        name.push(".");
        name.push(DAMAGED);
        match self.disk.rename(&path, Path::new(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => {
                result.map_err(file_error("set aside", &path))?;
                self.sync(path.parent().unwrap_or(&self.folder))
            }
        }
    }

    fn list(&self, task: &TaskId) -> Result<Listing, StoreError> {
        let (blobs, unfinished) = self.listing(task)?;
        Ok(Listing { blobs, unfinished: unfinished.len() })
    }

    fn remove_unfinished(&self, task: &TaskId) -> Result<(), StoreError> {
        self.listing(task)?.1.iter().try_for_each(|path| self.remove(path))
    }

    fn place(&self, task: &TaskId, key: &BlobKey) -> String {
        self.path(task, key).display().to_string()
    }
}
