//! `cargo xtask demo`: an aggregator with the page, native clients that share
//! MNIST between them, and a table that grows by a row a round. Beside that plain
//! task there is a private one, at a slow pace, that a visitor can switch to, and
//! there are the tasks of `examples/tasks`, which only visitors train.

mod examples;
mod private;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Args;
use fedra_harness::aggregator::{self, Aggregator};
use fedra_harness::config::{Config, Round, Server, Task, Training};
use fedra_harness::process::Service;
use fedra_harness::{npm, process, project, status};

use crate::dist;

const TASK: &str = "mnist";
/// Rounds of a run that ends by itself.
const ROUNDS: u64 = 10;

#[derive(Args)]
pub struct Options {
    /// Native clients, each with its share of the 60,000 images.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    clients: u32,
    /// Simulated people in the private task, which has its own small model;
    /// 0 leaves it out.
    #[arg(long, default_value_t = private::PEOPLE, value_parser = private::people)]
    private_clients: u32,
    /// Port of the aggregator, on this machine only.
    #[arg(long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Stop training after this number of rounds (10 with --exit, else never).
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: Option<u64>,
    /// End when the rounds are done; the page and all tasks but MNIST's are left out.
    #[arg(long)]
    exit: bool,
}

impl Options {
    /// Simulated people, if the private task is there.
    fn people(&self) -> Option<u32> {
        (!self.exit && self.private_clients > 0).then_some(self.private_clients)
    }
}

pub fn run(options: &Options) -> Result<()> {
    check_port(options.port)?;
    npm::packages(&project::web())?;
    status::step("Building the aggregator and the native edge client");
    process::run(&mut project::build_programs())?;
    if !options.exit {
        dist::run(&dist::Options::default())?;
    }

    let rounds = options.rounds.or(options.exit.then_some(ROUNDS));
    let folder = project::target().join("demo");
    aggregator::prepare(&folder, &configuration(&folder, options, rounds)?)?;
    let mut aggregator = Aggregator::start(&folder, options.port)?;

    status::step(&format!("Starting {} native clients", options.clients));
    let mut edge = aggregator.native_clients(TASK, options.clients);
    let mut clients = Service::start("the native clients", &mut edge, &folder.join("clients.log"))?;
    let mut people = match options.people() {
        Some(people) => Some(private::start(&aggregator, people, &folder)?),
        None => None,
    };
    if !options.exit {
        println!();
        println!("Open {} and take part. Ctrl-C ends it.", aggregator.page());
        if let Some(people) = options.people() {
            println!("{}", private::explanation(people));
        }
        println!("{}", examples::EXPLANATION);
    }
    println!();

    let mut needed = vec![&mut clients];
    needed.extend(&mut people);
    let accuracy = aggregator.follow(TASK, rounds, &mut needed)?;
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
    aggregator.stay()
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

fn configuration(folder: &Path, options: &Options, rounds: Option<u64>) -> Result<String> {
    let page = project::web().join("demo/dist");
    let mut tasks = vec![plain_task(options.clients, rounds)];
    tasks.extend(options.people().map(private::task));
    let own = Config {
        port: options.port,
        store: &aggregator::store(folder),
        page: (!options.exit).then_some(page.as_path()),
        mnist: &project::mnist(),
        server: Server::default(),
        keep_all_models: false,
        tasks: &tasks,
    }
    .text();
    if options.exit { Ok(own) } else { Ok(own + &examples::tasks()?) }
}

/// McMahan's 2NN with E = 1 and B = 10. A cohort has room for tabs beside the
/// native clients.
fn plain_task(clients: u32, rounds: Option<u64>) -> Task<'static> {
    Task {
        id: TASK,
        title: "Handwritten digits",
        model: "mnist-2nn",
        rounds,
        server_learning_rate: 1.0,
        training: Training { epochs: 1, batch_size: 10, learning_rate: 0.1 },
        round: Round {
            cohort_size: clients.max(64),
            minimum_cohort: clients,
            minimum_reports: 1,
            selection_window: "500ms",
            deadline: "120s",
        },
        privacy: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(exit: bool, private_clients: u32) -> Options {
        Options { clients: 8, private_clients, port: 9000, rounds: None, exit }
    }

    #[test]
    fn a_run_that_ends_by_itself_has_the_plain_task_alone() {
        let text = |options| configuration(Path::new("demo"), &options, Some(10)).unwrap();
        let ids = |text: &str| -> Vec<String> {
            let lines = text.lines().filter_map(|line| line.strip_prefix("id = "));
            lines.map(|id| id.trim_matches('"').to_owned()).collect()
        };
        let shown = text(options(false, 200));
        let examples = ["moby-dick", "phase-of-flight", "teach"];
        assert_eq!(ids(&shown), [&["mnist", "mnist-private"][..], &examples].concat());
        // The aggregator lists them by their ids, and the page begins with the first.
        assert!(ids(&shown).is_sorted());
        assert!(shown.contains("[task.privacy]"), "{shown}");
        let open = text(options(false, 0));
        assert_eq!(ids(&open), [&["mnist"][..], &examples].concat());
        let short = text(options(true, 200));
        assert_eq!(ids(&short), ["mnist"]);
        for text in [open, short] {
            assert!(!text.contains("[task.privacy]"), "{text}");
        }
    }

    #[test]
    fn the_cohort_of_the_plain_task_has_room_for_tabs_but_waits_for_no_more_than_the_clients() {
        let round = plain_task(8, None).round;
        assert_eq!((round.cohort_size, round.minimum_cohort, round.minimum_reports), (64, 8, 1));
        assert_eq!(plain_task(500, None).round.cohort_size, 500);
    }
}
