//! Results of an experiment as files: a table of the rounds, a summary, and a page with
//! charts.

pub(crate) mod chart;
mod page;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fedra_coordinator::storage::{Storage, StoreError};
use fedra_protocol::{Headline, Sha256Hash, TaskId};
use serde::{Deserialize, Serialize};

use crate::world::Round;
use crate::{Experiment, Outcome, seconds};

/// File of the rounds.
pub const ROUNDS: &str = "rounds.csv";
/// File of the summary.
pub const RESULT: &str = "result.json";
/// Folder of the task's store, beside the files.
pub const STORE: &str = "store";
/// File of the page.
pub const PAGE: &str = "report.html";

/// Columns of [`ROUNDS`].
const COLUMNS: &str = "round,seconds,cohort,reports,weight,bytes_up,bytes_down,loss,metric,epsilon";

/// Failure to read or write results.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The folder has the results of something else.
    #[error(
        "{0} has the rounds of another experiment or another seed; choose another folder with \
         --out, or replace them with --overwrite"
    )]
    Other(String),
    /// The rounds of the folder are not in its store.
    #[error(
        "{} has rounds that the store does not have: they are of a run without --resume; begin \
         anew with --overwrite --resume, or choose another folder with --out",
        .0.display()
    )]
    NotStored(PathBuf),
    /// The folder has a store that the results would not belong to.
    #[error(
        "{} has the store of an earlier run; go on with it by resuming it, or choose another folder",
        .0.display()
    )]
    Stored(PathBuf),
    /// The folder has a store alone.
    #[error(
        "{} has a store without its rounds.csv, which says of which experiment it is; remove it, \
         or choose another folder",
        .0.display()
    )]
    NoTable(PathBuf),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A line is not that of a round.
    #[error("{path}, line {line}: this is not a round of an experiment")]
    Line {
        /// The file.
        path: String,
        /// Its line, from 1.
        line: usize,
    },
}

/// An experiment in short.
#[derive(Clone, Debug, Serialize)]
pub struct Header {
    /// The task's title.
    pub title: String,
    /// Hash of the experiment's file.
    pub file: String,
    /// The file itself.
    #[serde(skip)]
    pub text: String,
    /// Seed.
    pub seed: u64,
    /// Parameters of the model.
    pub parameters: usize,
    /// The metric that is shown first.
    pub metric: Headline,
    /// The value of it that ends the experiment.
    pub target: Option<f64>,
}

impl Header {
    /// The header of an experiment, whose file has this text.
    pub fn of(experiment: &Experiment, text: &str) -> Self {
        let settings = &experiment.task.settings;
        Self {
            title: settings.title.clone(),
            file: Sha256Hash::of(text.as_bytes()).to_string(),
            text: text.to_owned(),
            seed: experiment.simulation.seed,
            parameters: settings.model.parameters(),
            metric: settings.model.headline(),
            target: experiment.simulation.target,
        }
    }

    /// First line of [`ROUNDS`], which names the experiment.
    fn line(&self) -> String {
        format!("# {} seed {}", self.file, self.seed)
    }
}

/// Figures of a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its number.
    pub round: u64,
    /// Virtual time from the start to its model.
    pub seconds: f64,
    /// Clients that were invited.
    pub cohort: u32,
    /// Updates in its sum.
    pub reports: u32,
    /// Their weight.
    pub weight: u64,
    /// Bytes from clients since the round before.
    pub bytes_up: u64,
    /// Bytes to clients, models included.
    pub bytes_down: u64,
    /// Loss on held-out examples, if the model was evaluated.
    pub loss: Option<f64>,
    /// The metric that is shown first.
    pub metric: Option<f64>,
    /// Epsilon spent so far, under a privacy policy or with DP-SGD.
    pub epsilon: Option<f64>,
}

impl Row {
    /// Bytes up and down.
    pub fn bytes(&self) -> u64 {
        self.bytes_up + self.bytes_down
    }

    /// Figures of a round, `before` virtual seconds after the start.
    pub(crate) fn of(round: &Round, headline: Headline, before: f64) -> Self {
        let record = &round.record;
        Self {
            round: record.round,
            seconds: before + seconds(round.at),
            cohort: record.cohort,
            reports: record.reports,
            weight: record.weight,
            bytes_up: record.bytes_up,
            bytes_down: record.bytes_down,
            loss: round.quality.map(|quality| quality.loss),
            metric: round.quality.and_then(|quality| headline.of(&quality)),
            epsilon: round.epsilon,
        }
    }

