//! The developer's one door: `cargo xtask demo | test | dist | docs | bench | chaos | load | hostile |
//! fuzz | simulate-faults | reproduce`.
//!
//! Parses the command line and hands over to one module a command. Of the other
//! crates it depends on the harness alone, and knows the rest only as programs to
//! build and run: without them and without burn a fresh clone has it within a
//! minute or two.

mod bundle;
mod compress;
mod demo;
mod dist;
mod docs;
mod fuzz;
mod lint;
mod prerequisites;
mod python;
mod reproduce;
mod simulate;
mod structure;
mod system_tests;
mod test;
mod test_counts;
mod wasm_tests;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fedra_harness::process;

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
    /// Build the WASM module, the npm package and the demo page.
    Dist(dist::Options),
    /// Build the documentation as a site, with the references of the package and the crates.
    Docs(docs::Options),
    /// Measure local training and the fold; with a name, privacy's cost.
    #[command(disable_help_flag = true)]
    Bench(system_tests::Options),
    /// Kill and freeze clients and aggregator: is anything lost or counted twice?
    #[command(disable_help_flag = true)]
    Chaos(system_tests::Options),
    /// Hold thousands of idle connections beside clients that train.
    #[command(disable_help_flag = true)]
    Load(system_tests::Options),
    /// Attack the aggregator: does its memory stay bounded, do rounds go on?
    #[command(disable_help_flag = true)]
    Hostile(system_tests::Options),
    /// Feed malformed and hostile input to every decoder and machine.
    Fuzz(fuzz::Options),
    /// Do a study: the table and the chart of a paper's figures beside Fedra's.
    Reproduce(reproduce::Options),
    /// Replay one simulated history of faults, or run thousands of them.
    SimulateFaults(simulate::Options),
}

fn main() -> ExitCode {
    process::exit_code(run(Cli::parse().command))
}

fn run(command: Command) -> anyhow::Result<()> {
    process::catch_signals()?;
    match command {
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Dist(options) => dist::run(&options),
        Command::Docs(options) => docs::run(&options),
        Command::Bench(options) => system_tests::run("bench", &options),
        Command::Chaos(options) => system_tests::run("chaos", &options),
        Command::Load(options) => system_tests::run("load", &options),
        Command::Hostile(options) => system_tests::run("hostile", &options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Reproduce(options) => reproduce::run(&options),
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
    fn options_of_a_system_test_are_passed_on_whatever_they_are() {
        for (line, wanted) in [
            ("chaos", &[][..]),
            ("load --idle 10 --tls", &["--idle", "10", "--tls"]),
            ("bench privacy --help", &["privacy", "--help"]),
            ("hostile --help", &["--help"]),
        ] {
            let cli = Cli::try_parse_from(format!("xtask {line}").split(' ')).unwrap();
            let (Command::Bench(options)
            | Command::Chaos(options)
            | Command::Load(options)
            | Command::Hostile(options)) = cli.command
            else {
                panic!("{line}");
            };
            assert_eq!(options.arguments(), wanted, "{line}");
        }
    }
}
