//! Files of checkpoints in an object store, by the trait of the crate `object_store`: S3,
//! Google Cloud or Azure.
//!
//! The names are those of the folder: `{prefix}/{task}/{round:010}-{sha256}.safetensors`.
//! An object is there as a whole or not at all, and is durable when it is stored.
//!
//! The storage traits block, and that crate is asynchronous: calls come from threads that
//! may wait, never from a task of the runtime.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use fedra_protocol::TaskId;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use tokio::runtime::Handle;

use super::{BlobError, BlobKey, BlobStore, Listing, StoreError};

/// Ending of a damaged object that was set aside.
const DAMAGED: &str = "damaged";

/// Files in an object store.
pub struct ObjectBlobs {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    runtime: Handle,
}

impl ObjectBlobs {
    /// Files below `prefix`. Requests run on `runtime`.
    #[must_use]
    pub fn new(objects: Arc<dyn ObjectStore>, prefix: Path, runtime: Handle) -> Self {
        Self { objects, prefix, runtime }
    }

    fn folder(&self, task: &TaskId) -> Path {
        self.prefix.clone().join(task.as_str())
    }

    fn path(&self, task: &TaskId, key: &BlobKey) -> Path {
        self.folder(task).join(key.to_string())
    }

    /// Runs a request; `None` if there is no such object.
    fn ask<T>(
        &self,
        action: &'static str,
        path: &Path,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<Option<T>, StoreError> {
        match self.runtime.block_on(request) {
            Ok(answer) => Ok(Some(answer)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => {
                let (path, source) = (path.to_string().into(), std::io::Error::other(error));
                Err(StoreError::File { action, path, source })
            }
        }
    }
}

impl BlobStore for ObjectBlobs {
    fn put(&self, task: &TaskId, key: &BlobKey, content: &Bytes) -> Result<(), StoreError> {
        let path = self.path(task, key);
        let payload = PutPayload::from_bytes(content.clone());
        self.ask("write", &path, self.objects.put(&path, payload)).map(drop)
    }

    fn get(&self, task: &TaskId, key: &BlobKey) -> Result<Bytes, BlobError> {
        let path = self.path(task, key);
        let request = async { self.objects.get(&path).await?.bytes().await };
        let content = self
            .ask("read", &path, request)?
            .ok_or_else(|| BlobError::Damaged(format!("{path} is gone")))?;
        let problem = |problem| BlobError::Damaged(format!("{path}{problem}"));
        key.check(&content).map_err(problem)?;
        Ok(content)
    }

    fn delete(&self, task: &TaskId, key: &BlobKey) -> Result<(), StoreError> {
        let path = self.path(task, key);
        self.ask("remove", &path, self.objects.delete(&path)).map(drop)
    }

    fn set_aside(&self, task: &TaskId, key: &BlobKey) -> Result<(), StoreError> {
        let path = self.path(task, key);
        let aside = self.folder(task).join(format!("{key}.{DAMAGED}"));
        self.ask("set aside", &path, self.objects.rename(&path, &aside)).map(drop)
    }

    fn list(&self, task: &TaskId) -> Result<Listing, StoreError> {
        let folder = self.folder(task);
        let objects = self.objects.list(Some(&folder)).try_collect::<Vec<_>>();
        let objects = self.ask("list", &folder, objects)?.unwrap_or_default();
        let names = objects.iter().filter_map(|object| object.location.filename());
        let blobs: BTreeSet<BlobKey> = names.filter_map(BlobKey::parse).collect();
        // Uploads that were cut off are not objects.
        Ok(Listing { blobs, unfinished: 0 })
    }

    fn remove_unfinished(&self, _: &TaskId) -> Result<(), StoreError> {
        Ok(())
    }

    fn place(&self, task: &TaskId, key: &BlobKey) -> String {
        self.path(task, key).to_string()
    }
}
