//! Stores whose writes can be looked at, refused or cut off, for tests and simulations.

use std::sync::Arc;

use bytes::Bytes;
use fedra_protocol::{Quality, TaskId};

use super::StoreError;
use super::blobs::{BlobError, BlobKey, BlobStore, Listing};
use super::compose::Storage;
use super::records::{Debit, Decision, Definition, RoundRecord};
use super::secrets::SecretStore;
use super::tasks::{Keeping, TaskStore, Term};

/// A write to one of the stores.
#[derive(Debug, Clone, Copy)]
pub enum Write<'a> {
    /// [`TaskStore::lead`].
    Lead(&'a TaskId),
    /// [`TaskStore::create`].
    Create(&'a Term),
    /// [`TaskStore::append`].
    Append(&'a Term, &'a RoundRecord, Option<&'a Decision>),
    /// [`TaskStore::keep`].
    Keep(&'a Term),
    /// [`TaskStore::set_quality`].
    SetQuality(&'a Term),
    /// [`TaskStore::debit`].
    Debit(&'a Term, &'a Debit),
    /// [`TaskStore::decide`].
    Decide(&'a Term, &'a Decision),
    /// [`TaskStore::add_task`].
    AddTask(&'a TaskId),
    /// [`BlobStore::put`].
    Put(&'a BlobKey),
    /// [`BlobStore::delete`], or another removal of files.
    Remove,
    /// [`SecretStore::secret`].
    Secret(&'a TaskId),
}

/// Decision about each write.
pub trait Intercept: Send + Sync + 'static {
    /// Runs the write with `run`, or does not, and returns what the caller is told.
    ///
    /// # Errors
    ///
    /// That of the write, or one that was made up.
    fn write(
        &self,
        write: &Write<'_>,
        run: &mut dyn FnMut() -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;
}

impl Storage {
    /// These stores, with every write decided about by `intercept`.
    #[must_use]
    pub fn intercepted(self, intercept: Arc<dyn Intercept>) -> Self {
        let intercepted = Arc::new(Intercepted { inner: self, intercept });
        Self {
            tasks: Arc::<Intercepted>::clone(&intercepted),
            blobs: Arc::<Intercepted>::clone(&intercepted),
            secrets: intercepted,
        }
    }
}

struct Intercepted {
    inner: Storage,
    intercept: Arc<dyn Intercept>,
}

impl Intercepted {
    fn write<T>(
        &self,
        write: &Write<'_>,
        run: impl Fn() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut value = None;
        let mut run = || {
            value = Some(run()?);
            Ok(())
        };
        self.intercept.write(write, &mut run)?;
        value.ok_or_else(|| StoreError::Database {
            path: "intercepted".into(),
            problem: "a write that has an answer was not run".to_owned(),
        })
    }

    /// A write without an answer, which need not be run to succeed.
    fn order(
        &self,
        write: &Write<'_>,
        run: impl Fn() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.intercept.write(write, &mut || run())
    }
}

impl TaskStore for Intercepted {
    fn lead(&self, task: &TaskId) -> Result<Term, StoreError> {
        self.write(&Write::Lead(task), || self.inner.tasks.lead(task))
    }

    fn create(
        &self,
        term: &Term,
        definition: &Definition,
        record: &RoundRecord,
    ) -> Result<(), StoreError> {
        self.order(&Write::Create(term), || self.inner.tasks.create(term, definition, record))
    }

    fn append(
        &self,
        term: &Term,
        record: &RoundRecord,
        decision: Option<&Decision>,
    ) -> Result<(), StoreError> {
        let write = Write::Append(term, record, decision);
        self.order(&write, || self.inner.tasks.append(term, record, decision))
    }

    fn keep(&self, term: &Term, notes: &[(u64, Keeping)]) -> Result<(), StoreError> {
        self.order(&Write::Keep(term), || self.inner.tasks.keep(term, notes))
    }

    fn set_quality(&self, term: &Term, round: u64, quality: Quality) -> Result<(), StoreError> {
        let write = Write::SetQuality(term);
        self.order(&write, || self.inner.tasks.set_quality(term, round, quality))
    }

    fn debit(&self, term: &Term, debit: &Debit) -> Result<(), StoreError> {
        self.order(&Write::Debit(term, debit), || self.inner.tasks.debit(term, debit))
    }

    fn decide(&self, term: &Term, decision: &Decision) -> Result<(), StoreError> {
        self.order(&Write::Decide(term, decision), || self.inner.tasks.decide(term, decision))
    }

    fn add_task(&self, task: &TaskId, toml: &str, unix_seconds: u64) -> Result<(), StoreError> {
        let write = Write::AddTask(task);
        self.order(&write, || self.inner.tasks.add_task(task, toml, unix_seconds))
    }

    fn tasks(&self) -> Result<Vec<TaskId>, StoreError> {
        self.inner.tasks.tasks()
    }

    fn added_tasks(&self) -> Result<Vec<(TaskId, String)>, StoreError> {
        self.inner.tasks.added_tasks()
    }

    fn definition(&self, task: &TaskId) -> Result<Option<Definition>, StoreError> {
        self.inner.tasks.definition(task)
    }

    fn records(&self, task: &TaskId, count: usize) -> Result<Vec<RoundRecord>, StoreError> {
        self.inner.tasks.records(task, count)
    }

    fn record(&self, task: &TaskId, round: u64) -> Result<Option<RoundRecord>, StoreError> {
        self.inner.tasks.record(task, round)
    }

    fn keeping(&self, task: &TaskId) -> Result<Vec<(u64, Keeping)>, StoreError> {
        self.inner.tasks.keeping(task)
    }

    fn debits(&self, task: &TaskId) -> Result<Vec<Debit>, StoreError> {
        self.inner.tasks.debits(task)
    }

    fn decisions(&self, task: &TaskId) -> Result<Vec<Decision>, StoreError> {
        self.inner.tasks.decisions(task)
    }
}

impl BlobStore for Intercepted {
    fn put(&self, task: &TaskId, key: &BlobKey, content: &Bytes) -> Result<(), StoreError> {
        self.order(&Write::Put(key), || self.inner.blobs.put(task, key, content))
    }

    fn get(&self, task: &TaskId, key: &BlobKey) -> Result<Bytes, BlobError> {
        self.inner.blobs.get(task, key)
    }

    fn delete(&self, task: &TaskId, key: &BlobKey) -> Result<(), StoreError> {
        self.order(&Write::Remove, || self.inner.blobs.delete(task, key))
    }

    fn set_aside(&self, task: &TaskId, key: &BlobKey) -> Result<(), StoreError> {
        self.order(&Write::Remove, || self.inner.blobs.set_aside(task, key))
    }

    fn list(&self, task: &TaskId) -> Result<Listing, StoreError> {
        self.inner.blobs.list(task)
    }

    fn remove_unfinished(&self, task: &TaskId) -> Result<(), StoreError> {
        self.order(&Write::Remove, || self.inner.blobs.remove_unfinished(task))
    }

    fn place(&self, task: &TaskId, key: &BlobKey) -> String {
        self.inner.blobs.place(task, key)
    }
}

impl SecretStore for Intercepted {
    fn secret(&self, task: &TaskId, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        self.write(&Write::Secret(task), || self.inner.secrets.secret(task, fresh))
    }
}
