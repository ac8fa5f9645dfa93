//! One run of an experiment: an aggregator, native clients and tabs, until the
//! task has ended, and what came of it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use fedra_harness::aggregator::{self, Aggregator};
use fedra_harness::config::{Config, Server, Task};
use fedra_harness::process::Service;
use fedra_harness::{project, status};
use fedra_http_api::Privacy;

/// Setting of a run.
pub struct Run<'a> {
    /// Names the folder of its files.
    pub name: &'a str,
    pub task: Task<'a>,
    pub swarm: &'a Swarm,
    pub tabs: Option<&'a Tabs>,
}

/// Native clients in one process.
pub struct Swarm {
    pub clients: u32,
    /// Images of each.
    pub examples: u32,
    /// Probability with which each leaves a round.
    pub drop_rate: f64,
}

/// Tabs of the real page.
pub struct Tabs {
    pub count: u32,
    /// Images of each.
    pub examples: u32,
    pub chromium: PathBuf,
}

/// Result of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    pub rounds: u64,
    /// Accuracy of the last round's model.
    pub accuracy: Option<f64>,
    /// Epsilon of the participant that has spent most.
    pub spent_epsilon: Option<f64>,
    /// Debits, those of abandoned attempts included.
    pub debits: Option<u32>,
    /// Updates of tabs that are in a round's sum.
    pub tab_updates: Option<usize>,
}

/// Runs it, printing a row a round.
pub fn run(run: &Run<'_>) -> Result<Outcome> {
    let folder = project::target().join("accuracy").join(run.name);
    let port = free_port()?;
    let page = project::web().join("demo/dist");
    let config = Config {
        port,
        store: &aggregator::store(&folder),
        page: run.tabs.map(|_| page.as_path()),
        mnist: &project::mnist(),
        server: Server::default(),
        keep_all_models: false,
        tasks: std::slice::from_ref(&run.task),
    };
    aggregator::prepare(&folder, &config.text())?;
    let mut aggregator = Aggregator::start(&folder, port)?;
    let mut clients = start_swarm(&aggregator, run, &folder)?;
    let log = folder.join("tabs.log");
    let mut tabs = match run.tabs {
        Some(tabs) => Some(start_tabs(&aggregator, run.task.id, tabs, &log)?),
        None => None,
    };

    println!("\n{}", run.name);
    let mut needed = vec![&mut clients];
    needed.extend(&mut tabs);
    let accuracy = aggregator.follow(run.task.id, run.task.rounds, &mut needed)?;
    let task = aggregator.task(run.task.id)?.summary;
    clients.stop()?;
    if let Some(tabs) = tabs {
        tabs.stop()?;
    }
    aggregator.stop()?;

    let tab_updates = match run.tabs {
        Some(_) => {
            let log = fs::read_to_string(&log)
                .with_context(|| format!("cannot read {}", log.display()))?;
            Some(accepted(&log))
        }
        None => None,
    };
    Ok(Outcome { tab_updates, ..outcome(task.round, task.privacy, accuracy) })
}

fn outcome(rounds: u64, privacy: Option<Privacy>, accuracy: Option<f64>) -> Outcome {
    Outcome {
        rounds,
        accuracy,
        spent_epsilon: privacy.map(|privacy| privacy.spent_epsilon),
        debits: privacy.map(|privacy| privacy.debits),
        tab_updates: None,
    }
}

fn start_swarm(aggregator: &Aggregator, run: &Run<'_>, folder: &Path) -> Result<Service> {
    let Swarm { clients, examples, drop_rate } = *run.swarm;
    status::step(&format!("Starting {clients} native clients"));
    let mut edge = aggregator.native_clients(run.task.id, clients);
    edge.args(["--examples", &examples.to_string()]);
    if drop_rate > 0.0 {
        edge.args(["--drop-rate", &drop_rate.to_string()]);
    }
    Service::start("the native clients", &mut edge, &folder.join("clients.log"))
}

fn start_tabs(aggregator: &Aggregator, task: &str, tabs: &Tabs, log: &Path) -> Result<Service> {
    status::step(&format!("Opening {} tabs", tabs.count));
    let mut node = Command::new("node");
    node.current_dir(project::root().join("wasm-tests/bench"))
        .arg("tabs.mjs")
        .args([&aggregator.page(), task])
        .args([tabs.count.to_string(), tabs.examples.to_string()])
        .env("CHROME", &tabs.chromium);
    Service::start("the tabs", &mut node, log)
}

/// Accepted updates in what `tabs.mjs` has written: a line each.
fn accepted(log: &str) -> usize {
    log.lines().filter(|line| line.contains(" accepted in round ")).count()
}

fn free_port() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no port to listen on")?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_updates_that_were_accepted_count() {
        let log = "tab 0: agreed\ntab 0: accepted in round 1\ntab 1: discarded in round 1\n\
                   tab 1: accepted in round 2\n";
        assert_eq!(accepted(log), 2);
    }
}
