//! The command line of the aggregator: what there is to ask for, and who does
//! it. Everything that a server does is in the library.

mod check;
mod client;
mod privacy;
mod sample;
mod serve;
mod status;
mod store;
mod table;
mod task;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use client::ServerOptions;
use privacy::PrivacyCommand;
use sample::SampleOptions;
use serve::LogFormat;
use store::StoreCommand;
use task::TaskCommand;

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
        /// Format of log lines. RUST_LOG chooses which there are.
        #[arg(long, value_enum, default_value_t = LogFormat::Text)]
        log_format: LogFormat,
    },
    /// Explains every mistake in a config; exits with 2 if there is one.
    Check {
        /// The config file.
        #[arg(long, env = "FEDRA_CONFIG_FILE", default_value = "fedra.toml")]
        config: PathBuf,
        #[command(flatten)]
        sample: SampleOptions,
    },
    /// Says how a running server and its tasks are doing.
    Status {
        #[command(flatten)]
        server: ServerOptions,
    },
    /// Exits with 0 if a running server takes clients, with 1 if it does not.
    Ready {
        #[command(flatten)]
        server: ServerOptions,
    },
    /// Shows and changes the tasks of a running server.
    Task {
        #[command(flatten)]
        server: ServerOptions,
        #[command(subcommand)]
        command: TaskCommand,
    },
    /// Checks, repairs or copies the store.
    Store {
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// Prints the cost of a planned private task, or that of an existing one.
    Privacy {
        #[command(subcommand)]
        command: PrivacyCommand,
    },
}

/// Exit status for a command line or a config with mistakes.
const USAGE: u8 = 2;

/// Failure of a command.
#[derive(Debug)]
enum Failure {
    /// It was asked for in a way that cannot work; exits with 2.
    Usage(String),
    /// It did not work; exits with 1.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// Reads the command line and does what it says.
pub fn run() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve { config, log_format } => serve::serve(&config, log_format),
        Command::Check { config, sample } => check::check(&config, &sample),
        Command::Status { server } => finish(status::status(&server)),
        Command::Ready { server } => finish(status::ready(&server)),
        Command::Task { server, command } => finish(command.run(&server)),
        Command::Store { command } => command.run(),
        Command::Privacy { command } => finish(command.run()),
    }
}

/// Prints what a command has to say.
fn finish(outcome: Result<String, Failure>) -> ExitCode {
    match outcome {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(Failure::Usage(problem)) => {
            eprintln!("fedra-aggregator: {problem}");
            ExitCode::from(USAGE)
        }
        Err(Failure::Failed(error)) => {
            eprintln!("fedra-aggregator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
