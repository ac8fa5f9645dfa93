//! The developer's one door: `cargo xtask demo | test | dist | bench | chaos | load | hostile |
//! fuzz | simulate-faults`.
//!
//! Parses the command line and hands over to one module a command. It knows
//! the other crates only as programs to build and run: it must not depend on
//! them, nor on burn, so that a fresh clone has it within a minute or two.

mod aggregator;
mod bench;
mod browser;
mod bundle;
mod chaos;
mod compress;
mod config;
mod debian;
mod demo;
mod dist;
mod fuzz;
mod hostile;
mod http;
mod load;
mod prerequisites;
mod process;
mod project;

mod resources;
mod simulate;
mod status;
mod table;
mod tally;
mod test;
mod wasm_tests;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", version, about = "Builds, tests and shows Fedra")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train MNIST here: an aggregator, native clients and the demo page.
    Demo(demo::Options),
    /// Run every test: formatting, lints, host, web, browser, end to end.
    Test(test::Options),
    /// Build both WASM modules, the npm package and the demo page.
    Dist(dist::Options),
    /// Measure local training and the fold; with a name, privacy's cost.
    Bench(bench::Options),
    /// Kill and freeze clients and aggregator: is anything lost or counted twice?
    Chaos(chaos::Options),
    /// Hold thousands of idle connections beside clients that train.
    Load(load::Options),
    /// Attack the aggregator: does its memory stay bounded, do rounds go on?
    Hostile(hostile::Options),
    /// Feed every decoder and machine what nobody sane would send.
    Fuzz(fuzz::Options),
    /// Replay one simulated history of faults, or run thousands of them.
    SimulateFaults(simulate::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if process::interrupted() => {
            eprintln!("interrupted");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    process::catch_signals()?;
    match command {
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Dist(options) => dist::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Chaos(options) => chaos::run(&options),
        Command::Load(options) => load::run(&options),
        Command::Hostile(options) => hostile::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::SimulateFaults(options) => simulate::run(&options),
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
