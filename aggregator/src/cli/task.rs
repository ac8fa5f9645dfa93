//! `fedra-aggregator task`: shows and changes the tasks of a running server.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use clap::Subcommand;
use fedra_http_api::{
    ClassMetrics, Classes, Created, Decision, GateRefusal, Headline, Model, ModelCard, ModelFormat,
    Operated, OperatedRound, OperatedTask, Quality, RollBack, RolledBack, ServerStatus, Task,
    TaskSummary, address,
};
use fedra_protocol::{Sha256Hash, TaskId};
use serde_json::json;

use super::Failure;
use super::client::{Export, ServerOptions, parse};
use super::status;
use super::table::{bytes, number, table};

/// Completed rounds that `show` asks for and prints.
const ROUNDS: usize = 10;
/// Classes that `show` prints.
const CLASSES: usize = 10;
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
    /// Writes a global model to a file.
    Export {
        /// The task.
        id: TaskId,
        /// The round of the model; without it, the newest.
        #[arg(long)]
        round: Option<u64>,
        /// The file's format: safetensors, onnx for other runtimes, or pytorch.
        #[arg(long, default_value = "safetensors")]
        format: ModelFormat,
        /// The file, which must not be there yet.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Prints what the newest model is, as Markdown. It needs no token.
    Card {
        /// The task.
        id: TaskId,
        /// Another model that the server remembers, by its SHA-256.
        #[arg(long, value_name = "SHA256")]
        model: Option<Sha256Hash>,
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
            Self::Export { id, round, format, out } => export(server, &id, round, format, &out),
            Self::Card { id, model } => card(server, &id, model),
        }
    }
}

fn create(server: &ServerOptions, file: &Path) -> Result<String, Failure> {
    let toml = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let json = server.operator()?.post(address::OPERATED_TASKS, "application/toml", &toml)?;
    if server.json {
        return Ok(json + "\n");
    }
    let Created { id } = parse(&json)?;
    Ok(format!("the task {id} is created\n"))
}

fn list(server: &ServerOptions) -> Result<String, Failure> {
    let status: ServerStatus = parse(&server.operator()?.get(address::STATUS)?)?;
    if server.json {
        let tasks = serde_json::to_string(&status.tasks).context("the tasks are no JSON")?;
        return Ok(tasks + "\n");
    }
    Ok(status::tasks(&status.tasks))
}

fn show(server: &ServerOptions, id: &TaskId) -> Result<String, Failure> {
    let task = address::operated_task(id.as_str());
    // A program gets all that there is.
    if server.json {
        return Ok(server.operator()?.get(&task)? + "\n");
    }
    let json = server.operator()?.get(&address::last_rounds(&task, ROUNDS))?;
    Ok(describe(&parse(&json)?))
}

fn describe(task: &OperatedTask) -> String {
    let summary = &task.summary.summary;
    let TaskSummary { id, title, state, round, phase, cohort, .. } = summary;
    let of = summary.rounds_total.map(|rounds| format!(" of {rounds}")).unwrap_or_default();
    let mut text = format!("{id}: {title}\n{}, {round}{of} rounds completed\n", state.name());
    text += &format!(
        "round {}.{}: {}, {} clients connected, {} invited, {} reported, {} left",
        summary.round_under_way,
        summary.attempt,
        phase.name(),
        summary.clients_connected,
        cohort.invited,
        cohort.reported,
        cohort.left,
    );
    if let Some(seconds) = summary.seconds_left {
        text += &format!("; at most {seconds:.0} s more");
    }
    text += &format!("\n{}", status::health(&summary.health));
    let Model { sha256, bytes: size, parameters, .. } = &summary.model;
    text += &format!("\nmodel {sha256}, {parameters} parameters, {}\n", bytes(*size));
    text += &format!("kept are the models of rounds {}\n", runs(&task.checkpoints));
    text += &format!("\n{}", task.config);
    if !summary.health.failures.is_empty() {
        text += &format!("\n{}", status::failures(&summary.health));
    }
    if let Some(refusal) = summary.gate.and_then(|gate| gate.last) {
        text += &format!("\n{}", refused(&refusal));
    }
    if let Some(latest) = &summary.latest {
        text += &format!("\n{}", quality("held-out examples", latest));
    }
    if let Some(latest) = &summary.latest_by_clients {
        text += &format!("\n{}", quality("examples held out by the clients", latest));
    }
    if let Some(classes) = &task.classes {
        text += &format!("\n{}", worst(classes));
    }
    if !task.history.is_empty() {
        text += &format!("\n{}", rounds(&task.history, summary.headline));
    }
    if !task.decisions.is_empty() {
        text += &format!("\n{}", decisions(&task.decisions));
    }
    text
}

/// The last refusal of the task's gate.
fn refused(refusal: &GateRefusal) -> String {
    let GateRefusal { round, loss, limit, in_a_row, to } = refusal;
    let loss = match (loss, limit) {
        (Some(loss), Some(limit)) => format!("held-out loss {loss:.4}, more than {limit:.4}"),
        _ => "no finite held-out loss".to_owned(),
    };
    let times = if *in_a_row == 1 { String::new() } else { format!(", {in_a_row} in a row") };
    format!("the gate refused the model of round {round} last: {loss}; back to round {to}{times}\n")
}

