//! `fedra-system-tests`: Fedra's real programs on this machine, under faults, under
//! load, under attack, and measured. `cargo xtask chaos | load | hostile | bench`
//! build and start it.
//!
//! Judges from outside only: by the event log, the HTTP API and the store. What
//! runs inside one process belongs to the crates' own tests.

mod bench;
mod chaos;
mod hostile;
mod journal;
mod load;
mod resources;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fedra_harness::process;

#[derive(Parser)]
#[command(
    bin_name = "cargo xtask",
    version,
    about = "Fedra as a whole under faults, load and attack"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure local training and the fold; with a name, privacy's cost.
    Bench(bench::Options),
    /// Kill and freeze clients and aggregator: is anything lost or counted twice?
    Chaos(chaos::Options),
    /// Hold thousands of idle connections beside clients that train.
    Load(load::Options),
    /// Attack the aggregator: does its memory stay bounded, do rounds go on?
    Hostile(hostile::Options),
}

fn main() -> ExitCode {
    process::exit_code(run(Cli::parse().command))
}

fn run(command: Command) -> anyhow::Result<()> {
    process::catch_signals()?;
    match command {
        Command::Bench(options) => bench::run(&options),
        Command::Chaos(options) => chaos::run(&options),
        Command::Load(options) => load::run(&options),
        Command::Hostile(options) => hostile::run(&options),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bench_measures_training_unless_it_is_told_what_else() {
        for line in ["bench", "bench --native-only", "bench privacy --clients 50", "bench accuracy"]
        {
            assert!(Cli::try_parse_from(format!("xtask {line}").split(' ')).is_ok(), "{line}");
        }
        for line in ["bench --native-only privacy", "bench speed", "bench privacy --clients 1"] {
            assert!(Cli::try_parse_from(format!("xtask {line}").split(' ')).is_err(), "{line}");
        }
    }
}
