//! Backends of the storage traits of `fedra-coordinator`, which are here again for programs
//! that embed the server: redb for records and secrets, a folder or an object store for
//! files.

mod backup;
mod disk;
mod embedded;
mod folder;
mod objects;
mod redb;
mod survey;
#[cfg(test)]
mod tests;

pub use fedra_coordinator::storage::{
    BlobError, BlobKey, BlobKind, BlobStore, Checkpoint, CheckpointCheck, CheckpointFiles, Debit,
    Decision, Definition, Epoch, Gate, GateRefusal, Intercept, Keeping, Lease, Listing, LossSource,
    OperatorAction, Retention, RoundRecord, SecretStore, Storage, StoreError, TaskStore, Term,
    Write,
};

pub use self::backup::back_up;
pub use self::embedded::open;
pub use self::objects::ObjectBlobs;
pub use self::survey::{DamagedStep, Repair, TaskCheck, check, repair};
