//! The writes of one task's leader: records with their files, in an order that a crash
//! cannot break.
//!
//! A checkpoint's files are durable before the transaction that names them, and are removed
//! after the one that says that they are not kept. What a crash leaves between the two is
//! removed when the next leader loads the task. The files of a leader that was replaced are
//! named by no record, and go in the same way.

use fedra_protocol::{Quality, TaskId};

use super::StoreError;
use super::blobs::{BlobError, BlobKey, CheckpointFiles, ControlFile};
use super::compose::Storage;
use super::gate::{Gate, GateRefusal};
use super::inspection::{CheckpointCheck, Found, Inspection};
use super::records::{Checkpoint, Debit, Decision, Definition, OperatorAction, RoundRecord};
use super::retention::Retention;
use super::tasks::{Epoch, Keeping, Term};

/// Leadership of a task: the right to write it, until another server takes it. A clone is
/// the same leader.
#[derive(Clone)]
pub struct Lease {
    storage: Storage,
    term: Term,
}

impl Lease {
    /// Takes the task from whichever server has led it. The task need not be there yet.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be written.
    pub fn take(storage: &Storage, task: &TaskId) -> Result<Self, StoreError> {
        Ok(Self { term: storage.tasks.lead(task)?, storage: storage.clone() })
    }

    /// The task.
    #[must_use]
    pub fn task(&self) -> &TaskId {
        &self.term.task
    }