/// The metrics of the newest model that was evaluated on these examples.
fn quality(examples: &str, latest: &Quality) -> String {
    let named = latest.metrics.named().map(|(name, value)| format!("{name} {value:.4}"));
    let named: Vec<_> = named.collect();
    format!("{examples}, model of round {}: {}\n", latest.round, named.join(", "))
}

/// The classes of which the least is found, worst first.
fn worst(classes: &Classes) -> String {
    let mut occurring: Vec<_> =
        classes.metrics.iter().enumerate().filter(|(_, class)| class.examples > 0).collect();
    let recall = |class: &ClassMetrics| class.recall.unwrap_or(0.0);
    occurring.sort_by(|(_, a), (_, b)| recall(a).total_cmp(&recall(b)));
    let row = |(number, class): &(usize, &ClassMetrics)| {
        let taken_for = (0..).zip(&classes.confusion[*number]).filter(|(other, _)| other != number);
        let most = taken_for.max_by_key(|(other, count)| (**count, Reverse(*other)));
        let most = most.filter(|(_, count)| **count > 0);
        vec![
            number.to_string(),
            class.examples.to_string(),
            self::number(class.recall, 4),
            self::number(class.precision, 4),
            most.map_or_else(|| "-".to_owned(), |(other, count)| format!("{other} ({count})")),
        ]
    };
    let rows: Vec<_> = occurring.iter().take(CLASSES).map(row).collect();
    table(&["CLASS", "EXAMPLES", "RECALL", "PRECISION", "MOSTLY TAKEN FOR"], &rows)
}

/// The rounds, newest last.
fn rounds(rounds: &[OperatedRound], headline: Headline) -> String {
    let row = |OperatedRound { round, attempt, cohort, restored, .. }: &OperatedRound| {
        let metrics = round.by_clients.unwrap_or(round.metrics);
        let refused = round.refused.then(|| "refused by the gate".to_owned());
        let evaluated = round.by_clients.map(|_| "evaluated by the clients".to_owned());
        let note = restored.map(|round| format!("back to {round}")).or(refused).or(evaluated);
        vec![
            format!("{}.{attempt}", round.round),
            cohort.to_string(),
            round.reports.to_string(),
            format!("{:.1}", round.seconds),
            number(metrics.headline(headline), 4),
            number(metrics.loss, 4),
            note.unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = rounds.iter().map(row).collect();
    let title = headline.title().to_uppercase();
    table(&["ROUND", "INVITED", "REPORTED", "SECONDS", &title, "LOSS", ""], &rows)
}

/// The last decisions, newest last.
fn decisions(decisions: &[Decision]) -> String {
    let skip = decisions.len().saturating_sub(DECISIONS);
    let row = |decision: &Decision| {
        let at = UNIX_EPOCH + Duration::from_secs(decision.unix_seconds);
        let action = decision.action.name();
        let what = match (decision.to, decision.round) {
            (Some(to), Some(round)) => format!("{action} to {to}, as {round}"),
            _ => match decision.refused {
                Some(refused) => format!("{action} by the gate, which refused round {refused}"),
                None => action.to_owned(),
            },
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

fn operate(server: &ServerOptions, id: &TaskId, order: &str) -> Result<String, Failure> {
    let path = address::order(id.as_str(), order);
    let json = server.operator()?.post(&path, "application/json", b"")?;
    if server.json {
        return Ok(json + "\n");
    }
    let Operated { state } = parse(&json)?;
    Ok(format!("the task {id} is {}\n", state.name()))
}

fn roll_back(server: &ServerOptions, id: &TaskId, to: u64) -> Result<String, Failure> {
    let path = address::order(id.as_str(), "rollback");
    let body = serde_json::to_vec(&RollBack { round: to }).context("the order is no JSON")?;
    let json = server.operator()?.post(&path, "application/json", &body)?;
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
    format: ModelFormat,
    out: &Path,
) -> Result<String, Failure> {
    if out.exists() {
        let problem = format!("{} is there already; choose another --out", out.display());
        return Err(Failure::Usage(problem));
    }
    let path = address::export(id.as_str(), round, format);
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

fn card(server: &ServerOptions, id: &TaskId, model: Option<Sha256Hash>) -> Result<String, Failure> {
    let visitor = server.visitor()?;
    let sha256 = match model {
        Some(sha256) => sha256.to_string(),
        None => {
            let task = address::last_rounds(&address::task(id.as_str()), 0);
            parse::<Task>(&visitor.get(&task)?)?.summary.model.sha256
        }
    };
    let json = visitor.get(&address::card(&sha256))?;
    if server.json {
        return Ok(json + "\n");
    }
    let card: ModelCard = parse(&json)?;
    if card.task != id.as_str() {
        return Err(anyhow!("the model {sha256} is one of the task {}", card.task).into());
    }
    Ok(card.markdown())
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
