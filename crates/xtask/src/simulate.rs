//! `cargo xtask simulate-faults`: one history of the simulation told step by step, or
//! thousands of them.
//!
//! The histories are tests of `fedra-simulation`; this only says which seed is to run.
//! `--bug` puts a bug in on purpose: then the run has to fail.

use anyhow::Result;
use clap::{Args, ValueEnum};
use fedra_harness::{process, project, status};

use crate::test::NO_TOOLS;

#[derive(Args)]
pub struct Options {
    /// The seed of one history, which is told step by step.
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// Run this number of histories.
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// A bug to put in.
    #[arg(long, value_enum, requires = "seed")]
    bug: Option<Bug>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Bug {
    /// An update that is announced again after its verdict counts again.
    DoubleCount,
    /// A round is announced before it is durable.
    EarlyAnnouncement,
}

impl Bug {
    fn name(self) -> &'static str {
        match self {
            Self::DoubleCount => "double-count",
            Self::EarlyAnnouncement => "early-announcement",
        }
    }
}

pub fn run(options: &Options) -> Result<()> {
    let mut command = project::cargo();
    // The selection of `cargo xtask test host`: one build for both.
    command.args(["test", "--quiet", "--workspace"]).args(NO_TOOLS).args(["--lib", "--"]);
    command.args(["--exact", "--nocapture"]);
    match options.seed {
        Some(seed) => {
            status::step(&format!("Replaying the history of seed {seed}"));
            command.args(["--ignored", "histories::replay"]);
            command.env("FEDRA_SIMULATION_SEED", seed.to_string());
            if let Some(bug) = options.bug {
                command.env("FEDRA_SIMULATION_BUG", bug.name());
            }
        }
        None => {
            let Options { seeds, first, .. } = options;
            status::step(&format!("{seeds} histories from seed {first} on"));
            command.arg("histories::no_history_breaks_a_promise");
            command.env("FEDRA_SIMULATION_SEEDS", seeds.to_string());
            command.env("FEDRA_SIMULATION_FIRST", first.to_string());
        }
    }
    process::run(&mut command)
}
