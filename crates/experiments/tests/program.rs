//! The program `fedra-simulate`: runs that are killed and resumed, folders with results, and
//! what it says of mistakes.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A regression with an error as its metric, whose rounds wait for their whole cohort.
const SOUND: &str = r#"
[simulation]
clients = 8
[data]
path = "table.csv"
partition = { kind = "quantity", alpha = 5.0 }
[task]
title = "A line"
rounds = 40
[task.model]
input = [1]
loss = "mean_squared_error"
layers = [{ type = "linear", outputs = 1 }]
[task.data]
kind = "table"
target = "y"
columns = [{ name = "x", type = "number" }, { name = "y", type = "number" }]
[task.training]
epochs = 20
learning_rate = 0.05
batch_size = 2
[task.round]
cohort_size = 4
minimum_cohort = 4
minimum_reports = 4
[task.evaluation]
data = "table.csv"
"#;

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let row = |index: u32| {
        let x = f64::from(index * 37 % 200) / 100.0 - 1.0;
        let noise = f64::from(index * 53 % 17) / 100.0;
        format!("{x},{}\n", 0.5 * x + noise)
    };
    let rows: String = (0..200).map(row).collect();
    fs::write(folder.path().join("table.csv"), format!("x,y\n{rows}")).unwrap();
    fs::write(folder.path().join("sim.toml"), SOUND).unwrap();
    folder
}

fn command(folder: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fedra-simulate"));
    command.args(arguments).current_dir(folder.path());
    command
}

