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