    fn line(&self) -> String {
        let value = |of: Option<f64>| of.map_or_else(String::new, |of| of.to_string());
        let Self { round, seconds, cohort, reports, weight, bytes_up, bytes_down, .. } = self;
        let [loss, metric, epsilon] = [self.loss, self.metric, self.epsilon].map(value);
        format!(
            "{round},{seconds},{cohort},{reports},{weight},{bytes_up},{bytes_down},{loss},{metric},\
             {epsilon}"
        )
    }

    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(',').collect();
        let [round, seconds, cohort, reports, weight, up, down, loss, metric, epsilon] =
            <[&str; 10]>::try_from(fields).ok()?;
        let value = |of: &str| match of {
            "" => Some(None),
            of => of.parse().ok().map(Some),
        };
        Some(Self {
            round: round.parse().ok()?,
            seconds: seconds.parse().ok()?,
            cohort: cohort.parse().ok()?,
            reports: reports.parse().ok()?,
            weight: weight.parse().ok()?,
            bytes_up: up.parse().ok()?,
            bytes_down: down.parse().ok()?,
            loss: value(loss)?,
            metric: value(metric)?,
            epsilon: value(epsilon)?,
        })
    }
}

/// Rounds that an earlier run has written, of the same experiment.
///
/// # Errors
///
/// [`ReportError`] if the file is of another experiment, or is none.
pub fn earlier(path: &Path, header: &Header) -> Result<Vec<Row>, ReportError> {
    let name = path.display().to_string();
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|source| ReportError::File { path: name.clone(), source })?,
    };
    // A run that was killed may have left a part of its last line; the store has the round.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.lines();
    if lines.next() != Some(&header.line()) || lines.next() != Some(COLUMNS) {
        return Err(ReportError::Other(name));
    }
    let parse = |(index, line)| {
        Row::parse(line).ok_or_else(|| ReportError::Line { path: name.clone(), line: index + 3 })
    };
    lines.enumerate().map(parse).collect()
}

/// The rounds so far, and their file.
pub struct Rows {
    path: Option<PathBuf>,
    first_line: String,
    rows: Vec<Row>,
    headline: Headline,
    /// Virtual time of the rounds of earlier runs.
    before: f64,
}

impl Rows {
    /// The rounds of earlier runs, also in the file if there is to be one.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if it cannot be written.
    pub fn begin(
        path: Option<&Path>,
        header: &Header,
        earlier: Vec<Row>,
    ) -> Result<Self, ReportError> {
        let rows = Self {
            path: path.map(Path::to_owned),
            first_line: header.line(),
            before: 0.0,
            rows: earlier,
            headline: header.metric,
        };
        rows.store()?;
        Ok(rows)
    }

    /// Adds the rounds of the store that an earlier run has not written, because it was ended
    /// before it knew their quality. Their time is that of the clients alone.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the store cannot be read, the file not be written, or the file has
    /// rounds that the store has not.
    pub fn fill(&mut self, storage: &Storage, task: &TaskId) -> Result<(), ReportError> {
        let is_known = storage.tasks.tasks()?.contains(task);
        let record = |round| match is_known {
            true => storage.tasks.record(task, round),
            false => Ok(None),
        };
        if let Some(last) = self.rows.last()
            && record(last.round)?.is_none()
        {
            let path = self.path.as_deref().unwrap_or(Path::new(ROUNDS));
            return Err(ReportError::NotStored(path.to_owned()));
        }
        loop {
            let (before, last) = self.rows.last().map_or((0.0, 0), |row| (row.seconds, row.round));
            let Some(record) = record(last + 1)? else { break };
            self.rows.push(Row {
                round: record.round,
                seconds: before + record.seconds,
                cohort: record.cohort,
                reports: record.reports,
                weight: record.weight,
                bytes_up: record.bytes_up,
                bytes_down: record.bytes_down,
                loss: None,
                metric: None,
                epsilon: None,
            });
        }
        self.before = self.rows.last().map_or(0.0, |row| row.seconds);
        self.store()
    }

    /// Takes qualities from the store that came after their rounds were written, and leaves out
    /// rounds behind the one that reached the target.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the store cannot be read, or the file not be written.
    pub fn complete(
        &mut self,
        storage: &Storage,
        experiment: &Experiment,
    ) -> Result<(), ReportError> {
        let task = &experiment.task.settings.id;
        for row in self.rows.iter_mut().filter(|row| row.loss.is_none()) {
            if let Some(quality) = storage.tasks.record(task, row.round)?.and_then(|of| of.quality)
            {
                (row.loss, row.metric) = (Some(quality.loss), self.headline.of(&quality));
            }
        }
        let reached = |row: &Row| row.metric.is_some_and(|metric| experiment.is_target(metric));
        if let Some(last) = self.rows.iter().position(reached) {
            self.rows.truncate(last + 1);
        }
        self.store()
    }

