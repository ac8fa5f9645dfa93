//! `fedra-aggregator check`: every mistake in a config, before a server starts.

use std::path::Path;
use std::process::ExitCode;

use fedra_aggregator::config::{Config, Mistake, Mistakes, stray_variables};
use fedra_aggregator::{evaluation, initial};

use super::sample::SampleOptions;
use super::{USAGE, finish};

/// Explains the mistakes, or sums the config up and shows a sample.
pub fn check(path: &Path, sample: &SampleOptions) -> ExitCode {
    for warning in stray_variables() {
        eprintln!("warning: {warning}");
    }
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(mistakes) => return explain(&mistakes),
    };
    let mut mistakes = Vec::new();
    for task in &config.tasks {
        let read = task.initial.as_ref().map(|file| initial::load(&task.settings.model, file));
        if let Some(Err(error)) = read {
            let path = format!("task[{}].initial", task.settings.id);
            mistakes.push(Mistake { path, problem: error.to_string() });
        }
        if let Err(error) = evaluation::load(task) {
            let path = format!("task[{}].evaluation", task.settings.id);
            mistakes.push(Mistake { path, problem: error.to_string() });
        }
    }
    if !mistakes.is_empty() {
        return explain(&Mistakes(mistakes));
    }
    let sample = sample.show(&config);
    finish(sample.map(|sample| config.summary() + &sample.unwrap_or_default()))
}

/// Prints the mistakes; the exit status says that there are some.
pub fn explain(mistakes: &Mistakes) -> ExitCode {
    eprintln!("{mistakes}");
    ExitCode::from(USAGE)
}
