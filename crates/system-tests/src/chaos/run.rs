//! One run: an aggregator and its clients until the last round is evaluated, and
//! what goes wrong meanwhile. Afterwards the aggregator is killed once more, and
//! what it still has is looked up.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use fedra_harness::aggregator::{self, Aggregator, Logging, Programs};
use fedra_harness::config::{Config, Server, Task};
use fedra_harness::table::{self, Table};
use fedra_harness::{process, project, status};
use fedra_http_api::{LedgerEntry, Round, address};
use sha2::{Digest, Sha256};

use super::book::Book;
use super::fleet::{Fleet, Swarm};
use super::plan::{Fault, Faults, Plan};
use crate::journal::{Event, Journal};

/// Interval at which the log is read and what is due is done.
const TICK: Duration = Duration::from_millis(10);
/// Interval at which the task is looked at from outside.
const LOOK: Duration = Duration::from_millis(200);
/// For the start and the last evaluation.
const SLACK: Duration = Duration::from_secs(180);

/// Setting of a run.
pub struct Setting {
    /// Names the folder of its files.
    pub name: &'static str,
    pub task: Task<'static>,
    pub rounds: u64,
    /// No attempt may take longer on average, or the run has failed.
    pub patience: Duration,
    pub swarm: Swarm,
    pub faults: Faults,
    pub seed: u64,
}

/// Result of a run.
pub struct Outcome {
    pub book: Book,
    /// Accuracy of the last round's model.
    pub accuracy: f64,
    /// Average duration of a round.
    pub pace: Duration,
    /// Rounds that were announced and are not there any more.
    pub lost: Vec<u64>,
    /// Updates that every sum of a private task must have.
    pub minimum_survivors: Option<u32>,
    /// The privacy ledger after the last start, if there is one.
    pub ledger: Vec<LedgerEntry>,
    pub clients_killed: u32,
    pub clients_frozen: u32,
}

/// Runs it, printing a row a round.
pub fn run(setting: &Setting) -> Result<Outcome> {
    let mut run = Run::start(setting)?;
    println!("\n{}", setting.name);
    println!("{}", table::HEADER);
    let patience = SLACK + setting.patience * setting.rounds as u32;
    let started = Instant::now();
    let accuracy = loop {
        process::pause(TICK)?;
        run.read_log()?;
        run.suffer()?;
        if let Some(accuracy) = run.look()? {
            break accuracy.context("the last round was not evaluated")?;
        }
        if started.elapsed() > patience {
            bail!("{} rounds took longer than {}", setting.rounds, status::duration(patience));
        }
    };
    run.finish(accuracy)
}

struct Run<'a> {
    setting: &'a Setting,
    folder: PathBuf,
    programs: Programs,
    port: u16,
    /// Lives of the aggregator so far.
    lives: u32,
    aggregator: Aggregator,
    journal: Journal,
    fleet: Fleet,
    book: Book,
    plan: Plan,
    schedule: Vec<(Instant, Fault)>,
    table: Table,
    looked: Instant,
}

impl<'a> Run<'a> {
    fn start(setting: &'a Setting) -> Result<Self> {
        let folder = project::target().join("chaos").join(setting.name);
        // Logs are written to the end of what is there.
        let _ = fs::remove_dir_all(&folder);
        let port = aggregator::lasting_port()?;
        let config = Config {
            port,
            store: &aggregator::store(&folder),
            page: None,
            mnist: &project::mnist(),
            server: Server::default(),
            keep_all_models: true,
            tasks: std::slice::from_ref(&setting.task),
        };
        aggregator::prepare(&folder, &config.text())?;
        let programs = Programs::set_aside(&folder, &["fedra-aggregator", "fedra-edge"])?;
        status::step("Starting the aggregator");
        let log = life_log(&folder, 1);
        let aggregator =
            Aggregator::start_with(&folder, port, &programs, &log, Logging::Everything)?;
        let swarm = &setting.swarm;
        status::step(&format!(
            "Starting {} native clients in {} processes",
            swarm.clients(),
            swarm.processes
        ));
        let fleet = Fleet::start(swarm.clone(), programs.clone(), aggregator.socket(), &folder)?;
        let plan = Plan::new(setting.seed, setting.rounds, swarm.processes, setting.faults);
        Ok(Self {
            setting,
            folder,
            programs,
            port,
            lives: 1,
            aggregator,
            journal: Journal::open(&log)?,
            fleet,
            book: Book::default(),
            plan,
            schedule: Vec::new(),
            table: Table::new(Some(setting.rounds)),
            looked: Instant::now(),
        })
    }

