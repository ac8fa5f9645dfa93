//! `cargo xtask bench`: local training and the fold; `bench privacy`: what
//! protecting an update costs; `bench accuracy`: what privacy leaves of the
//! accuracy.
//!
//! Measures nothing itself: it builds and runs the programs that do, and lays
//! out what they print.

mod accuracy;
mod privacy;
mod training;

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
        Some(What::Privacy(options)) => privacy::run(options),
        Some(What::Accuracy(options)) => accuracy::run(options),
    }
}

/// Builds what the browser loads, as these options of `cargo xtask dist` say.
fn dist(options: &[&str]) -> Result<()> {
    process::run(project::cargo().args(["xtask", "dist"]).args(options))
}

/// Builds the WASM module, and runs the benchmark in Chromium.
fn in_browser(arguments: &[String]) -> Result<Vec<Value>> {
    npm::packages(&project::web())?;
    let chromium = browser::chromium()?;
    dist(&["--module-only"])?;
    status::step("In the browser");
    let mut command = Command::new("node");
    command
        .current_dir(project::root().join("wasm-tests/bench"))
        .arg("run.mjs")
        .args(arguments)
        .env("CHROME", chromium);
    rows(&mut command)
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
