//! `cargo xtask hostile`: hostile clients do their worst, one kind of attack after
//! the other, while a few honest clients train. Does the aggregator's memory stay
//! under its bound, and do rounds go on?
//!
//! Aggregator, attackers and honest clients are processes of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use fedra_harness::aggregator::{self, Aggregator, Logging, Programs};
use fedra_harness::config::{Config, Round, Server, Task, Training};
use fedra_harness::process::Service;
use fedra_harness::{npm, process, project, status};

use crate::journal::Journal;
use crate::resources;

const TASK: &str = "hostile";
/// Honest clients.
const HONEST: u32 = 10;
const EXAMPLES: u32 = 300;
/// Most connections that the aggregator takes.
const CONNECTIONS: u32 = 2_000;
/// Files that a process opens beside its connections.
const OTHER_FILES: u64 = 300;
const SAMPLING: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(60);

/// An attack and its size: connections at a time, new ones a second.
struct Attack {
    /// Name of the attack in `fedra-load`.
    kind: &'static str,
    connections: u32,
    rate: u32,
}

/// Enough of each to fill all places, where it is about filling them.
const ATTACKS: [Attack; 7] = [
    Attack { kind: "slow-head", connections: 1_500, rate: 1_000 },
    Attack { kind: "slow-frame", connections: 1_500, rate: 1_000 },
    Attack { kind: "silent", connections: 4_000, rate: 2_000 },
    Attack { kind: "endless", connections: 1_000, rate: 500 },
    Attack { kind: "oversize", connections: 100, rate: 200 },
    Attack { kind: "deaf", connections: 200, rate: 200 },
    Attack { kind: "garbage", connections: 1_000, rate: 1_000 },
];

#[derive(Args)]
pub struct Options {
    /// Duration of each attack.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(5..=3600))]
    seconds: u64,
    /// Most that the aggregator's memory may grow by, in MiB: 64 for updates in
    /// flight, and 64 KiB for each of 2,000 connections, with some air.
    #[arg(long, default_value_t = 256)]
    most_memory: u64,
    /// Only these attacks.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

pub fn run(options: &Options) -> Result<()> {
    let wanted = |attack: &&Attack| {
        options.only.is_empty() || options.only.iter().any(|kind| kind == attack.kind)
    };
    let attacks: Vec<_> = ATTACKS.iter().filter(wanted).collect();
    if attacks.is_empty() {
        let kinds: Vec<_> = ATTACKS.iter().map(|attack| attack.kind).collect();
        bail!("there is no such attack: choose from {}", kinds.join(", "));
    }
    let most = ATTACKS.iter().map(|attack| attack.connections).max().unwrap_or(0);
    resources::allow_open_files(u64::from(most + CONNECTIONS) + OTHER_FILES)?;
    npm::packages(&project::web())?;
    status::step("Building the aggregator and the native edge client");
    process::run(&mut project::build_programs())?;

    let mut siege = Siege::start()?;
    siege.wait_for_rounds(2)?;
    let before = resources::median_memory(siege.aggregator.id(), SAMPLING)?;
    println!("\n{:<12}{:>12}{:>10}  attackers", "attack", "MiB more", "rounds");
    let mut outcomes = Vec::new();
    for attack in attacks {
        let outcome = siege.withstand(attack, Duration::from_secs(options.seconds))?;
        println!("{}", outcome.row(attack.kind, before));
        outcomes.push(outcome);
    }
    siege.stop()?;

    let most_memory = options.most_memory << 20;
    let worst = outcomes.iter().map(|outcome| outcome.growth(before)).max().unwrap_or(0);
    let fewest = outcomes.iter().map(|outcome| outcome.rounds).min().unwrap_or(0);
    println!(
        "hostile: memory grew by {:.1} MiB of {} allowed, at least {fewest} rounds completed \
         during each attack",
        mib(worst),
        options.most_memory
    );
    if worst > most_memory {
        bail!("the aggregator's memory is not bounded");
    }
    if fewest == 0 {
        bail!("an attack has kept honest clients from their round");
    }
    Ok(())
}

/// The aggregator and its honest clients.
struct Siege {
    folder: PathBuf,
    programs: Programs,
    port: u16,
    aggregator: Aggregator,
    honest: Service,
}

/// Effects of an attack.
struct Outcome {
    /// The most memory that was seen.
    memory: u64,
    rounds: u64,
    /// The attackers' report on their connections.
    attackers: String,
}

impl Siege {
    fn start() -> Result<Self> {
        let folder = project::target().join("hostile");
        let port = aggregator::lasting_port()?;
        let config = Config {
            port,
            store: &aggregator::store(&folder),
            page: None,
            mnist: &project::mnist(),
            server: Server {
                max_connections: Some(CONNECTIONS),
                upload_budget: Some("64MiB"),
                handshake_timeout: Some("3s"),
                idle_timeout: Some("6s"),
                ..Server::default()
            },
            keep_all_models: false,
            tasks: &[task()],
        };
        aggregator::prepare(&folder, &config.text())?;
        let names = ["fedra-aggregator", "fedra-edge", "fedra-load"];
        let programs = Programs::set_aside(&folder, &names)?;
        status::step("Starting the aggregator");
        let log = folder.join("aggregator.log");
        let aggregator = Aggregator::start_with(&folder, port, &programs, &log, Logging::Events)?;
        status::step(&format!("Starting {HONEST} honest clients"));
        let mut edge = aggregator.native_clients(TASK, HONEST);
        edge.args(["--examples", &EXAMPLES.to_string()]);
        let honest = Service::start("the honest clients", &mut edge, &folder.join("honest.log"))?;
        Ok(Self { folder, programs, port, aggregator, honest })
    }

