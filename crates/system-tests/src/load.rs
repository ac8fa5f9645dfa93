//! `cargo xtask load`: thousands of idle connections beside clients that train,
//! held for minutes. What does each take of the aggregator's memory, does one of
//! them break, do rounds go on?
//!
//! Aggregator, idle connections and clients are processes of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use fedra_harness::aggregator::{self, Aggregator, Logging, Programs};
use fedra_harness::config::{Config, Round, Server, Task, Training};
use fedra_harness::process::Service;
use fedra_harness::{npm, process, project, status};

use crate::resources;

const TASK: &str = "load";
const EXAMPLES: u32 = 300;
/// New connections a second.
const RATE: u32 = 400;
/// Files that a process opens beside its connections.
const OTHER_FILES: u64 = 300;
/// Time for which memory is looked at for one figure.
const SAMPLING: Duration = Duration::from_secs(6);
/// Between two progress lines.
const PROGRESS: Duration = Duration::from_secs(15);
/// Rounds before the first figure: what is made once is made by then.
const WARM_UP: u64 = 2;
/// For everything that should take seconds.
const PATIENCE: Duration = Duration::from_secs(120);
const TICK: Duration = Duration::from_millis(500);

#[derive(Args)]
pub struct Options {
    /// Connections that check in and are never selected.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    idle: u32,
    /// Native clients that train.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..=1000))]
    active: u32,
    /// Time for which all of them stay connected.
    #[arg(long, default_value_t = 5.0, value_parser = minutes)]
    minutes: f64,
    /// Talk TLS, with a certificate made for the occasion.
    #[arg(long)]
    tls: bool,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse().ok().filter(|minutes| (0.0..=1440.0).contains(minutes));
    minutes.ok_or_else(|| "must be minutes from 0 to 1440".to_owned())
}

pub fn run(options: &Options) -> Result<()> {
    resources::allow_open_files(u64::from(options.idle + 3 * options.active) + OTHER_FILES)?;
    npm::packages(&project::web())?;
    status::step("Building the aggregator and the native edge client");
    process::run(&mut project::build_programs())?;

    let mut bench = Bench::start(options)?;
    status::step(&format!("Starting {} native clients", options.active));
    let mut edge = bench.aggregator.native_clients(TASK, options.active);
    edge.args(["--examples", &EXAMPLES.to_string()]);
    let mut active =
        Service::start("the native clients", &mut edge, &bench.folder.join("clients.log"))?;
    bench.wait_for_rounds(WARM_UP, &mut active)?;
    let before = bench.memory()?;

    status::step(&format!("Opening {} idle connections", options.idle));
    bench.open_idle(options)?;
    bench.wait_for_idle(options.idle, &mut active)?;
    let connected = bench.memory()?;
    let rounds_before = bench.rounds()?;
    bench.hold(Duration::from_secs_f64(60.0 * options.minutes), &mut active)?;
    let held = bench.memory()?;
    let rounds = bench.rounds()? - rounds_before;
    let idle = bench.idle()?;
    // First the server: a round whose clients have gone would hold up its end.
    bench.stop()?;
    drop(active);

    let figures = Figures { before, connected, held, opened: options.idle };
    println!();
    for line in figures.lines() {
        println!("{line}");
    }
    println!(
        "load: connected {}, KiB per idle connection {:.2}, rounds completed {rounds}",
        idle.connected,
        figures.kib_per_connection()
    );
    if idle.connected != options.idle || idle.lost > 0 {
        bail!("{} of {} idle connections were lost", idle.lost, options.idle);
    }
    if rounds == 0 {
        bail!("no round was completed beside the idle connections");
    }
    Ok(())
}

/// The processes beside the active clients.
struct Bench {
    folder: PathBuf,
    programs: Programs,
    aggregator: Aggregator,
    /// The aggregator's own port.
    port: u16,
    certificate: Option<PathBuf>,
    /// Lets clients without TLS talk to an aggregator that speaks nothing else.
    bridge: Option<Service>,
    idle: Option<Service>,
}

