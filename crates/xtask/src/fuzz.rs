//! `cargo xtask fuzz`: every target of `crates/fuzz` under libFuzzer for a bounded
//! time, on the stable toolchain.
//!
//! Inputs that reach new code are kept in `target/fuzz`, and with `--keep` in the
//! repository. An input that a target fails on is written to `crates/fuzz/crashers`,
//! where the plain tests find it.

mod outcome;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use fedra_harness::process::{self, Service};
use fedra_harness::{project, status};

use crate::prerequisites;
use crate::test::NO_TOOLS;
use outcome::Outcome;

/// The targets that do without burn: alone they need no build of it.
const LIGHT: [&str; 11] = [
    "client_message",
    "codec",
    "data",
    "encoded_update",
    "model_spec",
    "packing",
    "privacy_policy",
    "secure_client",
    "secure_server",
    "server_message",
    "update",
];
/// Longest time for one input, and most memory for a run.
const SLOWEST_SECONDS: u32 = 10;
const MOST_MEGABYTES: u32 = 2048;
const POLL: Duration = Duration::from_millis(50);

#[derive(Args)]
pub struct Options {
    /// Only these targets (the folders of crates/fuzz/corpus); all of them without a name.
    targets: Vec<String>,
    /// Time for each target.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Targets that run at a time; as many as there are processors without a number.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Add the inputs that reach new code to the corpus in the repository.
    #[arg(long)]
    keep: bool,
}

pub fn run(options: &Options) -> Result<()> {
    let targets = chosen(&options.targets)?;
    prerequisites::cpp_compiler()?;
    status::step("Building the targets with coverage");
    let engine = build(&targets)?;
    status::step(&format!("{} targets, {} s each", targets.len(), options.seconds));
    let outcomes = all(&engine, &targets, options)?;
    if options.keep {
        status::step("Adding to the corpus");
        for target in &targets {
            keep(&engine, target)?;
        }
    }
    report(&outcomes)
}

/// The targets named, or all of them, by name.
fn chosen(names: &[String]) -> Result<Vec<String>> {
    let known = known()?;
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        bail!("there is no target {unknown:?}; there are {}", known.join(", "));
    }
    Ok(known.into_iter().filter(|name| names.is_empty() || names.contains(name)).collect())
}

