//! `fedra-simulate`: runs an experiment from its file.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::{Args, Parser, Subcommand};
use fedra_experiments::report::{self, Header};
use fedra_experiments::{Experiment, ExperimentError, Keep, study};

/// Experiments of federated learning on one machine, with the code that runs in production.
#[derive(Parser)]
#[command(name = "fedra-simulate", version)]
struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Runs an experiment. Writes rounds.csv, result.json and report.html.
    Run(Run),
    /// Does a study: an experiment in some variants and with some seeds. Writes a page and a
    /// chart.
    Study(Study),
    /// Reads an experiment's file and data, and says what it would do.
    Check {
        /// The experiment's file.
        file: PathBuf,
    },
}

#[derive(Args)]
struct Run {
    /// The experiment's file.
    file: PathBuf,
    /// Folder of the results; beside the file and named like it without this.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Seed in place of simulation.seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Threads in place of simulation.threads.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    threads: Option<u64>,
    /// Keeps the task's store in the folder, and goes on from it if it is there.
    #[arg(long)]
    resume: bool,
    /// Replaces the results and the store that the folder has.
    #[arg(long)]
    overwrite: bool,
}

#[derive(Args)]
struct Study {
    /// The study's file.
    file: PathBuf,
    /// Folder that paths in the file are relative to; the file's own without this.
    #[arg(long)]
    base: Option<PathBuf>,
    /// Folder of the page and its chart.
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// Folder of runs, which are not made again.
    #[arg(long, default_value = "studies")]
    kept: PathBuf,
    /// Checks every variant, and runs none.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let done = match Command::parse().action {
        Action::Run(options) => run(&options),
        Action::Study(options) => make(&options),
        Action::Check { file } => check(&file),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fedra-simulate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn make(options: &Study) -> anyhow::Result<()> {
    let Study { file, base, out, kept, check } = options;
    let own = file.parent().unwrap_or_else(|| Path::new(""));
    let base = base.as_deref().unwrap_or(own);
    if *check {
        println!("{} runs", study::check(file, base)?);
    } else {
        println!("{}", study::study(file, base, kept, out)?.display());
    }
    Ok(())
}

fn check(file: &Path) -> anyhow::Result<()> {
    let experiment = load(file)?;
    let examples = experiment.examples()?;
    let shares = experiment.shares(&examples)?;
    let sizes = shares.iter().map(|share| share.examples.len());
    let (fewest, most) = (sizes.clone().min().unwrap_or(0), sizes.clone().max().unwrap_or(0));
    let settings = &experiment.task.settings;
    println!(
        "{} clients share {} of {} examples, {fewest} to {most} each; the model has {} parameters; \
         an update has {} bytes",
        shares.len(),
        sizes.sum::<usize>(),
        examples.all.len(),
        settings.model.parameters(),
        settings.codec.bounds().bytes,
    );
    Ok(())
}

/// The experiment of a file, which an error names.
fn load(file: &Path) -> anyhow::Result<Experiment> {
    Experiment::load(file).map_err(|error| match error {
        ExperimentError::File { .. } | ExperimentError::Trace(_) => error.into(),
        error => anyhow!("{}: {error}", file.display()),
    })
}

fn run(options: &Run) -> anyhow::Result<()> {
    let mut experiment = load(&options.file)?;
    let simulation = &mut experiment.simulation;
    simulation.seed = options.seed.unwrap_or(simulation.seed);
    simulation.threads = options.threads.map(|of| of as usize).or(simulation.threads);
    let out = options.out.clone().unwrap_or_else(|| options.file.with_extension(""));
    let text = fs::read_to_string(&options.file)?;
    let header = Header::of(&experiment, &text);
    prepare(&out, options)?;
    let keep = if options.resume { Keep::Store(&out) } else { Keep::Results(&out) };
    experiment.record(&header, keep, |row| {
        let metric =
            row.metric.map_or_else(String::new, |value| format!("  {}", report::figure(value)));
        eprintln!(
            "round {:>5}{metric}  {:>9.2} MB  {:>9.1} s",
            row.round,
            row.bytes() as f64 / 1e6,
            row.seconds
        );
        ControlFlow::Continue(())
    })?;
    println!("{}", out.join(report::PAGE).display());
    Ok(())
}

/// Removes earlier results, or refuses a folder that has some.
fn prepare(out: &Path, options: &Run) -> anyhow::Result<()> {
    let (rounds, store) = (out.join(report::ROUNDS), out.join(report::STORE));
    if options.overwrite {
        for path in [&rounds, &store].into_iter().filter(|path| path.exists()) {
            let removed =
                if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            removed.with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    let has = (rounds.exists(), store.exists());
    if options.resume || has == (false, false) {
        return Ok(());
    }
    let resume = if has == (true, true) { "go on with it by --resume, " } else { "" };
    bail!(
        "{} has the results of an earlier run; {resume}replace them with --overwrite, or choose \
         another folder with --out",
        out.display()
    )
}
