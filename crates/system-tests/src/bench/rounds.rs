//! `cargo xtask bench rounds`: seconds of a round of real programs over real sockets,
//! beside a peer's.
//!
//! Ten of 100 clients, which are one process, train an epoch over 600 images each, in
//! batches of ten. Nothing is evaluated.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use fedra_harness::http::Http;
use fedra_harness::process::Service;
use fedra_harness::{aggregator, npm, process, project, status};
use fedra_http_api::{Round, Task, address};
use serde_json::Value;

use super::limit::{Limit, median, shown};
use super::{Build, peers};

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    build: Build,
    #[command(flatten)]
    peers: peers::Options,
}

const TASK: &str = "rounds";
const CLIENTS: u32 = 100;
/// Longest time for all rounds of a run.
const DEADLINE: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(200);

const PEER: &str = "flower";

struct Case {
    model: &'static str,
    /// Rounds of a run. The first is left out: clients connect in it.
    rounds: u64,
    /// Least ratio of the peer's time to ours.
    ratio: Limit,
}

const CASES: [Case; 2] = [
    Case { model: "mnist-2nn", rounds: 21, ratio: Limit::AtLeast(12.0) },
    Case { model: "mnist-cnn", rounds: 9, ratio: Limit::AtLeast(1.5) },
];

pub fn run(options: &Options) -> Result<()> {
    let peer = options.peers.find(PEER)?;
    // The images.
    npm::packages(&project::web())?;
    let programs = options.build.programs()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let repeats = options.peers.rounds();
    for repeat in 1..=repeats {
        for case in &CASES {
            status::step(&format!("{}, run {repeat} of {repeats}", case.model));
            ours.push((case.model, median_seconds(&history(&programs, case)?)));
            let Some(peer) = &peer else {
                continue;
            };
            let row = peer.measure(&[case.model], |row| {
                row["model"] == case.model && seconds_a_round(row).is_some()
            })?;
            theirs.push((case.model, row.as_ref().and_then(seconds_a_round)));
        }
    }
    println!();
    for line in table(&ours, &theirs, repeats) {
        println!("{line}");
    }
    Ok(())
}

fn seconds_a_round(row: &Value) -> Option<f64> {
    row["secondsPerRound"].as_f64().filter(|&seconds| seconds > 0.0)
}

/// Rounds of an aggregator and clients that run for as long as it takes.
fn history(programs: &Path, case: &Case) -> Result<Vec<Round>> {
    let folder = project::target().join("rounds");
    let port = aggregator::lasting_port()?;
    aggregator::prepare(&folder, &config(&folder, port, case.model))?;
    let mut serve = Command::new(programs.join("fedra-aggregator"));
    serve.arg("serve").arg("--config").arg(folder.join("fedra.toml"));
    let log = folder.join("aggregator.log");
    let mut server = Service::start("the aggregator", &mut serve, &log)?;
    let http = Http::new(format!("http://127.0.0.1:{port}"));
    let started = Instant::now();
    let in_time = || {
        if started.elapsed() > DEADLINE {
            bail!("the rounds took more than {} s", DEADLINE.as_secs());
        }
        process::pause(POLL)
    };
    while !http.is_ok("/readyz") {
        server.expect_running()?;
        in_time()?;
    }
    let mut edge = Command::new(programs.join("fedra-edge"));
    edge.args(["--url", &format!("ws://127.0.0.1:{port}/v1/connect"), "--task", TASK])
        .args(["--clients", &CLIENTS.to_string(), "--data"])
        .arg(project::mnist());
    let mut clients = Service::start("the clients", &mut edge, &folder.join("clients.log"))?;
    loop {
        let task: Task = http.json(&address::task(TASK))?;
        if task.summary.round >= case.rounds {
            return Ok(task.history);
        }
        server.expect_running()?;
        clients.expect_running()?;
        in_time()?;
    }
}

/// A task without an end and without evaluation.
fn config(folder: &Path, port: u16, model: &str) -> String {
    let store = aggregator::store(folder);
    format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\nstore = {store:?}\n\n\
         [[task]]\nid = \"{TASK}\"\nmodel = \"{model}\"\n\n\
         [task.training]\nepochs = 1\nbatch_size = 10\nlearning_rate = 0.1\n\n\
         [task.round]\ncohort_size = 10\nminimum_cohort = 10\nminimum_reports = 10\n"
    )
}

fn median_seconds(history: &[Round]) -> Option<f64> {
    let later = history.iter().filter(|round| round.round > 1);
    median(later.map(|round| round.seconds).collect())
}

/// Model and seconds of each run.
type Runs = [(&'static str, Option<f64>)];

fn table(ours: &Runs, theirs: &Runs, repeats: u32) -> Vec<String> {
    let mut lines = vec![
        format!("Seconds a round, 10 of {CLIENTS} clients, medians, runs: {repeats}"),
        format!("{:<10}{:>9}{PEER:>9}{:>8}   wanted", "model", "fedra", "ratio"),
    ];
    for case in &CASES {
        let of = |runs: &Runs| {
            let same = runs.iter().filter(|(model, _)| *model == case.model);
            median(same.filter_map(|(_, seconds)| *seconds).collect())
        };
        let (ours, theirs) = (of(ours), of(theirs));
        let ratio = theirs.zip(ours).map(|(theirs, ours)| theirs / ours);
        lines.push(format!(
            "{:<10}{:>9}{:>9}{:>8}   {}",
            case.model,
            shown(ours, 3),
            shown(theirs, 3),
            shown(ratio, 2),
            case.ratio.beside(ratio),
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use fedra_http_api::Metrics;

    use super::*;

    #[test]
    fn the_first_round_is_left_out() {
        let round = |round, seconds| Round {
            round,
            metrics: Metrics::default(),
            by_clients: None,
            reports: 10,
            seconds,
            bytes_up: 0,
            bytes_down: 0,
            refused: false,
        };
        let history = [round(1, 90.0), round(2, 0.5), round(3, 0.75), round(4, 0.625)];
        assert_eq!(median_seconds(&history), Some(0.625));
        assert_eq!(median_seconds(&history[..1]), None);
    }

    #[test]
    fn a_ratio_says_how_many_times_faster_a_round_is_than_the_peers() {
        let ours = [("mnist-2nn", Some(0.1)), ("mnist-cnn", Some(2.0)), ("mnist-2nn", Some(0.1))];
        let theirs = [("mnist-2nn", Some(1.25)), ("mnist-2nn", None)];
        let table = table(&ours, &theirs, 2);
        assert_eq!(table[2], "mnist-2nn     0.100    1.250   12.50   >= 12 met");
        assert_eq!(table[3], "mnist-cnn     2.000        -       -   >= 1.5");
    }
}