/// Every target has a folder in the corpus.
fn known() -> Result<Vec<String>> {
    let corpus = folder("corpus");
    let entries =
        fs::read_dir(&corpus).with_context(|| format!("cannot read {}", corpus.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

fn folder(name: &str) -> PathBuf {
    project::root().join("crates/fuzz").join(name)
}

/// Folder that fuzzing keeps between runs.
fn cache() -> PathBuf {
    project::target().join("fuzz")
}

/// One program for all targets, from the development profile's dependencies: with
/// the selection of `cargo xtask test host` burn is built once for both.
fn build(targets: &[String]) -> Result<PathBuf> {
    let mut command = project::cargo();
    command.env("RUSTC_WORKSPACE_WRAPPER", folder("rustc-with-coverage")).arg("build");
    if targets.iter().all(|target| LIGHT.contains(&target.as_str())) {
        command.args(["-p", "fedra-fuzz", "--no-default-features"]);
    } else {
        command.arg("--workspace").args(NO_TOOLS);
    }
    process::run(command.args(["--features", "fedra-fuzz/engine", "--example", "fuzz"]))?;
    // Another build of the example must not replace it while it runs.
    let engine = cache().join("engine");
    fs::create_dir_all(cache())?;
    fs::copy(project::target().join("debug/examples/fuzz"), &engine)
        .with_context(|| format!("cannot write {}", engine.display()))?;
    Ok(engine)
}

/// Runs the targets, some at a time, and waits for all of them.
fn all(engine: &Path, targets: &[String], options: &Options) -> Result<Vec<Outcome>> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let jobs = options.jobs.map_or(processors, usize::from);
    let (mut running, mut outcomes) = (Vec::new(), Vec::new());
    let mut waiting = targets.iter();
    loop {
        while running.len() < jobs
            && let Some(target) = waiting.next()
        {
            running.push(Run::start(engine, target, options.seconds)?);
        }
        if running.is_empty() {
            outcomes.sort_unstable_by(|a: &Outcome, b| a.target.cmp(&b.target));
            return Ok(outcomes);
        }
        process::pause(POLL)?;
        let mut index = 0;
        while index < running.len() {
            match running[index].outcome()? {
                Some(outcome) => {
                    running.swap_remove(index);
                    outcomes.push(outcome);
                }
                None => index += 1,
            }
        }
    }
}

/// A target that is being fuzzed.
struct Run {
    target: String,
    service: Service,
    log: PathBuf,
    started: Instant,
}

impl Run {
    fn start(engine: &Path, target: &str, seconds: u64) -> Result<Self> {
        let log = cache().join(format!("{target}.log"));
        let found = found(target)?;
        let crashers = folder("crashers").join(target);
        fs::create_dir_all(&crashers)?;
        let mut command = libfuzzer(engine, target);
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-timeout={SLOWEST_SECONDS}"))
            .arg(format!("-rss_limit_mb={MOST_MEGABYTES}"))
            .arg(format!("-artifact_prefix={}/", process::shown(&crashers)))
            .arg("-print_final_stats=1");
        let dictionary = folder("dictionaries").join(target);
        if dictionary.is_file() {
            command.arg(format!("-dict={}", process::shown(&dictionary)));
        }
        // The first folder is where new inputs go.
        command.args([found, folder("corpus").join(target), crashers].map(|f| process::shown(&f)));
        let service = Service::start("the target", &mut command, &log)?;
        Ok(Self { target: target.to_owned(), service, log, started: Instant::now() })
    }

    /// Outcome of the run, once it has ended.
    fn outcome(&mut self) -> Result<Option<Outcome>> {
        let failure = match self.service.has_ended() {
            Ok(false) => return Ok(None),
            Ok(true) => None,
            Err(_) if process::interrupted() => bail!("interrupted"),
            Err(error) => Some(error.to_string()),
        };
        // Left over if nothing failed; a folder with files stays.
        let _ = fs::remove_dir(folder("crashers").join(&self.target));
        let log = fs::read(&self.log).with_context(|| format!("no {}", self.log.display()))?;
        let log = String::from_utf8_lossy(&log);
        Ok(Some(Outcome::read(&self.target, &log, self.started.elapsed(), failure)))
    }
}

fn libfuzzer(engine: &Path, target: &str) -> Command {
    let mut command = Command::new(engine);
    command.current_dir(project::root()).env("FEDRA_FUZZ_TARGET", target);
    command
}

/// The folder of inputs that earlier runs have found.
fn found(target: &str) -> Result<PathBuf> {
    let found = cache().join("found").join(target);
    fs::create_dir_all(&found).with_context(|| format!("cannot write {}", found.display()))?;
    Ok(found)
}

/// Copies the inputs that reach code which the corpus does not into it.
fn keep(engine: &Path, target: &str) -> Result<()> {
    let mut command = libfuzzer(engine, target);
    // Each edge once, however often it is passed: the corpus stays small.
    command.args(["-set_cover_merge=1", "-use_counters=0"]);
    command.args([folder("corpus").join(target), found(target)?].map(|f| process::shown(&f)));
    let log = cache().join(format!("{target}.keep.log"));
    let mut service = Service::start("the merge", &mut command, &log)?;
    while !service.has_ended()? {
        process::pause(POLL)?;
    }
    Ok(())
}

/// Prints a row for each target and the sum as the last line.
fn report(outcomes: &[Outcome]) -> Result<()> {
    println!("\n{}", outcome::HEADER);
    for outcome in outcomes {
        println!("{outcome}");
    }
    let failed: Vec<&Outcome> =
        outcomes.iter().filter(|outcome| outcome.failure.is_some()).collect();
    for outcome in &failed {
        let failure = outcome.failure.as_deref().unwrap_or_default();
        println!("\n{}: {failure}", outcome.target);
    }
    let runs: u64 = outcomes.iter().map(|outcome| outcome.runs).sum();
    println!("\nfuzz: {} targets, {runs} runs, {} failed", outcomes.len(), failed.len());
    if !failed.is_empty() {
        // The reason is on the screen already, and the sum closes it.
        std::process::exit(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_light_targets_are_targets() {
        let known = known().unwrap();
        assert!(LIGHT.iter().all(|name| known.iter().any(|known| known == name)), "{known:?}");
        assert!(known.len() > LIGHT.len());
    }

    #[test]
    fn targets_are_chosen_by_name() {
        let all = chosen(&[]).unwrap();
        assert!(all.is_sorted() && all.len() > LIGHT.len());
        let two = ["update".to_owned(), "config".to_owned()];
        assert_eq!(chosen(&two).unwrap(), ["config", "update"]);
        let error = chosen(&["nonsense".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("nonsense") && error.contains("client_message"), "{error}");
    }
}