    /// Enters what the aggregator has written, and plans what goes wrong in the
    /// attempts that it has opened.
    fn read_log(&mut self) -> Result<()> {
        for entry in self.journal.read()? {
            if let Event::Opened { attempt, deadline } = entry.event {
                let ago = SystemTime::now().duration_since(entry.at).unwrap_or_default();
                let opened = Instant::now().checked_sub(ago).unwrap_or_else(Instant::now);
                let faults = self.plan.attempt(attempt.round, deadline);
                self.schedule.extend(faults.into_iter().map(|(after, f)| (opened + after, f)));
            }
            self.book.enter(entry);
        }
        Ok(())
    }

    /// Does what is due.
    fn suffer(&mut self) -> Result<()> {
        let now = Instant::now();
        let (mut due, later): (Vec<_>, Vec<_>) =
            self.schedule.drain(..).partition(|(at, _)| *at <= now);
        self.schedule = later;
        due.sort_by_key(|(at, _)| *at);
        for (_, fault) in due {
            match fault {
                Fault::KillServer => self.kill_server()?,
                fault => self.fleet.suffer(fault)?,
            }
        }
        Ok(())
    }

    /// Kills the aggregator and starts it again on its store.
    fn kill_server(&mut self) -> Result<()> {
        self.lives += 1;
        let log = life_log(&self.folder, self.lives);
        status::note(&format!("the aggregator is killed; life {} begins", self.lives));
        self.aggregator.kill();
        let died = SystemTime::now();
        // What it had still written.
        self.read_log()?;
        self.book.crashed(died);
        let Self { folder, port, programs, .. } = self;
        self.aggregator =
            Aggregator::start_with(folder, *port, programs, &log, Logging::Everything)?;
        self.journal = Journal::open(&log)?;
        Ok(())
    }

    /// Looks at the task from outside. Returns the last accuracy once the last
    /// round is evaluated.
    fn look(&mut self) -> Result<Option<Option<f64>>> {
        if self.looked.elapsed() < LOOK {
            return Ok(None);
        }
        self.looked = Instant::now();
        self.aggregator.expect_running()?;
        // Asked before the task is read: a client ends by itself after the last round.
        let ended = self.fleet.ended()?;
        let task = self.aggregator.task(self.setting.task.id)?;
        let model = &task.summary.model;
        if model.round > 0 {
            self.book.seen(model.round, &model.sha256);
        }
        for row in self.table.update(task.summary.state, &task.history) {
            println!("{row}");
        }
        if !self.table.all_trained() {
            self.fleet.expect_running(&ended)?;
        }
        Ok(self.table.finished())
    }

