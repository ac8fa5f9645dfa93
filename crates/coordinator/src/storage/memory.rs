//! A store without durability, for tests and simulations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fedra_protocol::{Sha256Hash, TaskId};

use super::{
    Checkpoint, CheckpointFiles, Debit, Decision, Definition, OperatorAction, Quality, Retention, RoundRecord,
    Store, StoreError,
};

struct Task {
    definition: Definition,
    /// Records, and the checkpoints that are kept.
    rounds: Vec<(RoundRecord, Option<CheckpointFiles>)>,
    debits: Vec<Debit>,
    secret: Option<[u8; 32]>,
}

impl Task {
    fn last(&self) -> u64 {
        self.rounds.len() as u64 - 1
    }

    fn kept(&self) -> impl DoubleEndedIterator<Item = (&RoundRecord, &CheckpointFiles)> {
        self.rounds.iter().filter_map(|(record, files)| Some((record, files.as_ref()?)))
    }
}

#[derive(Default)]
struct State {
    tasks: BTreeMap<TaskId, Task>,
    decisions: BTreeMap<TaskId, Vec<Decision>>,
    added: BTreeMap<TaskId, String>,
}

impl State {
    fn task(&self, task: &TaskId) -> Result<&Task, StoreError> {
        self.tasks.get(task).ok_or_else(|| StoreError::UnknownTask(task.clone()))
    }

    fn task_mut(&mut self, task: &TaskId) -> Result<&mut Task, StoreError> {
        self.tasks.get_mut(task).ok_or_else(|| StoreError::UnknownTask(task.clone()))
    }

    fn append(
        &mut self,
        task: &TaskId,
        record: &RoundRecord,
        files: &CheckpointFiles,
    ) -> Result<(), StoreError> {
        let known = self.task_mut(task)?;
        let last = known.last();
        if record.round != last + 1 {
            let (task, round) = (task.clone(), record.round);
            return Err(StoreError::OutOfOrder { task, round, last });
        }
        known.rounds.push((record.clone(), Some(files.clone())));
        Ok(())
    }

    fn checkpoint(
        &self,
        task: &TaskId,
        round: u64,
    ) -> Result<(RoundRecord, CheckpointFiles), StoreError> {
        let known = self.task(task)?;
        let found = known.kept().find(|(record, _)| record.round == round);
        found.map(|(record, files)| (record.clone(), files.clone())).ok_or_else(|| {
            let kept = known.kept().map(|(record, _)| record.round).collect();
            StoreError::NotKept { task: task.clone(), round, kept }
        })
    }
}

/// Keeps everything in memory. A clone is the same store: what one has, the
/// other has too, so that a simulated server can start again where it was.
#[derive(Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

