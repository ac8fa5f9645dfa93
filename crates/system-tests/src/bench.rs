//! `cargo xtask bench`: local training and the fold; `bench rounds`: seconds of a
//! round; `bench privacy`: what protecting an update costs; `bench accuracy`: what
//! privacy leaves of the accuracy.
//!
//! Measures nothing itself: it builds and runs the programs that do, and lays
//! out what they print.

mod accuracy;
mod limit;
mod peers;
mod privacy;
mod rounds;
mod training;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use fedra_harness::{browser, npm, process, project, status};
use serde_json::Value;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
#[group(id = "bench")]
pub struct Options {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    training: training::Options,
}

#[derive(Subcommand)]
enum What {
    /// Seconds of a round of ten of 100 native clients.
    Rounds(rounds::Options),
    /// Masks and noise: seconds of a client, native and in the browser, and of
    /// the server that takes the masks off.
    Privacy(privacy::Options),
    /// Accuracy and epsilon of a real aggregator and real clients, without privacy,
    /// with the server's noise and with every client's own.
    Accuracy(accuracy::Options),
}

pub fn run(options: &Options) -> Result<()> {
    match &options.what {
        None => training::run(&options.training),
        Some(What::Rounds(options)) => rounds::run(options),
        Some(What::Privacy(options)) => privacy::run(options),
        Some(What::Accuracy(options)) => accuracy::run(options),
    }
}

// A doc comment would become the help of the commands.
#[derive(Args)]
#[group(id = "build")]
struct Build {
    /// Measure the release build of the native programs, which is made first, instead
    /// of the demo's.
    #[arg(long)]
    release: bool,
}

impl Build {
    /// The folder of the aggregator and the native client, once they are built.
    fn programs(&self) -> Result<PathBuf> {
        status::step("Building the programs");
        let mut build = project::build_programs();
        // The demo's build: its dependencies, where training happens, are optimised.
        let mut folder = "debug";
        if self.release {
            build.arg("--release");
            folder = "release";
        }
        process::run(&mut build)?;
        Ok(project::target().join(folder))
    }
}

/// Builds what the browser loads, as these options of `cargo xtask dist` say.
fn dist(options: &[&str]) -> Result<()> {
    process::run(project::cargo().args(["xtask", "dist"]).args(options))
}

/// Chromium, and the WASM module for it.
struct Browser {
    chromium: PathBuf,
}

impl Browser {
    /// Builds the module.
    fn prepare() -> Result<Self> {
        npm::packages(&project::web())?;
        let chromium = browser::chromium()?;
        dist(&["--module-only"])?;
        Ok(Self { chromium })
    }

    /// Runs the benchmark.
    fn measure(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let mut command = Command::new("node");
        command
            .current_dir(project::root().join("wasm-tests/bench"))
            .arg("run.mjs")
            .args(arguments)
            .env("CHROME", &self.chromium);
        rows(&mut command)
    }
}

/// A program of `crates/benchmarks`, optimised; arguments come next.
fn program(name: &str) -> Command {
    let mut command = project::cargo();
    command.args(["run", "--release", "-p", "fedra-benchmarks", "--bin", name, "--"]);
    command
}

/// The JSON array that `command` prints as its last line.
fn rows(command: &mut Command) -> Result<Vec<Value>> {
    match last_line(command)? {
        Value::Array(rows) => Ok(rows),
        other => bail!("not an array: {other}"),
    }
}

/// The JSON that `command` prints as its last line.
fn last_line(command: &mut Command) -> Result<Value> {
    let finished = process::run_silently(command)?;
    if !finished.status.success() {
        bail!("the measurement failed ({})", finished.status);
    }
    let last = finished.stdout.lines().last().context("it printed nothing")?;
    serde_json::from_str(last).context("its last line is not JSON")
}
