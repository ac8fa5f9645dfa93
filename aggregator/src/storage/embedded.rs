//! The embedded store: one folder, with records and secrets in redb and files of
//! checkpoints beside it.
//!
//! ```text
//! fedra.redb                                     everything but files, mostly JSON values
//! models/{task}/{round:010}-{sha256}.safetensors
//! models/{task}/{round:010}-{sha256}.optimizer   state of the server optimizer, if any
//! models/{task}/{round:010}-{sha256}.residual    what the model's steps have left out, if any
//! models/{task}/{round:010}-{sha256}.step        step from the model before, if any
//! models/{task}/{round:010}-{sha256}.control.safetensors   control variate of the server, if any
//! ```

use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, System, make_folders};
use super::folder::FolderBlobs;
use super::redb::RedbStore;
use super::{Storage, StoreError};

/// The folder of models in the store's folder.
pub(super) const MODELS: &str = "models";

/// Opens the store in `folder`, which is made if it is not there. The whole database is
/// read and checked.
///
/// # Errors
///
/// [`StoreError`] if another process has it, or it is damaged.
pub fn open(folder: &Path) -> Result<Storage, StoreError> {
    let disk: Arc<dyn Disk> = Arc::new(System);
    open_on(&disk, folder)
}

pub(super) fn open_on(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Storage, StoreError> {
    let models = folder.join(MODELS);
    make_folders(disk.as_ref(), &models)?;
    let blobs = FolderBlobs::new(models, Arc::clone(disk));
    let records = Arc::new(RedbStore::open(disk.as_ref(), folder, &blobs)?);
    Ok(Storage {
        tasks: Arc::<RedbStore>::clone(&records),
        blobs: Arc::new(blobs),
        secrets: records,
    })
}
