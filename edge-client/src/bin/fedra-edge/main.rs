//! `fedra-edge`: the edge client as a native process, or a swarm of them.

mod data;
mod ends;
mod options;
mod platform;
mod report;
mod state;
mod token;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use fedra_edge_client::backend::{self, BackendPreference};
use fedra_edge_client::client::{Client, ClientConfig};
use fedra_edge_client::devices::Compute;
use fedra_edge_client::{
    ClientEvent, Consent, LocalData, PrivacyConfig, ServerUrl, TrainingSlots, Trust, UpdateFate,
    bench,
};
use fedra_learning::ExamplePrivacy;
use fedra_protocol::{SubjectId, TaskId};
use futures_util::{FutureExt, future};
use tokio::task::{JoinSet, LocalSet};
use tracing::info;
use tracing_subscriber::EnvFilter;

use crate::data::{DataOptions, Partition, Shard};
use crate::ends::Ends;
use crate::options::{Examples, Floors, Testing};
use crate::report::Report;
use crate::state::StateFile;
use crate::token::Tokens;

/// Takes part in a federated-learning task with local data.
#[derive(Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    join: Option<Join>,
    // These are not within `Join`: an optional group of options that holds others is
    // never taken for given.
    #[command(flatten)]
    data: Option<DataOptions>,
    #[command(flatten)]
    floors: Floors,
    #[command(flatten)]
    examples: Examples,
    #[command(flatten)]
    testing: Testing,
}

#[derive(Subcommand)]
enum Command {
    /// Print the speed of local training on this machine.
    Bench {
        /// One JSON array instead of a table.
        #[arg(long)]
        json: bool,
        /// cpu, or webgpu: a GPU by Vulkan or Metal
        #[arg(long, default_value = "cpu")]
        backend: BackendPreference,
    },
}

#[derive(Args)]
struct Join {
    /// The aggregator's address, e.g. https://example.org/fed or
    /// http://127.0.0.1:8080; that of its socket will do as well
    #[arg(long)]
    url: ServerUrl,
    /// PEM file with the certificates to trust, instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The task to take part in
    #[arg(long)]
    task: TaskId,
    /// Run so many clients, each with its share of the examples
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Take the I-th of N equal shares of the examples (I from 0) instead of all
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Use at most so many examples a client
    #[arg(long)]
    examples: Option<usize>,
    /// Shuffles the examples before they are shared out; decides with
    /// --drop-rate who leaves when
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave after so many accepted updates a client
    #[arg(long)]
    rounds: Option<u64>,
    /// Clients that train at the same time; by default one a core
    #[arg(long)]
    concurrency: Option<usize>,
    /// auto, cpu or webgpu: a GPU by Vulkan or Metal; by default auto, and cpu for more than
    /// one client
    #[arg(long)]
    backend: Option<BackendPreference>,
    /// File that keeps how often each client has taken part in private tasks,
    /// and under which name; made if there is none. Without it a restart forgets
    #[arg(long, value_name = "FILE", help_heading = "Privacy")]
    state: Option<PathBuf>,
    /// File with the token to check in with, read anew before every connection;
    /// with --clients, a line for each. Without it, FEDRA_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match Cli::parse() {
        Cli { command: Some(Command::Bench { json, backend }), .. } => run_bench(json, backend),
        Cli { join: Some(join), data: Some(data), floors, examples, testing, .. } => {
            let examples = examples.privacy()?;
            run_clients(&join, &data, &floors, examples, &testing)
        }
        Cli { .. } => bail!("give --url, --task and --data, or see --help"),
    }
}

/// Certificates to trust, and tokens to check in with.
struct Access {
    trust: Trust,
    tokens: Tokens,
}

impl Join {
    /// Certificates that the server may show.
    fn trust(&self) -> anyhow::Result<Trust> {
        match &self.ca {
            Some(_) if !self.url.is_encrypted() => {
                bail!("--ca is for servers with TLS: --url has to begin with https:// or wss://")
            }
            Some(path) => Ok(Trust::file(path)?),
            None if self.url.is_encrypted() => Ok(Trust::system()?),
            None => Ok(Trust::default()),
        }
    }