fn simulate(folder: &TempDir, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

#[track_caller]
fn succeeds(folder: &TempDir, arguments: &[&str]) {
    let output = simulate(folder, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The last line of a program that fails.
#[track_caller]
fn fails(folder: &TempDir, arguments: &[&str]) -> String {
    let output = simulate(folder, arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap().trim().to_owned()
}

fn result(folder: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(folder.join("result.json")).unwrap()).unwrap()
}

/// Runs until so many rounds were told, and kills the program if it has not ended.
fn killed_after(folder: &TempDir, out: &str, rounds: usize) {
    let mut command = command(folder, &["run", "sim.toml", "--out", out, "--resume"]);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let told = BufReader::new(child.stderr.take().unwrap()).lines().take(rounds);
    assert!(told.map(Result::unwrap).all(|line| line.starts_with("round ")));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_run_that_is_killed_and_resumed_ends_with_the_same_model() {
    let folder = folder();
    succeeds(&folder, &["run", "sim.toml", "--out", "whole"]);
    let whole = result(&folder.path().join("whole"));
    killed_after(&folder, "parts", 3);
    killed_after(&folder, "parts", 5);
    // As if the last round had not been written, and the one before in part.
    let table = folder.path().join("parts/rounds.csv");
    let text = fs::read_to_string(&table).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let kept = lines.len() - 1;
    fs::write(&table, format!("{}\n{}", lines[..kept - 1].join("\n"), &lines[kept - 1][..4]))
        .unwrap();
    succeeds(&folder, &["run", "sim.toml", "--out", "parts", "--resume"]);
    let parts = result(&folder.path().join("parts"));
    for key in ["model", "rounds", "last", "best", "clients"] {
        assert_eq!(parts[key], whole[key], "{key}");
    }
    let column = |folder: &str, column: usize| -> Vec<String> {
        let text = fs::read_to_string(folder).unwrap();
        text.lines().skip(2).map(|line| line.split(',').nth(column).unwrap().to_owned()).collect()
    };
    let [path, other] = ["parts", "whole"].map(|of| folder.path().join(of).join("rounds.csv"));
    for place in [0, 2, 3, 4, 7, 8] {
        let [parts, whole] = [&path, &other].map(|path| column(&path.to_string_lossy(), place));
        assert_eq!(parts, whole, "column {place}: every round once, with its metric");
    }
    // A run that has ended is resumed without doing anything.
    succeeds(&folder, &["run", "sim.toml", "--out", "parts", "--resume"]);
    assert_eq!(result(&folder.path().join("parts"))["model"], whole["model"]);
}

#[test]
fn a_run_that_reached_its_target_is_not_trained_on() {
    let folder = folder();
    let text = SOUND.replace("clients = 8", "clients = 8\ntarget = 0.1");
    fs::write(folder.path().join("sim.toml"), text).unwrap();
    let out = ["run", "sim.toml", "--out", "out", "--resume"];
    succeeds(&folder, &out);
    let first = result(&folder.path().join("out"));
    assert!(
        first["reached"]["round"].as_u64().unwrap() < 40 && first["last"].as_f64() <= Some(0.1)
    );
    assert_eq!(first["metric"], "rmse");
    succeeds(&folder, &out);
    let again = result(&folder.path().join("out"));
    for key in ["model", "rounds", "reached", "last"] {
        assert_eq!(again[key], first[key], "{key}");
    }
    let page = fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(page.contains("less is better") && page.contains("root mean squared error over round"));
    assert!(page.contains("stroke-dasharray"), "the target is a line");
}

#[test]
fn results_are_not_lost_and_not_mixed() {
    let folder = folder();
    let text = SOUND.replace("rounds = 40", "rounds = 3");
    fs::write(folder.path().join("sim.toml"), &text).unwrap();
    succeeds(&folder, &["run", "sim.toml"]);
    let told = fails(&folder, &["run", "sim.toml"]);
    assert!(
        told.contains("has the results of an earlier run; replace them with --overwrite"),
        "{told}"
    );
    let told = fails(&folder, &["run", "sim.toml", "--resume"]);
    assert!(told.contains("of a run without --resume"), "{told}");
    succeeds(&folder, &["run", "sim.toml", "--overwrite", "--resume"]);
    let told = fails(&folder, &["run", "sim.toml"]);
    assert!(told.contains("go on with it by --resume"), "{told}");
    let told = fails(&folder, &["run", "sim.toml", "--resume", "--seed", "2"]);
    assert!(told.contains("another experiment or another seed; choose another folder"), "{told}");
    fs::write(folder.path().join("sim.toml"), text.replace("0.05", "0.06")).unwrap();
    let told = fails(&folder, &["run", "sim.toml", "--resume"]);
    assert!(told.contains("another experiment"), "{told}");
    fs::remove_file(folder.path().join("sim/rounds.csv")).unwrap();
    let told = fails(&folder, &["run", "sim.toml", "--resume"]);
    assert!(told.contains("a store without its rounds.csv"), "{told}");
    let told = fails(&folder, &["run", "sim.toml"]);
    assert!(told.contains("replace them with --overwrite"), "{told}");
}

#[test]
fn each_mistake_is_one_sentence_with_a_remedy() {
    let folder = folder();
    let told = fails(&folder, &["check", "sin.toml"]);
    assert!(told.contains("cannot read sin.toml: No such file"), "{told}");
    for (from, to, expected) in [
        ("clients = 8", "client = 8", "sim.toml: line 3: unknown field `client`, expected"),
        ("clients = 8", "clients = many", "sim.toml: line 3: "),
        (
            "clients = 8",
            "clients = 300",
            "300 clients cannot share 200 examples; lower simulation.clients",
        ),
        (
            "clients = 8",
            "clients = 100",
            "none of 1000 draws gave each of 100 clients 10 of 200 examples",
        ),
        (
            "clients = 8",
            "clients = 8\nthreads = 0",
            "simulation.evaluate_every and threads must be",
        ),
        (
            "path = \"table.csv\"",
            "path = \"tables.csv\"",
            "tables.csv: cannot be read: No such file",
        ),
        ("\"quantity\", alpha = 5.0", "\"shards\", per_client = 2", "use \"iid\" or \"quantity\""),
        (
            "kind = \"quantity\", alpha = 5.0",
            "kind = \"files\"",
            "table.csv: cannot be read: it is a file; give a folder",
        ),
        (
            "kind = \"quantity\", alpha = 5.0",
            "kind = \"column\", column = \"xy\"",
            "data.partition.column: table.csv, line 1",
        ),
        (
            "[task]",
            "[devices]\nlatency = \"soon\"\n[task]",
            "\"soon\" is not a duration; write one such as \"90s\"",
        ),
        ("\"quantity\"", "\"quantities\"", "unknown variant `quantities`"),
        (
            "learning_rate",
            "learning_rat",
            "learning_rat: unknown key; did you mean `learning_rate`?",
        ),
        ("[task.evaluation]\ndata = \"table.csv\"", "", "checked"),
    ] {
        let text = SOUND.replace(from, to);
        fs::write(folder.path().join("wrong.toml"), &text).unwrap();
        if expected == "checked" {
            succeeds(&folder, &["check", "wrong.toml"]);
            let text = text.replace("clients = 8", "clients = 8\ntarget = 0.1");
            fs::write(folder.path().join("wrong.toml"), text).unwrap();
            let told = fails(&folder, &["check", "wrong.toml"]);
            assert!(told.contains("simulation.target needs [task.evaluation]"), "{told}");
            continue;
        }
        let told = fails(&folder, &["check", "wrong.toml"]);
        assert!(told.replace("wrong", "sim").contains(expected), "{told}\n{expected}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}