impl Bench {
    fn start(options: &Options) -> Result<Self> {
        let folder = project::target().join(if options.tls { "load-tls" } else { "load" });
        let certificate = options.tls.then(|| folder.join("certificate.pem"));
        let key = folder.join("private-key.pem");
        let port = aggregator::lasting_port()?;
        let config = Config {
            port,
            store: &aggregator::store(&folder),
            page: None,
            mnist: &project::mnist(),
            server: Server {
                max_connections: Some(options.idle + 2 * options.active + 100),
                tls: certificate.as_deref().map(|certificate| (certificate, key.as_path())),
                ..Server::default()
            },
            keep_all_models: false,
            tasks: &[task(options.active)],
        };
        aggregator::prepare(&folder, &config.text())?;
        let names = ["fedra-aggregator", "fedra-edge", "fedra-load"];
        let programs = Programs::set_aside(&folder, &names)?;
        let mut bridge = None;
        let mut contact = port;
        if let Some(certificate) = &certificate {
            process::run(
                programs
                    .command("fedra-load")
                    .arg("certificate")
                    .arg("--certificate")
                    .arg(certificate)
                    .arg("--private-key")
                    .arg(&key),
            )?;
            contact = aggregator::lasting_port_above(port)?;
            let mut command = programs.command("fedra-load");
            command.args(["bridge", "--listen", &contact.to_string()]);
            command.args(["--port", &port.to_string(), "--trust"]).arg(certificate);
            bridge = Some(Service::start("the bridge", &mut command, &folder.join("bridge.log"))?);
        }
        status::step("Starting the aggregator");
        let log = folder.join("aggregator.log");
        let aggregator = Aggregator::start_with(&folder, contact, &programs, &log, Logging::Text)?;
        Ok(Self { folder, programs, aggregator, port, certificate, bridge, idle: None })
    }

    fn open_idle(&mut self, options: &Options) -> Result<()> {
        let mut command = self.programs.command("fedra-load");
        command.args(["idle", "--port", &self.port.to_string(), "--task", TASK]).args([
            "--connections",
            &options.idle.to_string(),
            "--rate",
            &RATE.to_string(),
        ]);
        if let Some(certificate) = &self.certificate {
            command.arg("--trust").arg(certificate);
        }
        let log = self.idle_log();
        self.idle = Some(Service::start("the idle connections", &mut command, &log)?);
        Ok(())
    }

    fn idle_log(&self) -> PathBuf {
        self.folder.join("idle.log")
    }

    /// State of the idle connections.
    fn idle(&self) -> Result<Idle> {
        Idle::read(&self.idle_log())
    }

    fn memory(&self) -> Result<u64> {
        resources::median_memory(self.aggregator.id(), SAMPLING)
    }

    /// Rounds completed so far.
    fn rounds(&mut self) -> Result<u64> {
        Ok(self.aggregator.task(TASK)?.summary.round)
    }

    fn wait_for_rounds(&mut self, rounds: u64, active: &mut Service) -> Result<()> {
        let started = Instant::now();
        while self.rounds()? < rounds {
            active.expect_running()?;
            if started.elapsed() > PATIENCE {
                bail!("no {rounds} rounds within {}", status::duration(PATIENCE));
            }
            process::pause(TICK)?;
        }
        Ok(())
    }

    fn wait_for_idle(&mut self, wanted: u32, active: &mut Service) -> Result<()> {
        let patience = PATIENCE + Duration::from_secs((4 * wanted / RATE).into());
        let mut progress = Progress::new();
        let started = Instant::now();
        loop {
            let idle = self.watch(active, &mut progress)?;
            if idle.connected == wanted {
                return Ok(());
            }
            if started.elapsed() > patience {
                bail!(
                    "{} of {wanted} connected within {}",
                    idle.connected,
                    status::duration(patience)
                );
            }
            process::pause(TICK)?;
        }
    }

    fn hold(&mut self, time: Duration, active: &mut Service) -> Result<()> {
        status::step(&format!("Holding all of them for {}", status::duration(time)));
        let mut progress = Progress::new();
        let started = Instant::now();
        while started.elapsed() < time {
            self.watch(active, &mut progress)?;
            process::pause(TICK)?;
        }
        Ok(())
    }

    /// Checks that all processes are there, and says so now and then.
    fn watch(&mut self, active: &mut Service, progress: &mut Progress) -> Result<Idle> {
        self.aggregator.expect_running()?;
        active.expect_running()?;
        for service in self.idle.iter_mut().chain(&mut self.bridge) {
            service.expect_running()?;
        }
        let idle = self.idle()?;
        if idle.lost > 0 {
            let log = process::shown(&self.idle_log());
            bail!("{} idle connections were lost; {log} says why", idle.lost);
        }
        if progress.is_due() {
            let memory = resources::anonymous_memory(self.aggregator.id())?;
            println!(
                "{:>9}  connected {:>6}  resident {:>7.1} MiB  rounds {}",
                status::duration(progress.started.elapsed()),
                idle.connected,
                mib(memory),
                self.rounds()?
            );
        }
        Ok(idle)
    }

