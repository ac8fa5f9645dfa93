//! The checkpoints' files: `models/{task}/{round:010}-{sha256}.safetensors`, and the
//! server optimizer's state as `.optimizer` beside it. Which of them there should be is
//! the database's business.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fedra_coordinator::storage::{BlobKey, BlobKind};
use fedra_protocol::TaskId;

use super::file_error;
use crate::storage::StoreError;
use crate::storage::disk::Disk;

/// A file that is being written.
const TEMPORARY: &str = "tmp";
/// A damaged file that was set aside.
const DAMAGED: &str = "damaged";

/// Content of a task's folder.
#[derive(Default)]
pub(super) struct Listing {
    pub blobs: BTreeSet<BlobKey>,
    /// Files that were not written to their end.
    pub temporary: Vec<PathBuf>,
}

/// The folder of all models.
pub(super) struct ModelFiles {
    folder: PathBuf,
    disk: Arc<dyn Disk>,
}

impl ModelFiles {
    pub(super) fn new(folder: PathBuf, disk: Arc<dyn Disk>) -> Self {
        Self { folder, disk }
    }

    pub(super) fn path(&self, task: &TaskId, key: &BlobKey) -> PathBuf {
        self.folder.join(task.as_str()).join(key.to_string())
    }

    /// Makes the folder of a task.
    pub(super) fn add_task(&self, task: &TaskId) -> Result<(), StoreError> {
        let folder = self.folder.join(task.as_str());
        self.disk.create_folder(&folder).map_err(file_error("create", &folder))?;
        self.sync(&self.folder)
    }

    /// Writes a file. When this returns, it is durable.
    pub(super) fn write(
        &self,
        task: &TaskId,
        key: &BlobKey,
        content: &[u8],
    ) -> Result<(), StoreError> {
        let path = self.path(task, key);
        let temporary = path.with_extension(TEMPORARY);
        self.disk.write(&temporary, content).map_err(file_error("write", &temporary))?;
        self.disk.rename(&temporary, &path).map_err(file_error("write", &path))?;
        self.sync(&self.folder.join(task.as_str()))
    }

    /// Reads a file and checks it; or what is wrong with it.
    pub(super) fn read(&self, task: &TaskId, key: &BlobKey) -> Result<Bytes, String> {
        let path = self.path(task, key);
        let bytes = self.disk.read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("{} is gone", path.display()),
            _ => format!("{}: {error}", path.display()),
        })?;
        key.check(&bytes).map_err(|problem| format!("{}{problem}", path.display()))?;
        Ok(bytes.into())
    }

    /// Lists a task's folder. Files with other names are ignored.
    pub(super) fn list(&self, task: &TaskId) -> Result<Listing, StoreError> {
        let folder = self.folder.join(task.as_str());
        let mut listing = Listing::default();
        for path in self.disk.list(&folder).map_err(file_error("list", &folder))? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(key) = BlobKey::parse(name) {
                listing.blobs.insert(key);
            } else if path.extension().is_some_and(|extension| extension == TEMPORARY) {
                listing.temporary.push(path);
            }
        }
        Ok(listing)
    }

    /// Gives a damaged file, if it is there, a name that is not a model's.
    pub(super) fn set_aside(&self, path: &Path) -> Result<(), StoreError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".");
        name.push(DAMAGED);
        match self.disk.rename(path, Path::new(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => {
                result.map_err(file_error("set aside", path))?;
                self.sync(path.parent().unwrap_or(&self.folder))
            }
        }
    }

    /// Removes a file that nothing names any more. If it cannot be removed,
    /// that is only worth a warning.
    pub(super) fn remove(&self, path: &Path) {
        if let Err(error) = self.disk.remove(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove an old model");
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
