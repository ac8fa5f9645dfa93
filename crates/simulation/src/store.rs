//! A disk on which any write may fail, or be the last before a crash.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fedra_protocol::{Sha256Hash, TaskId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::scenario::{Bug, Faults};
use fedra_coordinator::round::Standing;
use fedra_coordinator::storage::{
    Checkpoint, CheckpointFiles, Debit, Decision, Definition, MemoryStore, Quality, Retention, RoundRecord, Store,
    StoreError,
};

/// Fate of a write.
enum Fate {
    Done,
    Fails,
    CrashBefore,
    CrashAfter,
}

/// A commit that was acknowledged and is not durable yet: a bug.
struct Pending {
    task: TaskId,
    record: RoundRecord,
    files: CheckpointFiles,
}

struct State {
    rng: StdRng,
    faults: Faults,
    /// The process is dead until `take_crash` is called.
    crashed: bool,
    failed: bool,
    pending: Option<Pending>,
}

pub(crate) struct FaultyStore {
    durable: MemoryStore,
    state: Mutex<State>,
    bug: Option<Bug>,
}

impl FaultyStore {
    pub(crate) fn new(seed: u64, faults: Faults, bug: Option<Bug>) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        let state = State { rng, faults, crashed: false, failed: false, pending: None };
        Self { durable: MemoryStore::default(), state: Mutex::new(state), bug }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Content of the disk.
    pub(crate) fn durable(&self) -> &MemoryStore {
        &self.durable
    }

    pub(crate) fn standing(&self, task: &TaskId) -> Standing {
        self.durable.standing(task).unwrap_or_default()
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    pub(crate) fn is_crashed(&self) -> bool {
        self.state().crashed
    }

    /// True if a write has crashed the process since the last call.
    pub(crate) fn take_crash(&self) -> bool {
        std::mem::take(&mut self.state().crashed)
    }

    /// True if a write has failed since the last call.
    pub(crate) fn take_failure(&self) -> bool {
        std::mem::take(&mut self.state().failed)
    }

    /// The process is gone, and with it what was not durable.
    pub(crate) fn lose_what_is_pending(&self) {
        self.state().pending = None;
    }

    fn fate(&self) -> Fate {
        let mut state = self.state();
        if state.crashed {
            return Fate::CrashBefore;
        }
        let (crash, fail) = (state.faults.crash_at_write, state.faults.fail_write);
        let (crash, fail) = (state.rng.random_bool(crash), state.rng.random_bool(fail));
        if crash {
            state.crashed = true;
            return if state.rng.random_bool(0.5) { Fate::CrashBefore } else { Fate::CrashAfter };
        }
        state.failed |= fail;
        if fail { Fate::Fails } else { Fate::Done }
    }

    fn write<T>(
        &self,
        write: impl FnOnce(&MemoryStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let broken = || {
            let problem = "a simulated fault".to_owned();
            StoreError::Database { path: "simulated".into(), problem }
        };
        let pending = self.state().pending.take();
        if let Some(Pending { task, record, files }) = pending {
            self.durable.commit(&task, &record, &files)?;
        }
        match self.fate() {
            Fate::Done => write(&self.durable),
            Fate::Fails | Fate::CrashBefore => Err(broken()),
            Fate::CrashAfter => write(&self.durable).and(Err(broken())),
        }
    }
}

impl Store for FaultyStore {
    fn create(
        &self,
        task: &TaskId,
        definition: &Definition,
        record: &RoundRecord,
        model: &Bytes,
    ) -> Result<(), StoreError> {
        self.write(|store| store.create(task, definition, record, model))
    }

    fn load(
        &self,
        task: &TaskId,
        definition: &Definition,
        rounds: usize,
    ) -> Result<Option<Checkpoint>, StoreError> {
        self.durable.load(task, definition, rounds)
    }

    fn commit(
        &self,
        task: &TaskId,
        record: &RoundRecord,
        files: &CheckpointFiles,
    ) -> Result<(), StoreError> {
        if self.bug == Some(Bug::EarlyAnnouncement) {
            self.write(|_| Ok(()))?;
            let (task, record, files) = (task.clone(), record.clone(), files.clone());
            self.state().pending = Some(Pending { task, record, files });
            return Ok(());
        }
        self.write(|store| store.commit(task, record, files))
    }

    fn roll_back(
        &self,
        task: &TaskId,
        to: u64,
        unix_seconds: u64,
    ) -> Result<(RoundRecord, CheckpointFiles), StoreError> {
        self.write(|store| store.roll_back(task, to, unix_seconds))
    }

    fn set_quality(&self, task: &TaskId, round: u64, quality: Quality) -> Result<(), StoreError> {
        self.write(|store| store.set_quality(task, round, quality))
    }

    fn model(&self, task: &TaskId, sha256: &Sha256Hash) -> Result<Option<Bytes>, StoreError> {
        self.durable.model(task, sha256)
    }

    fn checkpoint(
        &self,
        task: &TaskId,
        round: u64,
    ) -> Result<(RoundRecord, CheckpointFiles), StoreError> {
        self.durable.checkpoint(task, round)
    }

    fn checkpoints(&self, task: &TaskId) -> Result<Vec<u64>, StoreError> {
        self.durable.checkpoints(task)
    }

    /// Nothing is pruned: the checks look at every model.
    fn prune(&self, _: &TaskId, _: &Retention) -> Result<(), StoreError> {
        if self.state().pending.is_some() {
            return Ok(());
        }
        self.write(|_| Ok(()))
    }

    fn debit(&self, task: &TaskId, debit: &Debit) -> Result<(), StoreError> {
        self.write(|store| store.debit(task, debit))
    }

    fn debits(&self, task: &TaskId) -> Result<Vec<Debit>, StoreError> {
        self.durable.debits(task)
    }

    fn secret(&self, task: &TaskId, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        self.write(|store| store.secret(task, fresh))
    }

    fn decide(&self, task: &TaskId, decision: &Decision) -> Result<(), StoreError> {
        self.write(|store| store.decide(task, decision))
    }

    fn decisions(&self, task: &TaskId) -> Result<Vec<Decision>, StoreError> {
        self.durable.decisions(task)
    }

    fn add_task(&self, task: &TaskId, toml: &str, unix_seconds: u64) -> Result<(), StoreError> {
        self.write(|store| store.add_task(task, toml, unix_seconds))
    }

    fn added_tasks(&self) -> Result<Vec<(TaskId, String)>, StoreError> {
        self.durable.added_tasks()
    }
}
