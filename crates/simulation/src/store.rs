//! Stores of which any write may fail, or be the last before a crash.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fedra_protocol::TaskId;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::scenario::{Bug, Faults};
use fedra_coordinator::round::Standing;
use fedra_coordinator::storage::{Intercept, RoundRecord, Storage, StoreError, Term, Write};

/// Fate of a write.
enum Fate {
    Done,
    Fails,
    CrashBefore,
    CrashAfter,
}

/// A commit that was acknowledged and is not durable yet: a bug.
struct Pending {
    term: Term,
    record: RoundRecord,
}

struct State {
    rng: StdRng,
    faults: Faults,
    /// The process is dead until `take_crash` is called.
    crashed: bool,
    failed: bool,
    pending: Option<Pending>,
}

/// Durable stores, and the faults of the writes to them.
pub(crate) struct FaultyStore {
    durable: Storage,
    state: Mutex<State>,
    bug: Option<Bug>,
}

impl FaultyStore {
    pub(crate) fn new(seed: u64, faults: Faults, bug: Option<Bug>) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        let state = State { rng, faults, crashed: false, failed: false, pending: None };
        Self { durable: Storage::in_memory(), state: Mutex::new(state), bug }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stores as a server has them.
    pub(crate) fn faulty(self: &Arc<Self>) -> Storage {
        self.durable.clone().intercepted(Arc::<Self>::clone(self))
    }

    /// Content of the disk.
    pub(crate) fn durable(&self) -> &Storage {
        &self.durable
    }

    pub(crate) fn standing(&self, task: &TaskId) -> Standing {
        self.durable.tasks.standing(task).unwrap_or_default()
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
}

impl Intercept for FaultyStore {
    fn write(
        &self,
        write: &Write<'_>,
        run: &mut dyn FnMut() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let broken = || {
            let problem = "a simulated fault".to_owned();
            StoreError::Database { path: "simulated".into(), problem }
        };
        let pending = self.state().pending.take();
        if let Some(Pending { term, record }) = pending {
            self.durable.tasks.append(&term, &record, None)?;
        }
        let mut run = || match (self.bug, write) {
            (Some(Bug::EarlyAnnouncement), Write::Append(term, record, None)) => {
                let (term, record) = ((*term).clone(), (*record).clone());
                self.state().pending = Some(Pending { term, record });
                Ok(())
            }
            _ => run(),
        };
        match self.fate() {
            Fate::Done => run(),
            Fate::Fails | Fate::CrashBefore => Err(broken()),
            Fate::CrashAfter => run().and(Err(broken())),
        }
    }
}
