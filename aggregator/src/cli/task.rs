//! `fedra-aggregator task`: shows and changes the tasks of a running server.

use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use clap::Subcommand;
use fedra_protocol::{Sha256Hash, TaskId};
use serde::Deserialize;
use serde_json::json;

use super::Failure;
use super::client::{Export, ServerOptions, parse};
use super::status::{self, HealthLine, Status};
use super::table::{bytes, number, table};

/// Completed rounds that `show` prints.
const ROUNDS: usize = 10;
/// Decisions that `show` prints.
const DECISIONS: usize = 10;

/// Subcommands of `task`.
#[derive(Subcommand)]
pub enum TaskCommand {
    /// Adds a task. It is there after a restart too.
    Create {
        /// TOML file with one [[task]] section, as in the server's config.
        file: PathBuf,
    },
    /// Lists the tasks.
    List,
    /// Shows one task: where it stands, its last rounds, what was decided.
    Show {
        /// The task.
        id: TaskId,
    },
    /// Lets the round under way complete, and begins no other.
    Pause {
        /// The task.
        id: TaskId,
    },
    /// Goes on with a paused task.
    Resume {
        /// The task.
        id: TaskId,
    },
    /// Ends a task for good. The round under way is abandoned.
    Stop {
        /// The task.
        id: TaskId,
        /// Does not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Makes the model of an earlier round the newest again, as one more round.
    Rollback {
        /// The task.
        id: TaskId,
        /// The earlier round; `show` lists those that are kept.
        #[arg(long, value_name = "ROUND")]
        to: u64,
    },
    /// Writes a global model to a safetensors file.
    Export {
        /// The task.
        id: TaskId,
        /// The round of the model; without it, the newest.
        #[arg(long)]
        round: Option<u64>,
        /// The file, which must not be there yet.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

impl TaskCommand {
    /// Does it; returns what there is to print.
    pub fn run(self, server: &ServerOptions) -> Result<String, Failure> {
        match self {
            Self::Create { file } => create(server, &file),
            Self::List => list(server),
            Self::Show { id } => show(server, &id),
            Self::Pause { id } => operate(server, &id, "pause"),
            Self::Resume { id } => operate(server, &id, "resume"),
            Self::Stop { id, yes } => {
                if !yes {
                    confirm(&format!("Stop the task {id} for good?"))?;
                }
                operate(server, &id, "stop")
            }
            Self::Rollback { id, to } => roll_back(server, &id, to),
            Self::Export { id, round, out } => export(server, &id, round, &out),
        }
    }
}

#[derive(Deserialize)]
struct Created {
    id: String,
}

fn create(server: &ServerOptions, file: &Path) -> Result<String, Failure> {
    let toml = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let json = server.operator()?.post("/v1/admin/tasks", "application/toml", &toml)?;
    if server.json {
        return Ok(json + "\n");
    }
    let Created { id } = parse(&json)?;
    Ok(format!("the task {id} is created\n"))
}

fn list(server: &ServerOptions) -> Result<String, Failure> {
    let json = server.operator()?.get("/v1/admin/status")?;
    if server.json {
        let status: serde_json::Value = parse(&json)?;
        return Ok(format!("{}\n", status["tasks"]));
    }
    let status: Status = parse(&json)?;
    Ok(status::tasks(&status.tasks))
}

/// The fields of a task that `show` reads.
#[derive(Deserialize)]
struct Task {
    id: String,
    title: String,
    standing: String,
    health: HealthLine,
    round: u64,
    rounds_total: Option<u64>,
    model: Model,
    current: Current,
    history: Vec<Round>,
    rounds: Vec<Cohort>,
    checkpoints: Vec<u64>,
    decisions: Vec<Decision>,
    config: String,
}

#[derive(Deserialize)]
struct Model {
    sha256: String,
    bytes: u64,
    parameters: u64,
}

#[derive(Deserialize)]
struct Current {
    round: u64,
    attempt: u32,
    phase: String,
    clients: u64,
    cohort: u64,
    reported: u64,
    left: u64,
    deadline_seconds: Option<f64>,
}

#[derive(Deserialize)]
struct Round {
    round: u64,
    accuracy: Option<f64>,
    loss: Option<f64>,
}

#[derive(Deserialize)]
struct Cohort {
    round: u64,
    attempt: u32,
    cohort: u64,
    reports: u64,
    seconds: f64,
    restored: Option<u64>,
}

#[derive(Deserialize)]
struct Decision {
    unix_seconds: u64,
    action: String,
    to: Option<u64>,
    round: Option<u64>,
}

fn show(server: &ServerOptions, id: &TaskId) -> Result<String, Failure> {
    let json = server.operator()?.get(&format!("/v1/admin/tasks/{id}"))?;
    if server.json {
        return Ok(json + "\n");
    }
    Ok(describe(&parse(&json)?))
}

fn describe(task: &Task) -> String {
    let Task { id, title, standing, round, .. } = task;
    let of = task.rounds_total.map(|rounds| format!(" of {rounds}")).unwrap_or_default();
    let mut text = format!("{id}: {title}\n{standing}, {round}{of} rounds completed\n");
    let Current { phase, clients, cohort, reported, left, .. } = &task.current;
    text += &format!(
        "round {}.{}: {phase}, {clients} clients connected, {cohort} invited, {reported} \
         reported, {left} left",
        task.current.round, task.current.attempt
    );
    if let Some(seconds) = task.current.deadline_seconds {
        text += &format!("; at most {seconds:.0} s more");
    }
    text += &format!("\n{}", task.health.line());
    let Model { sha256, bytes: size, parameters } = &task.model;
    text += &format!("\nmodel {sha256}, {parameters} parameters, {}\n", bytes(*size));
    text += &format!("kept are the models of rounds {}\n", runs(&task.checkpoints));
    text += &format!("\n{}", task.config);
    if task.health.has_failures() {
        text += &format!("\n{}", task.health.failures());
    }
    if !task.rounds.is_empty() {
        text += &format!("\n{}", rounds(task));
    }
    if !task.decisions.is_empty() {
        text += &format!("\n{}", decisions(&task.decisions));
    }
    text
}

/// The last rounds, newest last.
fn rounds(task: &Task) -> String {
    let skip = task.rounds.len().saturating_sub(ROUNDS);
    let row = |cohort: &Cohort| {
        let quality = task.history.iter().find(|round| round.round == cohort.round);
        let note = cohort.restored.map(|round| format!("back to {round}")).unwrap_or_default();
        vec![
            format!("{}.{}", cohort.round, cohort.attempt),
            cohort.cohort.to_string(),
            cohort.reports.to_string(),
            format!("{:.1}", cohort.seconds),
            number(quality.and_then(|round| round.accuracy), 4),
            number(quality.and_then(|round| round.loss), 4),
            note,
        ]
    };
    let rows: Vec<_> = task.rounds[skip..].iter().map(row).collect();
    table(&["ROUND", "INVITED", "REPORTED", "SECONDS", "ACCURACY", "LOSS", ""], &rows)
}

/// The last decisions, newest last.
fn decisions(decisions: &[Decision]) -> String {
    let skip = decisions.len().saturating_sub(DECISIONS);
    let row = |decision: &Decision| {
        let at = UNIX_EPOCH + Duration::from_secs(decision.unix_seconds);
        let what = match (decision.to, decision.round) {
            (Some(to), Some(round)) => format!("{} to {to}, as {round}", decision.action),
            _ => decision.action.clone(),
        };
        vec![humantime::format_rfc3339_seconds(at).to_string(), what]
    };
    table(&["AT", "DECISION"], &decisions[skip..].iter().map(row).collect::<Vec<_>>())
}

/// `[1, 2, 3, 7]` is "1-3, 7".
fn runs(rounds: &[u64]) -> String {
    let runs = rounds.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [one] => one.to_string(),
        run => format!("{}-{}", run[0], run[run.len() - 1]),
    });
    runs.collect::<Vec<_>>().join(", ")
}

#[derive(Deserialize)]
struct Standing {
    standing: String,
}

fn operate(server: &ServerOptions, id: &TaskId, action: &str) -> Result<String, Failure> {
    let path = format!("/v1/admin/tasks/{id}/{action}");
    let json = server.operator()?.post(&path, "application/json", b"")?;
    if server.json {
        return Ok(json + "\n");
    }
    let Standing { standing } = parse(&json)?;
    Ok(format!("the task {id} is {standing}\n"))
}

#[derive(Deserialize)]
struct RolledBack {
    round: u64,
}

fn roll_back(server: &ServerOptions, id: &TaskId, to: u64) -> Result<String, Failure> {
    let path = format!("/v1/admin/tasks/{id}/rollback");
    let body = json!({ "round": to }).to_string();
    let json = server.operator()?.post(&path, "application/json", body.as_bytes())?;
    if server.json {
        return Ok(json + "\n");
    }
    let RolledBack { round } = parse(&json)?;
    Ok(format!("the task {id} goes on from the model of round {to}, now round {round}\n"))
}

fn export(
    server: &ServerOptions,
    id: &TaskId,
    round: Option<u64>,
    out: &Path,
) -> Result<String, Failure> {
    if out.exists() {
        let problem = format!("{} is there already; choose another --out", out.display());
        return Err(Failure::Usage(problem));
    }
    let query = round.map(|round| format!("?round={round}")).unwrap_or_default();
    let path = format!("/v1/admin/tasks/{id}/export{query}");
    let Export { bytes: file, sha256, round } = server.operator()?.export(&path)?;
    let received = Sha256Hash::of(&file).to_string();
    if received != sha256 {
        return Err(anyhow!("the model was damaged on its way; try again").into());
    }
    write_new(out, &file)?;
    if server.json {
        let json = json!({
            "round": round.parse::<u64>().ok(), "sha256": sha256, "bytes": file.len(),
        });
        return Ok(format!("{json}\n"));
    }
    let size = bytes(file.len() as u64);
    Ok(format!("{}: round {round} of {id}, {size}, SHA-256 {sha256}\n", out.display()))
}

/// Writes a file that is there whole or not at all.
fn write_new(out: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let name = out.file_name().context("--out needs the name of a file")?;
    let mut partial = name.to_owned();
    partial.push(".partial");
    let partial = out.with_file_name(partial);
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, out)
    };
    write().map_err(|error| {
        // What is left of it is of no use; that it may stay is no second error.
        let _ = fs::remove_file(&partial);
        anyhow!("cannot write {}: {error}", out.display())
    })
}

/// Asks at the terminal; fails without one.
fn confirm(question: &str) -> Result<(), Failure> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(Failure::Usage("this cannot be undone; add --yes to do it".to_owned()));
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    input.read_line(&mut answer).context("cannot read the answer")?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(anyhow!("nothing was done").into())
}
