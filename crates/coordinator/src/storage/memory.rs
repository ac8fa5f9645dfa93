//! Stores without durability, for tests and simulations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fedra_protocol::{Quality, TaskId};

use super::StoreError;
use super::blobs::{BlobError, BlobKey, BlobStore, Listing};
use super::compose::Storage;
use super::records::{Debit, Decision, Definition, OperatorAction, RoundRecord};
use super::secrets::SecretStore;
use super::tasks::{Epoch, Keeping, TaskStore, Term};

impl Storage {
    /// New stores in memory. A clone is what a simulated server finds when it starts again.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            tasks: Arc::<MemoryTasks>::default(),
            blobs: Arc::<MemoryBlobs>::default(),
            secrets: Arc::<MemorySecrets>::default(),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Task {
    definition: Definition,
    records: Vec<RoundRecord>,
    keeping: BTreeMap<u64, Keeping>,
    debits: Vec<Debit>,
}

#[derive(Default)]
struct State {
    epochs: BTreeMap<TaskId, Epoch>,
    tasks: BTreeMap<TaskId, Task>,
    decisions: BTreeMap<TaskId, Vec<Decision>>,
    added: BTreeMap<TaskId, String>,
}

impl State {
    fn led_by(&mut self, term: &Term) -> Result<&mut Self, StoreError> {
        let leader = self.epochs.get(&term.task).copied().unwrap_or(Epoch(0));
        term.must_lead(leader)?;
        Ok(self)
    }

    fn task(&mut self, term: &Term) -> Result<&mut Task, StoreError> {
        let known = self.led_by(term)?.tasks.get_mut(&term.task);
        known.ok_or_else(|| StoreError::UnknownTask(term.task.clone()))
    }

    fn is_known(&self, task: &TaskId) -> bool {
        self.tasks.contains_key(task) || self.added.contains_key(task)
    }
}

impl Task {
    fn last(&self) -> u64 {
        self.records.len() as u64 - 1
    }

    fn record(&mut self, term: &Term, round: u64) -> Result<&mut RoundRecord, StoreError> {
        let last = self.last();
        let found = usize::try_from(round).ok().and_then(|round| self.records.get_mut(round));
        found.ok_or_else(|| StoreError::OutOfOrder { task: term.task.clone(), round, last })
    }
}

/// Records in memory.
#[derive(Default)]
pub struct MemoryTasks {
    state: Mutex<State>,
}

impl MemoryTasks {
    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// A part of a task; nothing if it is not there.
    fn of<T: Default>(&self, task: &TaskId, part: impl FnOnce(&Task) -> T) -> T {
        self.state().tasks.get(task).map(part).unwrap_or_default()
    }
}

impl TaskStore for MemoryTasks {
    fn lead(&self, task: &TaskId) -> Result<Term, StoreError> {
        let mut state = self.state();
        let epoch = state.epochs.entry(task.clone()).or_insert(Epoch(0));
        epoch.0 += 1;
        Ok(Term { task: task.clone(), epoch: *epoch })
    }

    fn create(
        &self,
        term: &Term,
        definition: &Definition,
        record: &RoundRecord,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        let tasks = &mut state.led_by(term)?.tasks;
        if let Some(known) = tasks.get(&term.task) {
            let (task, last) = (term.task.clone(), known.last());
            return Err(StoreError::OutOfOrder { task, round: record.round, last });
        }
        let new = Task {
            definition: definition.clone(),
            records: vec![record.clone()],
            keeping: BTreeMap::from([(record.round, Keeping::Kept)]),
            debits: Vec::new(),
        };
        tasks.insert(term.task.clone(), new);
        Ok(())
    }

    fn append(
        &self,
        term: &Term,
        record: &RoundRecord,
        decision: Option<&Decision>,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        let known = state.task(term)?;
        let last = known.last();
        if record.round != last + 1 {
            let (task, round) = (term.task.clone(), record.round);
            return Err(StoreError::OutOfOrder { task, round, last });
        }
        known.records.push(record.clone());
        known.keeping.insert(record.round, Keeping::Kept);
        let decisions = state.decisions.entry(term.task.clone()).or_default();
        decisions.extend(decision.cloned());
        Ok(())
    }

    fn keep(&self, term: &Term, notes: &[(u64, Keeping)]) -> Result<(), StoreError> {
        let mut state = self.state();
        let known = state.task(term)?;
        notes.iter().try_for_each(|(round, _)| known.record(term, *round).map(drop))?;
        known.keeping.extend(notes.iter().copied());
        known.keeping.retain(|_, keeping| *keeping != Keeping::Dropped);
        Ok(())
    }

    fn set_quality(&self, term: &Term, round: u64, quality: Quality) -> Result<(), StoreError> {
        self.state().task(term)?.record(term, round)?.quality = Some(quality);
        Ok(())
    }

