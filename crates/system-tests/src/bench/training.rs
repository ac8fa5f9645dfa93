//! `cargo xtask bench`: samples a second of local training, native, in WASM on
//! the CPU and on WebGPU, and the bandwidth of the aggregator's fold.

use std::process::Command;

use anyhow::Result;
use clap::Args;
use fedra_harness::{process, project, status};
use serde_json::Value;

use super::{in_browser, program, rows};

#[derive(Args)]
pub struct Options {
    /// Leave out the browser.
    #[arg(long)]
    native_only: bool,
}

const CASES: [(&str, u64); 4] =
    [("mnist-2nn", 10), ("mnist-2nn", 32), ("mnist-cnn", 10), ("mnist-cnn", 32)];

pub fn run(options: &Options) -> Result<()> {
    let browser = if options.native_only { Vec::new() } else { in_browser(&[])? };

    status::step("Building the programs");
    // The demo's build: its dependencies, where training happens, are optimised.
    process::run(&mut project::build_programs())?;
    status::step("Local training, native");
    let mut command = Command::new(project::program("fedra-edge"));
    let native = rows(command.args(["bench", "--json"]))?;

    status::step("Folding updates");
    let folds = rows(&mut program("fold_bandwidth"))?;

    println!();
    for line in training_table(&native, &browser) {
        println!("{line}");
    }
    println!();
    for line in fold_table(&folds) {
        println!("{line}");
    }
    Ok(())
}

fn training_table(native: &[Value], browser: &[Value]) -> Vec<String> {
    let mut lines = vec![
        "Local training, samples/s (WebGPU with kernels dispatched and time a step)".to_owned(),
        format!(
            "{:<10}{:>6}{:>10}{:>10}{:>10}{:>12}{:>10}",
            "model", "batch", "native", "wasm cpu", "webgpu", "dispatches", "ms/step"
        ),
    ];
    for (model, batch) in CASES {
        let find = |rows: &[Value], backend: &str, key: &str, digits: usize| {
            let found = rows.iter().find(|row| {
                row["model"] == model
                    && row["batch"] == batch
                    && row["backend"]
                        .as_str()
                        .is_some_and(|name| name.eq_ignore_ascii_case(backend))
            });
            found
                .and_then(|row| row[key].as_f64())
                .map_or("-".to_owned(), |value| format!("{value:.digits$}"))
        };
        lines.push(format!(
            "{model:<10}{batch:>6}{:>10}{:>10}{:>10}{:>12}{:>10}",
            find(native, "cpu", "samplesPerSecond", 0),
            find(browser, "cpu", "samplesPerSecond", 0),
            find(browser, "webgpu", "samplesPerSecond", 1),
            find(browser, "webgpu", "dispatches", 0),
            find(browser, "webgpu", "millisecondsPerStep", 1),
        ));
    }
    lines
}

fn fold_table(rows: &[Value]) -> Vec<String> {
    let mut lines = vec![
        "The fold, GB of updates a second (wide: in 128 bits, for a range above 64; the plain \
         loop adds integers in the memory of the narrow one)"
            .to_owned(),
        format!("{:<12}{:>8}{:>8}{:>8}{:>12}", "parameters", "check", "fold", "wide", "plain loop"),
    ];
    for row in rows {
        let number =
            |key: &str| row[key].as_f64().map_or("-".to_owned(), |value| format!("{value:.2}"));
        lines.push(format!(
            "{:<12}{:>8}{:>8}{:>8}{:>12}",
            row["parameters"].to_string(),
            number("check"),
            number("fold"),
            number("wide"),
            number("plain")
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_not_measured_is_a_dash() {
        let native = [json!({
            "model": "mnist-2nn", "batch": 10, "backend": "CPU", "samplesPerSecond": 9876.4,
        })];
        let table = training_table(&native, &[]);
        assert_eq!(
            table[2],
            "mnist-2nn     10      9876         -         -           -         -"
        );
        assert_eq!(table.len(), 2 + CASES.len());
    }

    #[test]
    fn a_fold_is_a_row() {
        let rows =
            [json!({"parameters": 199_210, "check": 9.0, "fold": 1.5, "wide": 0.75, "plain": 2.0})];
        assert_eq!(fold_table(&rows)[2], "199210          9.00    1.50    0.75        2.00");
    }
}