    /// Number of this leader.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.term.epoch
    }

    /// The stores.
    #[must_use]
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Adds the task with its initial model. `record.round` is 0, and there is no state of
    /// the server optimizer.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it is there already or cannot be written.
    pub fn create(
        &self,
        definition: &Definition,
        record: &RoundRecord,
        files: &CheckpointFiles,
    ) -> Result<(), StoreError> {
        if let Some(last) = self.storage.tasks.records(self.task(), 1)?.pop() {
            return Err(self.out_of_order(record.round, last.round));
        }
        self.put(record, files)?;
        self.storage.tasks.create(&self.term, definition, record)
    }

    /// Checkpoint at which the task goes on, with at most `rounds` (at least 1) of its
    /// last records; `None` if the task is new. Every checkpoint that is kept is checked: a
    /// damaged one is set aside, with a warning, and is not kept any more.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it was made with another definition, or its newest
    /// checkpoint is damaged; then nothing was touched.
    pub fn load(
        &self,
        definition: &Definition,
        rounds: usize,
    ) -> Result<Option<Checkpoint>, StoreError> {
        let (task, tasks) = (self.task(), &self.storage.tasks);
        let Some(stored) = tasks.definition(task)? else { return Ok(None) };
        stored.must_be(definition, task)?;
        let history = tasks.records(task, rounds.max(1))?;
        let Some(last) = history.last() else {
            return Err(StoreError::Incomplete { task: task.clone(), lacks: "any round" });
        };
        if history.windows(2).any(|pair| pair[1].round != pair[0].round + 1) {
            let lacks = "one of its last rounds";
            return Err(StoreError::Incomplete { task: task.clone(), lacks });
        }
        let mut inspection = Inspection::of(&self.storage, task, last)?;
        if let Some(failure) = inspection.failure(task) {
            return Err(failure);
        }
        let files = inspection.files.take().expect("the newest checkpoint is intact");
        self.settle(inspection)?;
        Ok(Some(Checkpoint { history, files }))
    }

    /// Adds a completed round with its files, whose hashes the record has.
    ///
    /// # Errors
    ///
    /// [`StoreError`] as of [`TaskStore::append`](super::TaskStore::append), or if a file
    /// cannot be written.
    pub fn commit(&self, record: &RoundRecord, files: &CheckpointFiles) -> Result<(), StoreError> {
        self.append(record, files, None)
    }

    /// Makes the model of round `to` the newest again, and with it the optimizer's state
    /// after that round, as one more round, and notes the operator's decision with it. Control
    /// variates begin anew.
    /// Returns the new round's record and files.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if that checkpoint is not kept, is damaged, or cannot be
    /// written; then the store is as it was.
    pub fn roll_back(
        &self,
        to: u64,
        unix_seconds: u64,
    ) -> Result<(RoundRecord, CheckpointFiles), StoreError> {
        let (target, files) = self.storage.checkpoint(self.task(), to)?;
        let files = CheckpointFiles { control: None, ..files };
        let record = target.restored_as(self.storage.last_record(self.task())?.round + 1);
        let action = OperatorAction::RollBack { to, round: record.round };
        self.append(&record, &files, Some(&Decision { unix_seconds, action }))?;
        Ok((record, files))
    }

    /// Goes back from the newest model, which the gate has refused, to the last kept one, as
    /// [`roll_back`](Self::roll_back) does. The control variate stays the newest one, because
    /// the updates that it is made of were counted. If that was one too many in a row, the pause is
    /// noted with it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if another round has followed, the checkpoint is damaged, or the new one
    /// cannot be written; then the store is as it was.
    pub fn refuse(
        &self,
        gate: &Gate,
        refusal: GateRefusal,
        unix_seconds: u64,
    ) -> Result<(RoundRecord, CheckpointFiles), StoreError> {
        let records = self.kept_records()?;
        let before = records.iter().filter(|record| record.round < refusal.round);
        // The initial model is always kept.
        let to = gate.last_kept(before).map_or(0, |record| record.round);
        let (target, files) = self.storage.checkpoint(self.task(), to)?;
        let files = CheckpointFiles { control: self.newest_control()?, ..files };
        let restored = target.restored_as(refusal.round + 1);
        let control = files.control_record();
        let record = RoundRecord { refusal: Some(refusal), control, ..restored };
        let action = OperatorAction::PauseByGate { refused: refusal.round };
        let pause = gate.pauses(&refusal).then_some(Decision { unix_seconds, action });
        self.append(&record, &files, pause.as_ref())?;
        Ok((record, files))
    }

    /// Removes the checkpoints that need not be kept. The one that the gate would go back to,
    /// if there is a gate, stays.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be noted that they are gone. (A file that
    /// cannot be removed is only worth a warning.)
    pub fn prune(&self, keep: &Retention, gate: Option<&Gate>) -> Result<(), StoreError> {
        let task = self.task();
        let newest = self.storage.last_record(task)?.round;
        if keep.everything() {
            return Ok(());
        }
        let mut records = self.kept_records()?;
        let mut staying = keep.rounds(&records);
        // The newest has passed only if it is a roll-back.
        let passed = records.iter().filter(|of| of.round < newest || of.restored.is_some());
        let last_kept = gate.and_then(|gate| gate.last_kept(passed));
        staying.extend(last_kept.map(|record| record.round));
        records.retain(|record| !staying.contains(&record.round));
        if records.is_empty() {
            return Ok(());
        }
        let dropped = |record: &RoundRecord| (record.round, Keeping::Dropped);
        let notes: Vec<_> = records.iter().map(dropped).collect();
        self.storage.tasks.keep(&self.term, &notes)?;
        let files = |record: &RoundRecord| record.blobs().into_iter().chain(record.step_blob());
        self.remove(records.iter().flat_map(files));
        Ok(())
    }

    /// Makes files and records agree about all but the newest checkpoint: sets damaged files
    /// aside, and removes what a crash has left. Returns what was damaged.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be written.
    pub fn settle(&self, inspection: Inspection) -> Result<Vec<CheckpointCheck>, StoreError> {
        let task = self.task().clone();
        let Inspection { older, newest, orphans, unfinished, .. } = inspection;
        let (intact, damaged): (Vec<Found>, Vec<Found>) =
            older.into_iter().partition(|found| found.check.problem.is_none());
        let newest = Some(newest).filter(|newest| newest.check.problem.is_none());
        let adopted = intact.iter().chain(&newest).filter(|found| !found.is_noted);
        let notes: Vec<_> = adopted
            .map(|found| (found.check.round, Keeping::Kept))
            .chain(damaged.iter().map(|found| (found.check.round, Keeping::SetAside)))
            .collect();
        // Even if there is nothing to note: one that was replaced removes nothing.
        if !notes.is_empty() || !orphans.is_empty() || unfinished > 0 {
            self.storage.tasks.keep(&self.term, &notes)?;
        }
        for Found { check, damaged, .. } in &damaged {
            let (round, problem) = (check.round, check.problem.as_deref().unwrap_or_default());
            tracing::warn!(%task, round, problem, "a kept model is damaged; it is set aside");
            if let Some(key) = damaged {
                self.storage.blobs.set_aside(&task, key)?;
            }
        }
        self.remove(orphans);
        if unfinished > 0 {
            self.storage.blobs.remove_unfinished(&task)?;
        }
        Ok(damaged.into_iter().map(|found| found.check).collect())
    }

    /// Notes what a round's model is worth.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if there is no such round or it cannot be written.
    pub fn set_quality(&self, round: u64, quality: Quality) -> Result<(), StoreError> {
        self.storage.tasks.set_quality(&self.term, round, quality)
    }

    /// Adds an entry to the task's privacy ledger.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be written; then nothing may be released.
    pub fn debit(&self, debit: &Debit) -> Result<(), StoreError> {
        self.storage.tasks.debit(&self.term, debit)
    }

    /// Adds to what operators decided about the task. (A roll-back is noted by
    /// [`roll_back`](Self::roll_back).)
    ///
    /// # Errors
    ///
    /// [`StoreError`] if there is no such task or it cannot be written.
    pub fn decide(&self, decision: &Decision) -> Result<(), StoreError> {
        self.storage.tasks.decide(&self.term, decision)
    }

    /// The task's secret: see [`SecretStore::secret`](super::SecretStore::secret).
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be read or written.
    pub fn secret(&self, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        self.storage.secrets.secret(self.task(), fresh)
    }

    /// Records of the rounds whose checkpoint is kept, oldest first.
    fn kept_records(&self) -> Result<Vec<RoundRecord>, StoreError> {
        let task = self.task();
        let rounds = self.storage.checkpoints(task)?.into_iter();
        let records = rounds.map(|round| self.storage.tasks.record(task, round));
        Ok(records.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// The newest control variate, if there is one. They begin anew if it is damaged.
    fn newest_control(&self) -> Result<Option<ControlFile>, StoreError> {
        let last = self.storage.last_record(self.task())?;
        let Some((key, control)) = last.control_blob().zip(last.control) else { return Ok(None) };
        match self.storage.blobs.get(self.task(), &key) {
            Ok(file) => Ok(Some(ControlFile { since: control.since, file })),
            Err(BlobError::Store(error)) => Err(error),
            Err(BlobError::Damaged(problem)) => {
                let (task, round) = (self.task(), last.round);
                tracing::warn!(%task, round, problem, "control variates begin anew");
                Ok(None)
            }
        }
    }

    fn append(
        &self,
        record: &RoundRecord,
        files: &CheckpointFiles,
        decision: Option<&Decision>,
    ) -> Result<(), StoreError> {
        let last = self.storage.last_record(self.task())?.round;
        if record.round != last + 1 {
            return Err(self.out_of_order(record.round, last));
        }
        self.put(record, files)?;
        self.storage.tasks.append(&self.term, record, decision)
    }

    fn put(&self, record: &RoundRecord, files: &CheckpointFiles) -> Result<(), StoreError> {
        let step = record.step_blob().into_iter().zip(&files.step);
        let mut named = record.blobs().into_iter().zip(files.all()).chain(step);
        named.try_for_each(|(key, content)| self.storage.blobs.put(self.task(), &key, content))
    }

    /// Removes files that no record names any more.
    fn remove(&self, keys: impl IntoIterator<Item = BlobKey>) {
        for key in keys {
            if let Err(error) = self.storage.blobs.delete(self.task(), &key) {
                tracing::warn!(task = %self.task(), %key, %error, "cannot remove an old model");
            }
        }
    }

    fn out_of_order(&self, round: u64, last: u64) -> StoreError {
        StoreError::OutOfOrder { task: self.task().clone(), round, last }
    }
}