    /// Shares of the clients.
    fn partition(&self) -> Partition {
        Partition {
            seed: self.seed,
            shard: self.shard,
            clients: self.clients as usize,
            examples: self.examples,
        }
    }

    /// Device of training. Many clients share the cores, and would share a GPU.
    fn backend(&self) -> BackendPreference {
        let one = if self.clients == 1 { BackendPreference::Auto } else { BackendPreference::Cpu };
        self.backend.unwrap_or(one)
    }

    /// The `index`-th client of this process.
    fn client(
        &self,
        index: usize,
        access: &Access,
        state: &StateFile,
        floors: &Floors,
        examples: Option<ExamplePrivacy>,
        testing: &Testing,
    ) -> anyhow::Result<ClientConfig> {
        let fresh = || SubjectId::from_bytes(rand::random());
        let participant = state.client(&self.url, &self.task, index as u32, fresh);
        Ok(ClientConfig {
            url: self.url.clone(),
            trust: access.trust.clone(),
            task: self.task.clone(),
            token: access.tokens.source(index),
            backend: self.backend(),
            privacy: PrivacyConfig {
                floors: floors.floors(),
                // Starting the program is consent to what the floors let through.
                consent: Consent::Granted,
                subject: participant.subject(),
                participations: participant.participations(),
            },
            example_privacy: examples,
            residual: participant.residual()?,
            log: participant.log(),
            dropouts: testing.dropouts(self.seed, index as u64),
        })
    }
}

fn run_clients(
    join: &Join,
    data: &DataOptions,
    floors: &Floors,
    examples: Option<ExamplePrivacy>,
    testing: &Testing,
) -> anyhow::Result<()> {
    let variable = std::env::var_os(token::VARIABLE);
    let access = Access {
        trust: join.trust()?,
        tokens: Tokens::of(join.token_file.as_deref(), variable, join.clients as usize)?,
    };
    data.check()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let slots = TrainingSlots::new(join.concurrency.unwrap_or(cores).max(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ends = Ends::default();
    let report = Report::new(join.clients as usize);
    let state = match &join.state {
        Some(path) => StateFile::open(path)?,
        None => StateFile::in_memory(),
    };
    info!("joining task {} at {}", join.task, join.url);
    LocalSet::new().block_on(&runtime, async {
        let mut clients = Vec::new();
        let mut running = JoinSet::new();
        for index in 0..join.clients as usize {
            let config = join.client(index, &access, &state, floors, examples, testing)?;
            let client = Rc::new(Client::new(config, slots.clone()));
            let (ends, report, limit) = (ends.clone(), report.clone(), join.rounds);
            let task = client.clone();
            running.spawn_local(async move {
                let mut accepted = 0;
                let steer = task.clone();
                task.run(move |event| {
                    if let ClientEvent::Update { outcome: UpdateFate::Accepted, .. } = event {
                        accepted += 1;
                        if limit.is_some_and(|limit| accepted >= limit) {
                            steer.close();
                        }
                    }
                    report.event(index, &event);
                    if ends.event(&event) {
                        steer.close();
                    }
                })
                .await;
            });
            clients.push(client);
        }
        let mut unreadable = Ok(());
        tokio::select! {
            () = all_ended(&mut running) => return Ok(()),
            error = not_given(data, join.partition(), &clients, &ends) => unreadable = Err(error),
            () = ends.misfit() => {}
            stopped = platform::stop_signal() => stopped.context("waiting for a signal")?,
        }
        clients.iter().for_each(|client| client.close());
        all_ended(&mut running).await;
        unreadable
    })?;
    ends.result(join.clients)
}

/// Gives each client its share of the examples, once the task has said what they are. Ends
/// only where that fails.
async fn not_given(
    data: &DataOptions,
    partition: Partition,
    clients: &[Rc<Client>],
    ends: &Ends,
) -> anyhow::Error {
    let described = clients.iter().map(|client| client.description().boxed_local());
    let Ok((task, _)) = future::select_ok(described).await else {
        // The clients have ended, each for its own reason.
        return future::pending().await;
    };
    let data = data.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let examples = data.load(&task)?;
        info!("read {} examples", examples.len());
        anyhow::Ok((partition.shares(&examples)?, task.data.clone()))
    });
    match reading.await {
        Ok(Ok((shares, read_as))) => {
            let shares = shares.into_iter().map(|share| LocalData::read(share, read_as.clone()));
            let given = clients.iter().zip(shares).map(|(client, share)| client.set_data(share));
            future::join_all(given.map(|judged| judged.map(|verdict| ends.judged(verdict)))).await;
            future::pending().await
        }
        Ok(Err(error)) => {
            ends.bad_data(format!("{error:#}"));
            future::pending().await
        }
        Err(panic) => panic.into(),
    }
}

