//! `cargo xtask bench`: samples a second of local training, native, in WASM on the CPU
//! and on WebGPU, beside peers where there are any; what a first step takes; and the
//! bandwidth of the aggregator's fold.

use std::process::Command;

use anyhow::Result;
use clap::Args;
use fedra_harness::status;
use serde_json::Value;

use super::limit::{Limit, beside, median, shown};
use super::peers::{self, Peer};
use super::{Browser, Build, program, rows};

#[derive(Args)]
pub struct Options {
    /// Leave out the browser.
    #[arg(long)]
    native_only: bool,
    /// Train on a GPU natively, too.
    #[arg(long)]
    gpu: bool,
    #[command(flatten)]
    build: Build,
    #[command(flatten)]
    peers: peers::Options,
}

const CASES: [(&str, u64); 4] =
    [("mnist-2nn", 10), ("mnist-2nn", 32), ("mnist-cnn", 10), ("mnist-cnn", 32)];

/// Program and device that train.
struct Place {
    name: &'static str,
    in_browser: bool,
    backend: &'static str,
    /// Peer that does the same there.
    peer: &'static str,
    /// Least ratio to the peer's samples a second, of each case.
    ratios: [Option<f64>; CASES.len()],
}

const NATIVE: Place = Place {
    name: "native",
    in_browser: false,
    backend: "cpu",
    peer: "pytorch",
    ratios: [Some(1.3), Some(1.4), Some(1.4), Some(1.3)],
};
const NATIVE_GPU: Place = Place {
    name: "native gpu",
    in_browser: false,
    backend: "webgpu",
    peer: "pytorch-cuda",
    ratios: [None; CASES.len()],
};
const WASM_CPU: Place = Place {
    name: "wasm cpu",
    in_browser: true,
    backend: "cpu",
    peer: "onnxruntime-web",
    ratios: [Some(2.5), Some(1.8), Some(1.7), Some(1.5)],
};
const WEBGPU: Place = Place {
    name: "webgpu",
    in_browser: true,
    backend: "webgpu",
    peer: "jax-js",
    ratios: [Some(2.0), None, Some(2.0), None],
};

/// Most dispatches of a step on WebGPU.
fn dispatches_limit(model: &str) -> Limit {
    Limit::AtMost(if model == "mnist-2nn" { 8.0 } else { 14.0 })
}

/// Longest first step on WebGPU, in milliseconds, on an adapter in software.
fn first_step_limit(model: &str) -> Limit {
    Limit::AtMost(if model == "mnist-2nn" { 1000.0 } else { 3000.0 })
}

/// Least bandwidth of the fold beside a plain loop's.
const FOLD: Limit = Limit::AtLeast(0.7);

pub fn run(options: &Options) -> Result<()> {
    let browser = if options.native_only { None } else { Some(Browser::prepare()?) };
    let edge = options.build.programs()?.join("fedra-edge");
    let mut measured = Vec::new();
    for place in [&NATIVE, &NATIVE_GPU, &WASM_CPU, &WEBGPU] {
        let wanted = if place.in_browser {
            browser.is_some()
        } else {
            place.backend == "cpu" || options.gpu
        };
        if wanted {
            measured.push(Measured::new(place, options.peers.find(place.peer)?));
        }
    }
    let rounds = options.peers.rounds();
    for round in 1..=rounds {
        for measured in &mut measured {
            let Place { name, in_browser, backend, .. } = measured.place;
            status::step(&format!("Local training, {name}, round {round} of {rounds}"));
            let ours = match &browser {
                Some(browser) if *in_browser => browser.measure(&[backend])?,
                _ => {
                    let mut command = Command::new(&edge);
                    rows(command.args(["bench", "--json", "--backend", backend]))?
                }
            };
            measured.ours.extend(ours);
            measured.measure_peer()?;
        }
    }
    status::step("Folding updates");
    let folds = rows(&mut program("fold_bandwidth"))?;

    for table in [training_table(&measured, rounds), start_table(&measured), fold_table(&folds)] {
        println!();
        for line in table {
            println!("{line}");
        }
    }
    Ok(())
}

