//! `fedra-aggregator check`: every mistake in a config, before a server starts.

use std::path::Path;
use std::process::ExitCode;

use fedra_aggregator::config::{Config, Mistake, Mistakes, stray_variables};
use fedra_aggregator::evaluation;

use super::USAGE;

/// Explains the mistakes, or sums the config up.
pub fn check(path: &Path) -> ExitCode {
    for warning in stray_variables() {
        eprintln!("warning: {warning}");
    }
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(mistakes) => return explain(&mistakes),
    };
    let mut mistakes = Vec::new();
    for task in &config.tasks {
        let Some(held_out) = &task.evaluation else { continue };
        if let Err(error) = evaluation::load(held_out, &task.settings.model) {
            let path = format!("task[{}].evaluation", task.settings.id);
            mistakes.push(Mistake { path, problem: error.to_string() });
        }
    }
    if !mistakes.is_empty() {
        return explain(&Mistakes(mistakes));
    }
    print!("{}", config.summary());
    ExitCode::SUCCESS
}

/// Prints the mistakes; the exit status says that there are some.
pub fn explain(mistakes: &Mistakes) -> ExitCode {
    eprintln!("{mistakes}");
    ExitCode::from(USAGE)
}
