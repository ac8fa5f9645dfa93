//! Experiments and studies that the repository shows: each can be read.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use fedra_experiments::{Experiment, study};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(root().join(folder)).unwrap();
    let files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    assert!(!files.is_empty(), "{folder}");
    files
}

#[test]
fn experiments_are_sound() {
    for file in files("examples/experiments") {
        Experiment::load(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

#[test]
fn studies_are_sound() {
    for file in files("examples/studies") {
        let runs = study::check(&file, &root());
        let runs = runs.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(runs > 1, "{}", file.display());
    }
}

#[test]
fn runs_that_are_kept_are_not_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let rows: String = (0..40).map(|of| format!("{of},{}\n", of % 7)).collect();
    write("table.csv", &format!("x,y\n{rows}"));
    let study = r#"
title = "Rates"
seeds = [1, 2]
[base.simulation]
clients = 4
[base.data]
path = "table.csv"
partition = { kind = "iid" }
[base.task]
title = "A line"
rounds = 2
[base.task.model]
input = [1]
loss = "mean_squared_error"
layers = [{ type = "linear", outputs = 1 }]
[base.task.data]
kind = "table"
target = "y"
columns = [{ name = "x", type = "number", mean = 20, deviation = 10 }, { name = "y", type = "number" }]
[base.task.round]
cohort_size = 4
[base.task.evaluation]
data = "table.csv"
[[variant]]
name = "slow"
grid = { "task.training.learning_rate" = [0.001, 0.002] }
"#;
    write("rates.toml", study);
    let kept = folder.path().join("kept");
    let run = || {
        let page =
            study::study(&folder.path().join("rates.toml"), folder.path(), &kept, folder.path());
        fs::read_to_string(page.unwrap_or_else(|error| panic!("{error}"))).unwrap()
    };
    let page = run();
    let files = || {
        let mut files: Vec<PathBuf> =
            fs::read_dir(&kept).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files
    };
    let first = files();
    assert_eq!(first.len(), 3, "two rates with the first seed, one with the second");
    // Only what was kept has this hash.
    for file in &first {
        let mut run: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        run["model"] = "kept".into();
        fs::write(file, run.to_string()).unwrap();
    }
    assert!(run().contains("- slow: `kept`"));
    // A file that is damaged is made again, and another variant is added.
    first.iter().for_each(|file| fs::write(file, "{").unwrap());
    write(
        "rates.toml",
        &format!("{study}\n[[variant]]\nname = \"other\"\nset = {{ \"task.rounds\" = 3 }}\n"),
    );
    let again = run();
    let model = |page: &str| {
        let line = page.lines().find(|line| line.starts_with("- slow: ")).unwrap();
        line.to_owned()
    };
    assert_eq!(model(&again), model(&page));
    assert_eq!(files().len(), 5);
}

#[test]
fn a_study_with_a_mistake_in_its_last_variant_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let study = fs::read_to_string(root().join("examples/studies/bytes.toml")).unwrap();
    let file = folder.path().join("wrong.toml");
    for (mistake, expected) in [
        ("[[variant]]\nname = \"last\"\nset = { \"task.codec\" = \"int5\" }", "int5"),
        ("[[variant]]\nname = \"last\"\ngrid = { \"task.codec\" = [] }", "values"),
        ("[[variant]]\nname = \"last\"\nseeds = []", "seeds"),
        ("[[variant]]\nnam = \"last\"", "nam"),
    ] {
        fs::write(&file, format!("{study}\n{mistake}")).unwrap();
        let kept = folder.path().join("kept");
        let told = study::study(&file, &root(), &kept, folder.path()).expect_err("refused");
        assert!(told.to_string().contains(expected), "{told}");
        assert!(!kept.exists(), "nothing was run");
    }
}