/// Rows of all rounds in one place.
struct Measured {
    place: &'static Place,
    peer: Option<Peer>,
    ours: Vec<Value>,
    peers: Vec<Value>,
}

impl Measured {
    fn new(place: &'static Place, peer: Option<Peer>) -> Self {
        Self { place, peer, ours: Vec::new(), peers: Vec::new() }
    }

    fn measure_peer(&mut self) -> Result<()> {
        let Some(peer) = &self.peer else {
            return Ok(());
        };
        for (model, batch) in CASES {
            let is_row = |row: &Value| {
                row["model"] == model
                    && row["batch"] == batch
                    && row["samplesPerSecond"].as_f64().is_some_and(|speed| speed > 0.0)
            };
            self.peers.extend(peer.measure(&[model, &batch.to_string()], is_row)?);
        }
        Ok(())
    }
}

/// The median of `key` in the rows of a case.
fn figure(rows: &[Value], (model, batch): (&str, u64), key: &str) -> Option<f64> {
    let of_case = rows.iter().filter(|row| row["model"] == model && row["batch"] == batch);
    median(of_case.filter_map(|row| row[key].as_f64()).collect())
}

fn training_table(measured: &[Measured], rounds: u32) -> Vec<String> {
    let line = |place: &str, model: &str, batch: &str, cells: [&str; 6]| {
        let [speed, time, peer, peers, ratio, wanted] = cells;
        format!(
            "{place:<12}{model:<10}{batch:>6}{speed:>11}{time:>10}  {peer:<16}{peers:>10}\
             {ratio:>8}   {wanted}"
        )
    };
    let head = ["samples/s", "ms/step", "peer", "samples/s", "ratio", "wanted"];
    let mut lines = vec![
        format!("Local training, medians, rounds: {rounds}"),
        line("where", "model", "batch", head),
    ];
    for Measured { place, ours, peers, .. } in measured {
        for (case, least) in CASES.into_iter().zip(place.ratios) {
            let speed = figure(ours, case, "samplesPerSecond");
            let time = figure(ours, case, "millisecondsPerStep");
            let peer = figure(peers, case, "samplesPerSecond");
            let ratio = speed.zip(peer).map(|(speed, peer)| speed / peer);
            let cells = [
                &shown(speed, 1),
                &shown(time, 2),
                place.peer,
                &shown(peer, 1),
                &shown(ratio, 2),
                &*beside(least.map(Limit::AtLeast), ratio),
            ];
            lines.push(line(place.name, case.0, &case.1.to_string(), cells));
        }
    }
    lines
}

fn start_table(measured: &[Measured]) -> Vec<String> {
    let line = |place: &str, model: &str, batch: &str, cells: [&str; 6]| {
        let [start, device, first, first_wanted, dispatches, wanted] = cells;
        format!(
            "{place:<12}{model:<10}{batch:>6}{start:>8}{device:>8}{first:>12}   \
             {first_wanted:<16}{dispatches:>10}   {wanted}"
        )
    };
    let head = ["module", "device", "first step", "wanted", "dispatches", "wanted"];
    let mut lines = vec![
        "Start, milliseconds, and dispatches of a step (in a fresh browser: the module \
         fetched and compiled, the GPU's device made, the first step)"
            .to_owned(),
        line("where", "model", "batch", head),
    ];
    for Measured { place, ours, .. } in measured {
        let on_webgpu = place.in_browser && place.backend == "webgpu";
        for case in CASES {
            let limit = |of: fn(&str) -> Limit| on_webgpu.then(|| of(case.0));
            let first = figure(ours, case, "firstStepMilliseconds");
            let dispatches = figure(ours, case, "dispatches");
            let cells = [
                &shown(figure(ours, case, "startMilliseconds"), 0),
                &shown(figure(ours, case, "deviceMilliseconds"), 0),
                &shown(first, 0),
                &beside(limit(first_step_limit), first),
                &shown(dispatches, 0),
                &*beside(limit(dispatches_limit), dispatches),
            ];
            lines.push(line(place.name, case.0, &case.1.to_string(), cells));
        }
    }
    lines
}

