//! Embedded store: redb for records, files for models. Behind the storage traits of
//! `fedra-coordinator`, which are here again for programs that embed the server.

mod disk;
mod redb;
#[cfg(test)]
mod tests;

pub use fedra_coordinator::storage::{
    Checkpoint, CheckpointFiles, Debit, Decision, Definition, MemoryStore, OperatorAction, Quality, Retention,
    RoundRecord, Store, StoreError,
};

pub use self::redb::{ModelCheck, RedbStore, Repair, TaskCheck, back_up};
