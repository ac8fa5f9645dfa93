//! The command line of the aggregator. Everything it starts is in the library.

mod privacy;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use fedra_aggregator::config::{Config, Mistake, Mistakes};
use fedra_aggregator::{Signals, evaluation, run};
use privacy::{PlanArguments, ReportArguments};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// The server of Fedra, federated learning in browsers and on edge devices.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the server.
    Serve {
        /// The config file.
        #[arg(long, env = "FEDRA_CONFIG_FILE", default_value = "fedra.toml")]
        config: PathBuf,
        /// How log lines look. RUST_LOG chooses which there are.
        #[arg(long, value_enum, default_value_t = LogFormat::Text)]
        log_format: LogFormat,
    },
    /// Explains every mistake in a config; exits with 2 if there is one.
    Check {
        /// The config file.
        #[arg(long, default_value = "fedra.toml")]
        config: PathBuf,
    },
    /// What a private task would cost, and what one has cost.
    Privacy {
        #[command(subcommand)]
        command: PrivacyCommand,
    },
}

#[derive(Subcommand)]
enum PrivacyCommand {
    /// Prints the parameters and the epsilon that a task would have.
    Plan(PlanArguments),
    /// Prints what a task's privacy budget has paid for.
    Report(ReportArguments),
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Exit status for a config with mistakes.
const BAD_CONFIG: u8 = 2;

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Check { config } => check(&config),
        Command::Privacy { command: PrivacyCommand::Plan(plan) } => plan.run(),
        Command::Privacy { command: PrivacyCommand::Report(report) } => report.run(),
        Command::Serve { config, log_format } => {
            start_logging(log_format);
            match Config::load(&config) {
                Ok(loaded) => serve(loaded, config),
                Err(mistakes) => explain(&mistakes),
            }
        }
    }
}

fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // At its most talkative this library logs whole messages, with tokens in them.
    let quiet = "tungstenite=off".parse().expect("a directive");
    let filter = filter.add_directive(quiet);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

fn explain(mistakes: &Mistakes) -> ExitCode {
    eprintln!("{mistakes}");
    ExitCode::from(BAD_CONFIG)
}

fn check(path: &std::path::Path) -> ExitCode {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(mistakes) => return explain(&mistakes),
    };
    let mut mistakes = Vec::new();
    for task in &config.tasks {
        let Some(held_out) = &task.evaluation else { continue };
        if let Err(error) = evaluation::load(held_out, &task.model) {
            let path = format!("task[{}].evaluation", task.id);
            mistakes.push(Mistake { path, problem: error.to_string() });
        }
    }
    if !mistakes.is_empty() {
        return explain(&Mistakes(mistakes));
    }
    print!("{}", config.summary());
    ExitCode::SUCCESS
}

fn serve(config: Config, path: PathBuf) -> ExitCode {
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            runtime.block_on(async {
                let address = config.server.listen;
                let listener = TcpListener::bind(address)
                    .await
                    .map_err(|error| anyhow::anyhow!("cannot listen on {address}: {error}"))?;
                Ok(run(config, listener, Signals::of_process(path)).await?)
            })
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fedra-aggregator: {error}");
            ExitCode::FAILURE
        }
    }
}