fn fold_table(rows: &[Value]) -> Vec<String> {
    let mut lines = vec![
        "The fold, GB of updates a second (wide: in 128 bits, for a range above 64; the plain \
         loop adds integers in the memory of the narrow one)"
            .to_owned(),
        format!(
            "{:<12}{:>8}{:>8}{:>8}{:>12}{:>14}   wanted",
            "parameters", "check", "fold", "wide", "plain loop", "fold / plain"
        ),
    ];
    for row in rows {
        let number = |key: &str| row[key].as_f64();
        let ratio = number("fold").zip(number("plain")).map(|(fold, plain)| fold / plain);
        lines.push(format!(
            "{:<12}{:>8}{:>8}{:>8}{:>12}{:>14}   {}",
            row["parameters"].to_string(),
            shown(number("check"), 2),
            shown(number("fold"), 2),
            shown(number("wide"), 2),
            shown(number("plain"), 2),
            shown(ratio, 2),
            FOLD.beside(ratio),
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn measured(place: &'static Place, ours: &[Value], peers: &[Value]) -> Measured {
        Measured { place, peer: None, ours: ours.to_vec(), peers: peers.to_vec() }
    }

    fn row(batch: u64, speed: f64) -> Value {
        json!({"model": "mnist-2nn", "batch": batch, "samplesPerSecond": speed})
    }

    fn cells(line: &str) -> Vec<&str> {
        line.split_whitespace().collect()
    }

    #[test]
    fn what_was_not_measured_is_a_dash() {
        let table = training_table(&[measured(&NATIVE, &[row(10, 9876.4)], &[])], 1);
        assert_eq!(table.len(), 2 + CASES.len());
        let first = ["native", "mnist-2nn", "10", "9876.4", "-", "pytorch", "-", "-", ">=", "1.3"];
        assert_eq!(cells(&table[2]), first);
        let last = ["native", "mnist-cnn", "32", "-", "-", "pytorch", "-", "-", ">=", "1.3"];
        assert_eq!(cells(&table[5]), last);
    }

    #[test]
    fn a_ratio_is_one_of_medians_and_stands_beside_what_is_wanted() {
        let ours = [row(10, 250.0), row(32, 90.0), row(10, 1.0), row(10, 260.0)];
        let peers = [row(10, 100.0), row(32, 90.0), row(10, 120.0), row(10, 90.0)];
        let table = training_table(&[measured(&WASM_CPU, &ours, &peers)], 3);
        assert!(
            table[2].ends_with("250.0         -  onnxruntime-web      100.0    2.50   >= 2.5 met")
        );
        assert!(table[3].ends_with("1.00   >= 1.8 MISSED"), "{}", table[3]);
        let table = training_table(&[measured(&WEBGPU, &ours, &peers)], 3);
        assert!(table[3].ends_with("1.00   -"), "{}", table[3]);
    }

    #[test]
    fn first_step_and_dispatches_have_limits_on_webgpu_in_the_browser_alone() {
        let ours = [json!({
            "model": "mnist-2nn", "batch": 10, "startMilliseconds": 120.4,
            "deviceMilliseconds": 20.0, "firstStepMilliseconds": 1001.0, "dispatches": 8,
        })];
        let table = start_table(&[measured(&WEBGPU, &ours, &[])]);
        let first = cells(&table[2]);
        let expected = ["120", "20", "1001", "<=", "1000", "MISSED", "8", "<=", "8", "met"];
        assert_eq!(first[3..], expected);
        for place in [&WASM_CPU, &NATIVE_GPU] {
            let table = start_table(&[measured(place, &ours, &[])]);
            assert!(table[2].trim_end().ends_with('-'), "{}", table[2]);
            assert!(!table[2].contains("<="), "{}", table[2]);
        }
    }

    #[test]
    fn a_fold_is_a_row() {
        let rows =
            [json!({"parameters": 199_210, "check": 9.0, "fold": 1.5, "wide": 0.75, "plain": 2.0})];
        let expected = ["199210", "9.00", "1.50", "0.75", "2.00", "0.75", ">=", "0.7", "met"];
        assert_eq!(cells(&fold_table(&rows)[2]), expected);
    }
}
