//! Run of an experiment that keeps a table of its rounds, and what of it outlives the process.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fedra_coordinator::storage::{Storage, StoreError};

use crate::report::{self, Header, ReportError, Row, Rows};
use crate::{Experiment, ExperimentError, Outcome, RunError};

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
        if matches!(keep, Keep::Store(_)) && self.task.settings.population.is_some() {
            let problem = "the clients' control variates of the algorithm scaffold are in memory \
                           alone, and such an experiment cannot be taken up again: run it without \
                           resuming";
            return Err(RunError::from(ExperimentError::Range(problem.to_owned())).into());
        }
        let folder = match keep {
            Keep::Nothing => None,
            Keep::Results(folder) | Keep::Store(folder) => Some(folder),
        };
        if let Some(folder) = folder {
            fs::create_dir_all(folder)
                .map_err(|source| RecordError::Folder { path: folder.to_owned(), source })?;
        }
        let earlier = match keep {
            Keep::Results(folder) if folder.join(report::STORE).exists() => {
                return Err(ReportError::Stored(folder.to_owned()).into());
            }
            Keep::Nothing | Keep::Results(_) => Vec::new(),
            Keep::Store(folder) => earlier(folder, header)?,
        };
        let begun = Instant::now();
        let path = folder.map(|folder| folder.join(report::ROUNDS));
        // Before the store, which is of no use without the experiment's name.
        let mut rows = Rows::begin(path.as_deref(), header, earlier)?;
        let storage = match keep {
            Keep::Nothing | Keep::Results(_) => Storage::in_memory(),
            Keep::Store(folder) => {
                let storage = fedra_aggregator::storage::open(&folder.join(report::STORE))?;
                rows.fill(&storage, &self.task.settings.id)?;
                storage
            }
        };
        let mut written = Ok(());
        let outcome = self.run(&storage, |round| match rows.add(round) {
            Ok(row) => tell(&row),
            Err(error) => {
                written = Err(error);
                ControlFlow::Break(())
            }
        })?;
        written?;
        rows.complete(&storage, self)?;
        let wall = begun.elapsed();
        if let Some(folder) = folder {
            report::write(folder, header, &rows, &outcome, wall)?;
        }
        Ok(Recorded { outcome, rows, storage, wall })
    }
}

/// Rounds of the run that is to be resumed in this folder.
fn earlier(folder: &Path, header: &Header) -> Result<Vec<Row>, ReportError> {
    let rounds = folder.join(report::ROUNDS);
    let (has_rounds, has_store) = (rounds.exists(), folder.join(report::STORE).exists());
    if has_store && !has_rounds {
        return Err(ReportError::NoTable(folder.to_owned()));
    }
    let earlier = report::earlier(&rounds, header)?;
    match has_store || earlier.is_empty() {
        true => Ok(earlier),
        false => Err(ReportError::NotStored(rounds)),
    }
}
