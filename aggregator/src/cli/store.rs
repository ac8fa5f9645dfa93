//! `fedra-aggregator store`: checks a store, copies it, and lets it go on after
//! damage. The command line only; the work is the library's.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use fedra_aggregator::config::{Config, Mistakes};
use fedra_aggregator::storage::{self, Repair, Storage, StoreError, TaskCheck, back_up};

use super::USAGE;

/// Subcommands of `store`.
#[derive(Subcommand)]
pub enum StoreCommand {
    /// Reads all of the store and reports; exits with 1 if anything is damaged.
    /// No server may be using it.
    Check(StorePath),
    /// Lets a task whose newest model is damaged go on from its newest intact
    /// one, by adding a roll-back, and removes damaged steps. No server may be using the store.
    Repair(StorePath),
    /// Copies the store as it is at this moment, also while a server uses it.
    Backup {
        #[command(flatten)]
        place: StorePath,
        /// The folder for the copy, which must be empty or not there.
        #[arg(long)]
        to: PathBuf,
    },
}

/// The store, by the server's config.
#[derive(Args)]
pub struct StorePath {
    /// The config file of the server.
    #[arg(long, env = "FEDRA_CONFIG_FILE", default_value = "fedra.toml")]
    config: PathBuf,
}

/// Reason for the lack of a report.
#[derive(Debug, thiserror::Error)]
enum StoreCommandError {
    #[error("{0}")]
    Config(#[from] Mistakes),
    #[error("there is no store in {0}")]
    NoStore(PathBuf),
    #[error(
        "a server is using the store {0}; stop it first, or make a copy with \
         `fedra-aggregator store backup` and look at that"
    )]
    InUse(PathBuf),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl StoreCommand {
    /// Runs it and prints what there is to say.
    pub fn run(self) -> ExitCode {
        let report = match &self {
            Self::Check(place) => place.folder().and_then(|folder| check(&folder)),
            Self::Repair(place) => place.folder().and_then(|folder| repair(&folder)),
            Self::Backup { place, to } => place.folder().and_then(|folder| backup(&folder, to)),
        };
        match report {
            Ok(Report { text, is_intact }) => {
                print!("{text}");
                if is_intact { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            Err(StoreCommandError::Config(mistakes)) => {
                eprintln!("{mistakes}");
                ExitCode::from(USAGE)
            }
            Err(error) => {
                eprintln!("fedra-aggregator: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

impl StorePath {
    /// The store's folder, which is there.
    fn folder(&self) -> Result<PathBuf, StoreCommandError> {
        let folder = Config::load(&self.config)?.server.store;
        if folder.is_dir() { Ok(folder) } else { Err(StoreCommandError::NoStore(folder)) }
    }
}

/// The text to print, and the condition for the exit status.
struct Report {
    text: String,
    is_intact: bool,
}

fn open(folder: &Path) -> Result<Storage, StoreCommandError> {
    storage::open(folder).map_err(|error| match error {
        StoreError::InUse(folder) => StoreCommandError::InUse(folder),
        other => other.into(),
    })
}

fn check(folder: &Path) -> Result<Report, StoreCommandError> {
    let store = open(folder)?;
    let checks = storage::check(&store)?;
    let mut text = format!("store {}: the database is intact\n{}", folder.display(), list(&checks));
    let added: Vec<String> =
        store.tasks.added_tasks()?.into_iter().map(|(task, _)| task.to_string()).collect();
    if !added.is_empty() {
        text += &format!("added by operators: {}\n", added.join(", "));
    }
    Ok(Report { text, is_intact: checks.iter().all(TaskCheck::is_intact) })
}

fn repair(folder: &Path) -> Result<Report, StoreCommandError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let repairs = storage::repair(&open(folder)?, now)?;
    let is_lost = |repair: &Repair| matches!(repair, Repair::Lost(..) | Repair::LostFrozen(_));
    let is_intact = !repairs.iter().any(is_lost);
    if repairs.is_empty() {
        return Ok(Report { text: "nothing is damaged\n".to_owned(), is_intact });
    }
    let text = repairs.iter().map(|repair| format!("{repair}\n")).collect();
    Ok(Report { text, is_intact })
}

fn backup(folder: &Path, to: &Path) -> Result<Report, StoreCommandError> {
    let checks = back_up(folder, to)?;
    let text = format!("copied {} to {}\n{}", folder.display(), to.display(), list(&checks));
    Ok(Report { text, is_intact: checks.iter().all(TaskCheck::is_intact) })
}

fn list(checks: &[TaskCheck]) -> String {
    if checks.is_empty() {
        return "no tasks\n".to_owned();
    }
    checks.iter().map(|check| format!("{check}\n")).collect()
}
