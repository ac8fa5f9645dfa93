//! `cargo xtask demo`: an aggregator with the page, native clients that share
//! MNIST between them, and a table that grows by a row a round.

mod config;
mod table;

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::http::Http;
use crate::process::Service;
use crate::{dist, prerequisites, process, project, status};

const TASK: &str = "mnist";
/// Rounds of a run that ends by itself.
const ROUNDS: u64 = 10;
const START_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

#[derive(Args)]
pub struct Options {
    /// Native clients, each with its share of the 60,000 images.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    clients: u32,
    /// Port of the aggregator, on this machine only.
    #[arg(long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Stop training after so many rounds (10 with --exit, else never).
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: Option<u64>,
    /// End when the rounds are done; the page is not built.
    #[arg(long)]
    exit: bool,
}

pub fn run(options: &Options) -> Result<()> {
    check_port(options.port)?;
    prerequisites::npm_packages(&project::web())?;
    status::step("Building the aggregator and the native edge client");
    process::run(&mut project::build_programs())?;
    if !options.exit {
        dist::run(&dist::Options::default())?;
    }

    let rounds = options.rounds.or(options.exit.then_some(ROUNDS));
    let folder = project::target().join("demo");
    let config = prepare(&folder, options, rounds)?;

    status::step("Starting the aggregator");
    let mut serve = Command::new(project::program("fedra-aggregator"));
    serve.current_dir(project::root()).arg("serve");
    serve.arg("--config").arg(&config);
    let log = folder.join("aggregator.log");
    let mut aggregator = Service::start("the aggregator", &mut serve, &log)?;
    let http = Http::new(format!("http://127.0.0.1:{}", options.port));
    wait_until_ready(&mut aggregator, &http)?;

    status::step(&format!("Starting {} native clients", options.clients));
    let mut edge = Command::new(project::program("fedra-edge"));
    edge.current_dir(project::root())
        .arg("--url")
        .arg(format!("ws://127.0.0.1:{}/v1/connect", options.port))
        .args(["--task", TASK, "--data"])
        .arg(project::mnist())
        .args(["--clients", &options.clients.to_string()]);
    let log = folder.join("clients.log");
    let mut clients = Service::start("the native clients", &mut edge, &log)?;
    if !options.exit {
        println!();
        println!("Open http://127.0.0.1:{}/ and take part. Ctrl-C ends it.", options.port);
    }
    println!();

    let accuracy = follow(&mut aggregator, &mut clients, &http, rounds)?;
    if options.exit {
        clients.stop()?;
        aggregator.stop()?;
        println!();
        match accuracy {
            Some(accuracy) => println!("final accuracy {accuracy:.4}"),
            None => bail!("the last round was not evaluated"),
        }
        return Ok(());
    }
    println!("The rounds are done; the page stays up until Ctrl-C.");
    loop {
        aggregator.expect_running()?;
        process::pause(POLL)?;
    }
}

fn check_port(port: u16) -> Result<()> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            bail!("port {port} is taken: choose another with --port")
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on port {port}")),
    }
}

/// An empty store and the configuration; returns the latter's path.
fn prepare(folder: &Path, options: &Options, rounds: Option<u64>) -> Result<std::path::PathBuf> {
    let store = folder.join("store");
    match fs::remove_dir_all(&store) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", store.display()));
        }
        _ => {}
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let page = project::web().join("demo/dist");
    let text = config::text(&config::Demo {
        task: TASK,
        port: options.port,
        clients: options.clients,
        rounds,
        store: &store,
        page: (!options.exit).then_some(page.as_path()),
        mnist: &project::mnist(),
    });
    let path = folder.join("fedra.toml");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    status::note(&format!("the configuration is {}", process::shown(&path)));
    Ok(path)
}

fn wait_until_ready(aggregator: &mut Service, http: &Http) -> Result<()> {
    let started = Instant::now();
    while !http.is_ok("/readyz") {
        aggregator.expect_running()?;
        if started.elapsed() > START_DEADLINE {
            bail!("the aggregator was not ready within {} s", START_DEADLINE.as_secs());
        }
        process::pause(POLL)?;
    }
    Ok(())
}

/// Prints rounds as they are evaluated. Returns the last one's accuracy once
/// `rounds` of them are done; without `rounds` only an interrupt ends it.
fn follow(
    aggregator: &mut Service,
    clients: &mut Service,
    http: &Http,
    rounds: Option<u64>,
) -> Result<Option<f64>> {
    let path = format!("/v1/tasks/{TASK}");
    let mut table = table::Table::new(rounds);
    println!("{}", table::HEADER);
    loop {
        aggregator.expect_running()?;
        let clients_ended = clients.has_ended()?;
        let task = match http.json(&path) {
            Ok(task) => task,
            Err(error) => {
                // Its last lines say more than that it does not answer.
                process::pause(POLL)?;
                aggregator.expect_running()?;
                return Err(error);
            }
        };
        for row in table.update(&task)? {
            println!("{row}");
        }
        if let Some(accuracy) = table.finished() {
            return Ok(accuracy);
        }
        if clients_ended && !table.all_trained() {
            clients.expect_running()?;
        }
        process::pause(POLL)?;
    }
}