    /// The last crash, and what is there after it.
    fn finish(mut self, accuracy: f64) -> Result<Outcome> {
        self.read_log()?;
        // Promises are judged by the log: one without rounds would break none.
        let (rounds, untold) = (self.setting.rounds, self.book.untold(self.setting.rounds));
        if untold > 0 {
            bail!("the event log does not tell of {untold} of the {rounds} rounds");
        }
        let planned = |(_, fault): &(Instant, Fault)| *fault == Fault::KillServer;
        let outstanding = self.schedule.iter().filter(|p| planned(p)).count() as u32
            + self.plan.server_kills_left();
        for _ in 0..outstanding.max(1) {
            self.kill_server()?;
        }
        self.book.close(SystemTime::now());
        let id = self.setting.task.id;
        let task = self.aggregator.task(id)?;
        let kept = kept(&aggregator::store(&self.folder).join("models").join(id), &task.history)?;
        let lost = self.book.lost(|round| kept.get(&round).cloned().unwrap_or_default());
        let ledger = match task.summary.privacy {
            None => Vec::new(),
            Some(_) => self.ledger()?,
        };
        let (clients_killed, clients_frozen) = (self.fleet.killed, self.fleet.frozen);
        drop(self.fleet);
        self.aggregator.stop()?;
        Ok(Outcome {
            pace: pace(&task.history),
            book: self.book,
            accuracy,
            lost,
            minimum_survivors: task.summary.privacy.map(|privacy| privacy.minimum_survivors),
            ledger,
            clients_killed,
            clients_frozen,
        })
    }

    fn ledger(&self) -> Result<Vec<LedgerEntry>> {
        let path = address::ledger(self.setting.task.id);
        let text = self.aggregator.http().text(&path)?;
        text.lines()
            .map(|line| serde_json::from_str(line).context("an entry of the ledger is not JSON"))
            .collect()
    }
}

fn life_log(folder: &Path, life: u32) -> PathBuf {
    folder.join(format!("aggregator-{life}.log"))
}

/// The mean length of the rounds in a task's history, from the invitation to the
/// model.
fn pace(history: &[Round]) -> Duration {
    let seconds: f64 = history.iter().map(|round| round.seconds).sum();
    let mean = seconds / history.len().max(1) as f64;
    Duration::try_from_secs_f64(mean).unwrap_or_default()
}

/// The models in the store by round: those that the task's history knows, and
/// whose file has the hash in its name.
fn kept(folder: &Path, history: &[Round]) -> Result<BTreeMap<u64, BTreeSet<String>>> {
    let known: BTreeSet<u64> = history.iter().map(|round| round.round).collect();
    let mut kept = BTreeMap::<u64, BTreeSet<String>>::new();
    let entries = fs::read_dir(folder)
        .with_context(|| format!("cannot read the store's folder {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some((round, hash)) =
            name.strip_suffix(".safetensors").and_then(|name| name.split_once('-'))
        else {
            continue;
        };
        let file = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if let Ok(round) = round.parse()
            && known.contains(&round)
            && hex::encode(Sha256::digest(&file)) == hash
        {
            kept.entry(round).or_default().insert(hash.to_owned());
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use fedra_http_api::Metrics;

    use super::*;

    fn completed(round: u64, seconds: f64) -> Round {
        let metrics = Metrics::default();
        Round {
            round,
            metrics,
            by_clients: None,
            reports: 3,
            seconds,
            bytes_up: 0,
            bytes_down: 0,
            refused: false,
        }
    }

    #[test]
    fn the_pace_is_the_mean_of_the_rounds() {
        let history = [completed(1, 1.0), completed(2, 2.0)];
        assert_eq!(pace(&history), Duration::from_millis(1500));
        assert_eq!(pace(&[]), Duration::ZERO);
    }

    #[test]
    fn a_model_is_kept_if_history_knows_its_round_and_its_file_is_whole() {
        let folder = std::env::temp_dir().join(format!("xtask-kept-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let hash = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
        let file = |round: u64, hash: &str, bytes: &[u8]| {
            fs::write(folder.join(format!("{round}-{hash}.safetensors")), bytes).unwrap();
        };
        file(1, &hash(b"one"), b"one");
        file(2, &hash(b"two"), b"tw");
        file(3, &hash(b"three"), b"three");
        fs::write(folder.join("4.new"), b"half").unwrap();
        let history = [completed(1, 1.0), completed(2, 1.0)];
        let kept = kept(&folder, &history).unwrap();
        let expected = BTreeMap::from([(1, BTreeSet::from([hash(b"one")]))]);
        assert_eq!(kept, expected);
        fs::remove_dir_all(folder).unwrap();
    }
}
