//! Run of an experiment that keeps a table of its rounds, and what of it outlives the process.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fedra_coordinator::storage::{Storage, StoreError};

use crate::report::{self, Header, ReportError, Row, Rows};
use crate::{Experiment, Outcome, RunError};

/// Part of a run that is kept in a folder.
#[derive(Clone, Copy, Debug)]
pub enum Keep<'a> {
    /// Nothing.
    Nothing,
    /// The results, as files of the folder.
    Results(&'a Path),
    /// The results and the task's store, from which a run in the same folder goes on.
    Store(&'a Path),
}

/// A run that has ended.
pub struct Recorded {
    /// Its result.
    pub outcome: Outcome,
    /// The table of its rounds, after those of earlier runs.
    pub rows: Rows,
    /// The task's store.
    pub storage: Storage,
    /// Time that it took.
    pub wall: Duration,
}

/// Reason why a run has no results.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The experiment failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The folder cannot be made.
    #[error("cannot make the folder {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Results cannot be read or written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Experiment {
    /// Runs the experiment, writes what is to be kept, and tells the figures of each round.
    ///
    /// # Errors
    ///
    /// [`RecordError`].
    pub fn record(
        &self,
        header: &Header,
        keep: Keep<'_>,
        mut tell: impl FnMut(&Row) -> ControlFlow<()>,
    ) -> Result<Recorded, RecordError> {
        let folder = match keep {
            Keep::Nothing => None,
            Keep::Results(folder) | Keep::Store(folder) => Some(folder),
        };
        if let Some(folder) = folder {
            fs::create_dir_all(folder)
                .map_err(|source| RecordError::Folder { path: folder.to_owned(), source })?;
        }
        let (storage, earlier) = match keep {
            Keep::Nothing | Keep::Results(_) => (Storage::in_memory(), Vec::new()),
            Keep::Store(folder) => {
                let mut earlier = report::earlier(&folder.join(report::ROUNDS), header)?;
                let storage = fedra_aggregator::storage::open(&folder.join("store"))?;
                report::fill(&mut earlier, &storage, &self.task.settings.id)?;
                (storage, earlier)
            }
        };
        let begun = Instant::now();
        let path = folder.map(|folder| folder.join(report::ROUNDS));
        let mut rows = Rows::begin(path.as_deref(), header, earlier)?;
        let mut written = Ok(());
        let outcome = self.run(&storage, |round| match rows.add(round) {
            Ok(row) => tell(&row),
            Err(error) => {
                written = Err(error);
                ControlFlow::Break(())
            }
        })?;
        written?;
        let wall = begun.elapsed();
        if let Some(folder) = folder {
            report::write(folder, header, &rows, &outcome, wall)?;
        }
        Ok(Recorded { outcome, rows, storage, wall })
    }
}
