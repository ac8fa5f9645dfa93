//! `fedra-simulate`: runs an experiment from its file.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use clap::{Args, Parser, Subcommand};
use fedra_coordinator::storage::Storage;
use fedra_experiments::report::{self, Header, ReportError, Row, Rows};
use fedra_experiments::{Experiment, ExperimentError, study};

/// Folder of the task's store, in that of the results.
const STORE: &str = "store";

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
    let earlier = prepare(&out, &header, options)?;
    let begun = Instant::now();
    let mut rows = Rows::begin(&out.join(report::ROUNDS), &header, earlier)?;
    let storage = match options.resume {
        false => Storage::in_memory(),
        true => {
            let storage = fedra_aggregator::storage::open(&out.join(STORE))?;
            rows.fill(&storage, &experiment.task.settings.id)?;
            storage
        }
    };
    let mut written = Ok(());
    let outcome = experiment.run(&storage, |round| {
        let row = match rows.add(round) {
            Ok(row) => row,
            Err(error) => {
                written = Err(error);
                return ControlFlow::Break(());
            }
        };
        let metric =
            row.metric.map_or_else(String::new, |value| format!("  {}", report::figure(value)));
        eprintln!(
            "round {:>5}{metric}  {:>9.2} MB  {:>9.1} s",
            round.record.round,
            row.bytes() as f64 / 1e6,
            row.seconds
        );
        ControlFlow::Continue(())
    })?;
    written?;
    rows.complete(&storage, &experiment)?;
    report::write(&out, &header, &rows, &outcome, begun.elapsed())?;
    println!("{}", out.join(report::PAGE).display());
    Ok(())
}

/// Makes the folder of the results ready. Returns the rounds of an earlier run that is to be
/// resumed.
fn prepare(out: &Path, header: &Header, options: &Run) -> anyhow::Result<Vec<Row>> {
    let (rounds, store) = (out.join(report::ROUNDS), out.join(STORE));
    let folder = out.display();
    fs::create_dir_all(out).with_context(|| format!("cannot make the folder {folder}"))?;
    if options.overwrite {
        for (path, is_there) in [(&rounds, rounds.exists()), (&store, store.exists())] {
            let removed = match (is_there, path.is_dir()) {
                (false, _) => Ok(()),
                (true, true) => fs::remove_dir_all(path),
                (true, false) => fs::remove_file(path),
            };
            removed.with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    match (rounds.exists(), store.exists(), options.resume) {
        (true, true, false) => bail!(
            "{folder} has the results of an earlier run; go on with it by --resume, replace them \
             with --overwrite, or choose another folder with --out"
        ),
        (true, false, false) => bail!(
            "{folder} has the results of an earlier run; replace them with --overwrite, or choose \
             another folder with --out"
        ),
        (false, true, _) => bail!(
            "{folder} has a store without its rounds.csv, which says of which experiment it is; \
             remove it with --overwrite, or choose another folder with --out"
        ),
        (true, has_store, true) => {
            let earlier = report::earlier(&rounds, header)?;
            if !has_store && !earlier.is_empty() {
                bail!(ReportError::NotStored(rounds.display().to_string()));
            }
            Ok(earlier)
        }
        (false, false, _) => Ok(Vec::new()),
    }
}