    fn debit(&self, term: &Term, debit: &Debit) -> Result<(), StoreError> {
        self.state().task(term)?.debits.push(debit.clone());
        Ok(())
    }

    fn decide(&self, term: &Term, decision: &Decision) -> Result<(), StoreError> {
        let mut state = self.state();
        if !state.led_by(term)?.is_known(&term.task) {
            return Err(StoreError::UnknownTask(term.task.clone()));
        }
        state.decisions.entry(term.task.clone()).or_default().push(decision.clone());
        Ok(())
    }

    fn add_task(&self, task: &TaskId, toml: &str, unix_seconds: u64) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.is_known(task) {
            return Err(StoreError::TaskExists(task.clone()));
        }
        state.added.insert(task.clone(), toml.to_owned());
        let decision = Decision { unix_seconds, action: OperatorAction::Create };
        state.decisions.entry(task.clone()).or_default().push(decision);
        Ok(())
    }

    fn tasks(&self) -> Result<Vec<TaskId>, StoreError> {
        Ok(self.state().tasks.keys().cloned().collect())
    }

    fn added_tasks(&self) -> Result<Vec<(TaskId, String)>, StoreError> {
        let state = self.state();
        Ok(state.added.iter().map(|(task, toml)| (task.clone(), toml.clone())).collect())
    }

    fn definition(&self, task: &TaskId) -> Result<Option<Definition>, StoreError> {
        Ok(self.of(task, |known| Some(known.definition.clone())))
    }

    fn records(&self, task: &TaskId, count: usize) -> Result<Vec<RoundRecord>, StoreError> {
        Ok(self.of(task, |known| {
            let first = known.records.len().saturating_sub(count);
            known.records[first..].to_vec()
        }))
    }

    fn record(&self, task: &TaskId, round: u64) -> Result<Option<RoundRecord>, StoreError> {
        Ok(self.of(task, |known| known.records.get(usize::try_from(round).ok()?).cloned()))
    }

    fn keeping(&self, task: &TaskId) -> Result<Vec<(u64, Keeping)>, StoreError> {
        let pair = |(round, keeping): (&u64, &Keeping)| (*round, *keeping);
        Ok(self.of(task, |known| known.keeping.iter().map(pair).collect()))
    }

    fn debits(&self, task: &TaskId) -> Result<Vec<Debit>, StoreError> {
        Ok(self.of(task, |known| known.debits.clone()))
    }

    fn decisions(&self, task: &TaskId) -> Result<Vec<Decision>, StoreError> {
        Ok(self.state().decisions.get(task).cloned().unwrap_or_default())
    }
}

/// Files in memory.
#[derive(Default)]
pub struct MemoryBlobs {
    blobs: Mutex<BTreeMap<TaskId, BTreeMap<BlobKey, Bytes>>>,
}

impl BlobStore for MemoryBlobs {
    fn put(&self, task: &TaskId, key: &BlobKey, content: &Bytes) -> Result<(), StoreError> {
        let mut blobs = locked(&self.blobs);
        blobs.entry(task.clone()).or_default().insert(*key, content.clone());
        Ok(())
    }

    fn get(&self, task: &TaskId, key: &BlobKey) -> Result<Bytes, BlobError> {
        let place = || self.place(task, key);
        let content = locked(&self.blobs).get(task).and_then(|blobs| blobs.get(key)).cloned();
        let content = content.ok_or_else(|| BlobError::Damaged(format!("{} is gone", place())))?;
        let problem = |problem| BlobError::Damaged(format!("{}{problem}", place()));
        key.check(&content).map_err(problem)?;
        Ok(content)
    }

    fn delete(&self, task: &TaskId, key: &BlobKey) -> Result<(), StoreError> {
        if let Some(blobs) = locked(&self.blobs).get_mut(task) {
            blobs.remove(key);
        }
        Ok(())
    }

    /// Memory has no place for what is damaged.
    fn set_aside(&self, task: &TaskId, key: &BlobKey) -> Result<(), StoreError> {
        self.delete(task, key)
    }

    fn list(&self, task: &TaskId) -> Result<Listing, StoreError> {
        let blobs = locked(&self.blobs);
        let blobs = blobs.get(task).into_iter().flat_map(BTreeMap::keys).copied().collect();
        Ok(Listing { blobs, unfinished: 0 })
    }

    fn remove_unfinished(&self, _: &TaskId) -> Result<(), StoreError> {
        Ok(())
    }

    fn place(&self, task: &TaskId, key: &BlobKey) -> String {
        format!("{task}/{key} in memory")
    }
}

/// Secrets in memory.
#[derive(Default)]
pub struct MemorySecrets {
    secrets: Mutex<BTreeMap<TaskId, [u8; 32]>>,
}

impl SecretStore for MemorySecrets {
    fn secret(&self, task: &TaskId, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        Ok(*locked(&self.secrets).entry(task.clone()).or_insert(fresh))
    }
}