    fn stop(self) -> Result<()> {
        if let Some(idle) = self.idle {
            idle.stop()?;
        }
        self.aggregator.stop()?;
        drop(self.bridge);
        Ok(())
    }
}

/// Rounds at an easy pace: the cohort is never full, so each waits for its window.
fn task(active: u32) -> Task<'static> {
    Task {
        id: TASK,
        title: "Load",
        model: "softmax-regression",
        rounds: None,
        server_learning_rate: 1.0,
        training: Training { epochs: 1, batch_size: 10, learning_rate: 0.1 },
        round: Round {
            cohort_size: active + 1,
            minimum_cohort: active / 2,
            minimum_reports: active / 2,
            selection_window: "2s",
            deadline: "60s",
        },
        privacy: None,
    }
}

/// Schedule of the progress lines.
struct Progress {
    started: Instant,
    printed: Option<Instant>,
}

impl Progress {
    fn new() -> Self {
        Self { started: Instant::now(), printed: None }
    }

    fn is_due(&mut self) -> bool {
        let is_due = self.printed.is_none_or(|printed| printed.elapsed() >= PROGRESS);
        if is_due {
            self.printed = Some(Instant::now());
        }
        is_due
    }
}

/// The generator's report on its connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Idle {
    connected: u32,
    lost: u32,
}

impl Idle {
    fn read(log: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
        Ok(Self::last(&text))
    }

    /// The last whole line of its kind; no client is connected before the first.
    fn last(text: &str) -> Self {
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().rev().find_map(Self::line).unwrap_or_default()
    }

    fn line(line: &str) -> Option<Self> {
        let (connected, lost) = line.strip_prefix("connected ")?.split_once(" lost ")?;
        Some(Self { connected: connected.parse().ok()?, lost: lost.parse().ok()? })
    }
}

/// The aggregator's memory in bytes: beside the active clients alone, once the
/// idle connections are there, and at the end.
#[derive(Clone, Copy)]
struct Figures {
    before: u64,
    connected: u64,
    held: u64,
    opened: u32,
}

impl Figures {
    fn per_connection(&self, after: u64) -> f64 {
        (after as f64 - self.before as f64) / 1024.0 / f64::from(self.opened)
    }

    /// The larger of what a connection takes at first and what it takes at the end.
    fn kib_per_connection(&self) -> f64 {
        self.per_connection(self.connected).max(self.per_connection(self.held))
    }

    fn lines(&self) -> [String; 3] {
        let with = |name: &str, bytes: u64| {
            let each = self.per_connection(bytes);
            format!("{name:<34}{:>8.1} MiB{each:>8.2} KiB a connection", mib(bytes))
        };
        [
            format!("{:<34}{:>8.1} MiB", "resident, active clients alone", mib(self.before)),
            with("with all idle connections", self.connected),
            with("at the end", self.held),
        ]
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_line_of_the_generator_counts() {
        let text = "connected 10 lost 0\nclient 7 is lost: closed\nconnected 9 lost 1\nconnec";
        assert_eq!(Idle::last(text), Idle { connected: 9, lost: 1 });
        assert_eq!(Idle::last("connected 10 lost 0"), Idle::default());
        assert_eq!(Idle::last(""), Idle::default());
    }

    #[test]
    fn a_connection_takes_the_larger_of_two_measurements() {
        let figures =
            Figures { before: 10 << 20, connected: 60 << 20, held: 70 << 20, opened: 10_240 };
        assert!((figures.kib_per_connection() - 6.0).abs() < 1e-9);
        let shrunk = Figures { held: 50 << 20, ..figures };
        assert!((shrunk.kib_per_connection() - 5.0).abs() < 1e-9);
    }

    #[test]
    fn the_minutes_are_a_number_that_makes_sense() {
        assert_eq!(minutes("0.5"), Ok(0.5));
        for bad in ["-1", "NaN", "x", "100000"] {
            assert!(minutes(bad).is_err(), "{bad}");
        }
    }
}
