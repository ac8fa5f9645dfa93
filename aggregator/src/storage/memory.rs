//! A store without durability, for tests and simulations.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fedra_protocol::{Sha256Hash, TaskId};

use super::{Checkpoint, Debit, Definition, Quality, RoundRecord, Store, StoreError};

struct Task {
    definition: Definition,
    rounds: Vec<(RoundRecord, Bytes)>,
    debits: Vec<Debit>,
    secret: Option<[u8; 32]>,
}

/// Keeps everything in memory, every model too.
#[derive(Default)]
pub struct MemoryStore {
    tasks: Mutex<BTreeMap<TaskId, Task>>,
}

impl MemoryStore {
    fn tasks(&self) -> MutexGuard<'_, BTreeMap<TaskId, Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn create(
        &self,
        task: &TaskId,
        definition: &Definition,
        record: &RoundRecord,
        model: &Bytes,
    ) -> Result<(), StoreError> {
        let mut tasks = self.tasks();
        if let Some(known) = tasks.get(task) {
            let (task, last) = (task.clone(), known.rounds.len() as u64 - 1);
            return Err(StoreError::OutOfOrder { task, round: record.round, last });
        }
        let rounds = vec![(record.clone(), model.clone())];
        let definition = definition.clone();
        let new = Task { definition, rounds, debits: Vec::new(), secret: None };
        tasks.insert(task.clone(), new);
        Ok(())
    }

    fn load(
        &self,
        task: &TaskId,
        definition: &Definition,
        rounds: usize,
    ) -> Result<Option<Checkpoint>, StoreError> {
        let tasks = self.tasks();
        let Some(known) = tasks.get(task) else { return Ok(None) };
        known.definition.must_be(definition, task)?;
        let first = known.rounds.len().saturating_sub(rounds.max(1));
        let history = known.rounds[first..].iter().map(|(record, _)| record.clone()).collect();
        let model = known.rounds.last().map(|(_, model)| model.clone());
        Ok(model.map(|model| Checkpoint { history, model }))
    }

    fn commit(&self, task: &TaskId, record: &RoundRecord, model: &Bytes) -> Result<(), StoreError> {
        let mut tasks = self.tasks();
        let known = tasks.get_mut(task).ok_or_else(|| StoreError::UnknownTask(task.clone()))?;
        let last = known.rounds.len() as u64 - 1;
        if record.round != last + 1 {
            let (task, round) = (task.clone(), record.round);
            return Err(StoreError::OutOfOrder { task, round, last });
        }
        known.rounds.push((record.clone(), model.clone()));
        Ok(())
    }

    fn set_quality(&self, task: &TaskId, round: u64, quality: Quality) -> Result<(), StoreError> {
        let mut tasks = self.tasks();
        let known = tasks.get_mut(task).ok_or_else(|| StoreError::UnknownTask(task.clone()))?;
        let last = known.rounds.len() as u64 - 1;
        let Some((record, _)) = known.rounds.get_mut(round as usize) else {
            return Err(StoreError::OutOfOrder { task: task.clone(), round, last });
        };
        record.quality = Some(quality);
        Ok(())
    }

    fn model(&self, task: &TaskId, sha256: &Sha256Hash) -> Result<Option<Bytes>, StoreError> {
        let tasks = self.tasks();
        let rounds = tasks.get(task).map(|known| known.rounds.as_slice()).unwrap_or_default();
        let found = rounds.iter().rev().find(|(record, _)| record.sha256 == *sha256);
        Ok(found.map(|(_, model)| model.clone()))
    }

    fn debit(&self, task: &TaskId, debit: &Debit) -> Result<(), StoreError> {
        let mut tasks = self.tasks();
        let known = tasks.get_mut(task).ok_or_else(|| StoreError::UnknownTask(task.clone()))?;
        known.debits.push(debit.clone());
        Ok(())
    }

    fn debits(&self, task: &TaskId) -> Result<Vec<Debit>, StoreError> {
        Ok(self.tasks().get(task).map(|known| known.debits.clone()).unwrap_or_default())
    }

    fn secret(&self, task: &TaskId, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        let mut tasks = self.tasks();
        let known = tasks.get_mut(task).ok_or_else(|| StoreError::UnknownTask(task.clone()))?;
        Ok(*known.secret.get_or_insert(fresh))
    }
}