    /// Rounds completed so far, as a line of Prometheus tells or HTTP does; an error
    /// if no answer comes, for example because attackers have all places.
    fn rounds(&mut self) -> Result<u64> {
        Ok(self.aggregator.task(TASK)?.summary.round)
    }

    fn wait_for_rounds(&mut self, rounds: u64) -> Result<()> {
        let started = Instant::now();
        while self.rounds().unwrap_or(0) < rounds {
            self.expect_running()?;
            if started.elapsed() > PATIENCE {
                bail!("no {rounds} rounds within {}", status::duration(PATIENCE));
            }
            process::pause(TICK)?;
        }
        Ok(())
    }

    fn expect_running(&mut self) -> Result<()> {
        self.aggregator.expect_running()?;
        self.honest.expect_running()
    }

    fn withstand(&mut self, attack: &Attack, time: Duration) -> Result<Outcome> {
        let first = self.rounds()?;
        let log = self.folder.join(format!("{}.log", attack.kind));
        let mut command = self.programs.command("fedra-load");
        command
            .args(["attack", attack.kind, "--port", &self.port.to_string(), "--task", TASK])
            .args(["--connections", &attack.connections.to_string()])
            .args(["--rate", &attack.rate.to_string()])
            .args(["--seconds", &time.as_secs().to_string()]);
        let mut attackers = Service::start("the attackers", &mut command, &log)?;
        let mut memory = 0;
        while !attackers.has_ended()? {
            self.expect_running()?;
            memory = memory.max(resources::anonymous_memory(self.aggregator.id())?);
            process::pause(TICK)?;
        }
        // Rounds that ended after the attack do not count.
        let rounds = self.log_rounds()?.saturating_sub(first);
        // The next attack begins with a server that takes connections again.
        let started = Instant::now();
        while self.rounds().is_err() {
            self.expect_running()?;
            if started.elapsed() > PATIENCE {
                bail!("the aggregator takes no connections after the attack {}", attack.kind);
            }
            process::pause(TICK)?;
        }
        Ok(Outcome { memory, rounds, attackers: last_line(&log)? })
    }

    /// Completed rounds by the event log: over HTTP there may be no place.
    fn log_rounds(&self) -> Result<u64> {
        Journal::completed_rounds(&self.folder.join("aggregator.log"))
    }

    fn stop(self) -> Result<()> {
        drop(self.honest);
        self.aggregator.stop()
    }
}

impl Outcome {
    fn growth(&self, before: u64) -> u64 {
        self.memory.saturating_sub(before)
    }

    fn row(&self, kind: &str, before: u64) -> String {
        let Self { rounds, attackers, .. } = self;
        format!("{kind:<12}{:>12.1}{rounds:>10}  {attackers}", mib(self.growth(before)))
    }
}

fn task() -> Task<'static> {
    Task {
        id: TASK,
        title: "Hostile",
        model: "softmax-regression",
        rounds: None,
        server_learning_rate: 1.0,
        training: Training { epochs: 1, batch_size: 10, learning_rate: 0.1 },
        round: Round {
            // Attackers that check in are invited like any client, and report
            // nothing: each round waits for them until its deadline.
            cohort_size: 1_100,
            minimum_cohort: HONEST,
            minimum_reports: HONEST / 2,
            selection_window: "500ms",
            deadline: "5s",
        },
        privacy: None,
    }
}

fn last_line(log: &Path) -> Result<String> {
    let text = fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    Ok(text.lines().next_back().unwrap_or_default().to_owned())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