async fn all_ended(running: &mut JoinSet<()>) {
    while running.join_next().await.is_some() {}
}

fn run_bench(json: bool, backend: BackendPreference) -> anyhow::Result<()> {
    let compute = match backend {
        BackendPreference::Cpu => Compute::Cpu,
        BackendPreference::WebGpu => pollster::block_on(backend::webgpu())?,
        BackendPreference::Auto => bail!("one backend is measured: give cpu or webgpu"),
    };
    if let (Some(adapter), false) = (compute.adapter(), json) {
        println!("on {adapter}");
    }
    let mut rows = Vec::new();
    for model in ["mnist-2nn", "mnist-cnn"] {
        for batch in [10, 32] {
            let row = pollster::block_on(bench::measure(model, batch, &compute))?;
            if !json {
                println!(
                    "{model:10} batch {batch:3} {:>10.0} samples/s {:>8.2} ms/step, the first {:.0} ms",
                    row.samples_per_second, row.milliseconds_per_step, row.first_step_milliseconds
                );
            }
            rows.push(row);
        }
    }
    if json {
        println!("{}", serde_json::to_string(&rows)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(format!("fedra-edge {line}").split_whitespace())
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn one_client_looks_for_a_gpu_and_more_do_only_when_they_are_told() {
        let backend = |line: &str| {
            let line = format!("--url http://127.0.0.1:1 --task a --data b {line}");
            parsed(&line).unwrap().join.unwrap().backend()
        };
        assert_eq!(backend(""), BackendPreference::Auto);
        assert_eq!(backend("--clients 2"), BackendPreference::Cpu);
        assert_eq!(backend("--clients 2 --backend webgpu"), BackendPreference::WebGpu);
        assert_eq!(backend("--backend cpu"), BackendPreference::Cpu);
        let error = run_bench(true, BackendPreference::Auto).unwrap_err();
        assert_eq!(error.to_string(), "one backend is measured: give cpu or webgpu");
    }

    #[test]
    fn whom_to_trust_is_a_question_of_tls() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none.pem");
        let trust = |url: &str, ca: &str| {
            let line = format!("--url {url} --task a --data b {ca}");
            parsed(&line).unwrap().join.unwrap().trust().map(|_| ()).map_err(|e| e.to_string())
        };
        assert_eq!(trust("http://127.0.0.1:1", ""), Ok(()));
        let ca = format!("--ca {}", missing.display());
        let error = trust("http://127.0.0.1:1", &ca).unwrap_err();
        assert!(error.contains("--url has to begin with https://"), "{error}");
        let error = trust("https://127.0.0.1:1", &ca).unwrap_err();
        assert!(error.contains(missing.to_str().unwrap()), "{error}");
    }

    #[test]
    fn a_task_is_joined_with_and_without_further_options() {
        let join = "--url ws://127.0.0.1:1/v1/connect --task a --data b";
        for more in ["", "--max-epsilon 8 --require-secure-aggregation", "--drop-rate 0.2"] {
            let cli = parsed(&format!("{join} {more}")).unwrap();
            assert!(cli.join.is_some() && cli.data.is_some() && cli.command.is_none(), "{more}");
        }
        let bench = parsed("bench --json").unwrap();
        assert!(bench.join.is_none() && bench.data.is_none());
        assert!(parsed("--task a").is_err());
        assert!(parsed(&format!("{join} bench")).is_err());
    }
}
