//! State that survives the process: tasks and their completed rounds, the debits of their
//! privacy budgets, the decisions of operators; the files of their checkpoints; their
//! secrets.
//!
//! Each of the three is a trait: [`TaskStore`], [`BlobStore`], [`SecretStore`]. A
//! [`Storage`] is one of each. A task's leader writes through a [`Lease`], which keeps
//! records and files in step.
//!
//! All of it is blocking; call it from a thread that may wait for a disk. When a call
//! returns, what it was given is durable; after a crash in the middle of one, the store is
//! as before it or as after it. It reads no clock, and knows nothing of clients or of rounds
//! in the making.

mod blobs;
mod compose;
mod error;
mod gate;
mod inspection;
mod intercept;
mod lease;
mod memory;
mod records;
mod retention;
mod secrets;
mod tasks;

pub use self::blobs::{
    BlobError, BlobKey, BlobKind, BlobStore, CheckpointFiles, ControlFile, Listing,
};
pub use self::compose::Storage;
pub use self::error::{StoreError, rounds};
pub use self::gate::{Gate, GateRefusal, LossSource, refused_rounds};
pub use self::inspection::{CheckpointCheck, Inspection};
pub use self::intercept::{Intercept, Write};
pub use self::lease::Lease;
pub use self::memory::{MemoryBlobs, MemorySecrets, MemoryTasks};
pub use self::records::{
    Checkpoint, ControlRecord, Debit, Decision, Definition, OperatorAction, RoundRecord, StepRecord,
};
pub use self::retention::Retention;
pub use self::secrets::SecretStore;
pub use self::tasks::{Epoch, Keeping, TaskStore, Term};