impl MemoryStore {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        let tasks = &mut self.state().tasks;
        if let Some(known) = tasks.get(task) {
            let (task, last) = (task.clone(), known.last());
            return Err(StoreError::OutOfOrder { task, round: record.round, last });
        }
        let files = CheckpointFiles::without_state(model.clone());
        let rounds = vec![(record.clone(), Some(files))];
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
        let state = self.state();
        let Some(known) = state.tasks.get(task) else { return Ok(None) };
        known.definition.must_be(definition, task)?;
        let first = known.rounds.len().saturating_sub(rounds.max(1));
        let history = known.rounds[first..].iter().map(|(record, _)| record.clone()).collect();
        let (_, files) = state.checkpoint(task, known.last())?;
        Ok(Some(Checkpoint { history, files }))
    }

    fn commit(
        &self,
        task: &TaskId,
        record: &RoundRecord,
        files: &CheckpointFiles,
    ) -> Result<(), StoreError> {
        self.state().append(task, record, files)
    }

    fn roll_back(
        &self,
        task: &TaskId,
        to: u64,
        unix_seconds: u64,
    ) -> Result<(RoundRecord, CheckpointFiles), StoreError> {
        let mut state = self.state();
        let (target, files) = state.checkpoint(task, to)?;
        let record = target.restored_as(state.task(task)?.last() + 1);
        state.append(task, &record, &files)?;
        let action = OperatorAction::RollBack { to, round: record.round };
        let decisions = state.decisions.entry(task.clone()).or_default();
        decisions.push(Decision { unix_seconds, action });
        Ok((record, files))
    }

    fn set_quality(&self, task: &TaskId, round: u64, quality: Quality) -> Result<(), StoreError> {
        let mut state = self.state();
        let known = state.task_mut(task)?;
        let last = known.last();
        let Some((record, _)) = known.rounds.get_mut(round as usize) else {
            return Err(StoreError::OutOfOrder { task: task.clone(), round, last });
        };
        record.quality = Some(quality);
        Ok(())
    }

    fn model(&self, task: &TaskId, sha256: &Sha256Hash) -> Result<Option<Bytes>, StoreError> {
        let state = self.state();
        let Some(known) = state.tasks.get(task) else { return Ok(None) };
        let found = known.kept().rev().find(|(record, _)| record.sha256 == *sha256);
        Ok(found.map(|(_, files)| files.model.clone()))
    }

    fn checkpoint(
        &self,
        task: &TaskId,
        round: u64,
    ) -> Result<(RoundRecord, CheckpointFiles), StoreError> {
        self.state().checkpoint(task, round)
    }

    fn checkpoints(&self, task: &TaskId) -> Result<Vec<u64>, StoreError> {
        let state = self.state();
        let kept = state.tasks.get(task).into_iter().flat_map(Task::kept);
        Ok(kept.map(|(record, _)| record.round).collect())
    }

    fn prune(&self, task: &TaskId, keep: &Retention) -> Result<(), StoreError> {
        let mut state = self.state();
        let known = state.task_mut(task)?;
        let kept: Vec<RoundRecord> = known.kept().map(|(record, _)| record.clone()).collect();
        let staying = keep.rounds(&kept);
        for (record, files) in &mut known.rounds {
            files.take_if(|_| !staying.contains(&record.round));
        }
        Ok(())
    }

    fn debit(&self, task: &TaskId, debit: &Debit) -> Result<(), StoreError> {
        self.state().task_mut(task)?.debits.push(debit.clone());
        Ok(())
    }

    fn debits(&self, task: &TaskId) -> Result<Vec<Debit>, StoreError> {
        let state = self.state();
        Ok(state.tasks.get(task).map(|known| known.debits.clone()).unwrap_or_default())
    }

    fn secret(&self, task: &TaskId, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        Ok(*self.state().task_mut(task)?.secret.get_or_insert(fresh))
    }

    fn decide(&self, task: &TaskId, decision: &Decision) -> Result<(), StoreError> {
        let mut state = self.state();
        if !state.tasks.contains_key(task) && !state.added.contains_key(task) {
            return Err(StoreError::UnknownTask(task.clone()));
        }
        state.decisions.entry(task.clone()).or_default().push(decision.clone());
        Ok(())
    }

    fn decisions(&self, task: &TaskId) -> Result<Vec<Decision>, StoreError> {
        Ok(self.state().decisions.get(task).cloned().unwrap_or_default())
    }

    fn add_task(&self, task: &TaskId, toml: &str, unix_seconds: u64) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.tasks.contains_key(task) || state.added.contains_key(task) {
            return Err(StoreError::TaskExists(task.clone()));
        }
        state.added.insert(task.clone(), toml.to_owned());
        let decision = Decision { unix_seconds, action: OperatorAction::Create };
        state.decisions.entry(task.clone()).or_default().push(decision);
        Ok(())
    }

    fn added_tasks(&self) -> Result<Vec<(TaskId, String)>, StoreError> {
        let state = self.state();
        Ok(state.added.iter().map(|(task, toml)| (task.clone(), toml.clone())).collect())
    }
}