    /// Writes the file anew.
    fn store(&self) -> Result<(), ReportError> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut text = format!("{}\n{COLUMNS}\n", self.first_line);
        self.rows.iter().for_each(|row| text += &format!("{}\n", row.line()));
        store(path, &text)
    }

    /// Adds a round, also to the file.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if it cannot be written.
    pub fn add(&mut self, round: &Round) -> Result<Row, ReportError> {
        let row = Row::of(round, self.headline, self.before);
        self.rows.push(row.clone());
        if let Some(path) = &self.path {
            let line = format!("{}\n", row.line());
            let file = File::options().append(true).open(path);
            file.and_then(|mut file| file.write_all(line.as_bytes()))
                .map_err(|source| ReportError::File { path: path.display().to_string(), source })?;
        }
        Ok(row)
    }

    /// The rounds, oldest first.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }
}

/// Summary of an experiment.
#[derive(Clone, Debug, Serialize)]
pub struct Summary<'a> {
    /// The experiment.
    #[serde(flatten)]
    pub header: &'a Header,
    /// Clients in all.
    pub clients: usize,
    /// Rounds that were made.
    pub rounds: u64,
    /// Hash of the last model.
    pub model: String,
    /// The metric of the last model that was evaluated.
    pub last: Option<f64>,
    /// The best of all rounds.
    pub best: Option<f64>,
    /// Round, megabytes and virtual seconds at which the target was reached.
    pub reached: Option<Reached>,
    /// Bytes from clients.
    pub bytes_up: u64,
    /// Bytes to clients.
    pub bytes_down: u64,
    /// Virtual seconds.
    pub seconds: f64,
    /// Seconds of this machine.
    pub wall_seconds: f64,
    /// Epsilon spent, under a privacy policy.
    pub epsilon: Option<f64>,
}

/// Point at which the target was reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reached {
    /// The round.
    pub round: u64,
    /// Bytes up and down until then.
    pub bytes: u64,
    /// Virtual time until then.
    pub seconds: f64,
}

/// Writes the summary and the page beside the table.
///
/// # Errors
///
/// [`ReportError`] if a file cannot be written.
pub fn write(
    folder: &Path,
    header: &Header,
    rows: &Rows,
    outcome: &Outcome,
    wall: Duration,
) -> Result<(), ReportError> {
    let rows = rows.rows();
    let metrics = || rows.iter().filter_map(|row| row.metric);
    let reached = rows.last().filter(|_| outcome.reached).map(|last| Reached {
        round: last.round,
        bytes: rows.iter().map(Row::bytes).sum(),
        seconds: last.seconds,
    });
    let summary = Summary {
        header,
        clients: outcome.clients,
        rounds: rows.last().map_or(0, |row| row.round),
        model: outcome.model.to_string(),
        last: metrics().next_back(),
        best: metrics()
            .reduce(|old, new| if header.metric.is_better(new, old) { new } else { old }),
        reached,
        bytes_up: rows.iter().map(|row| row.bytes_up).sum(),
        bytes_down: rows.iter().map(|row| row.bytes_down).sum(),
        seconds: rows.last().map_or(0.0, |row| row.seconds),
        wall_seconds: wall.as_secs_f64(),
        epsilon: rows.last().and_then(|row| row.epsilon),
    };
    let json = serde_json::to_string_pretty(&summary).unwrap_or_default();
    store(&folder.join(RESULT), &format!("{json}\n"))?;
    store(&folder.join(PAGE), &page::page(&summary, rows))
}

/// Writes a file in one step: a run that is killed leaves the one before or the new one.
fn store(path: &Path, text: &str) -> Result<(), ReportError> {
    let new = path.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .map_err(|source| ReportError::File { path: path.display().to_string(), source })
}

/// A metric with four decimals, and one that is small with four figures.
pub fn figure(value: f64) -> String {
    let zeros = match value.abs() {
        0.0 => 0.0,
        value => (-value.log10()).ceil() - 1.0,
    };
    format!("{value:.0$}", 4 + zeros.clamp(0.0, 12.0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_errors_have_figures_too() {
        for (value, expected) in [
            (0.9312, "0.9312"),
            (0.1, "0.1000"),
            (0.03125, "0.03125"),
            (0.000_123_46, "0.0001235"),
            (25.5, "25.5000"),
            (0.0, "0.0000"),
        ] {
            assert_eq!(figure(value), expected);
        }
    }
}
