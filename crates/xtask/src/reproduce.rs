//! `cargo xtask reproduce NAME`: a study of `examples/studies`, whose table and chart are
//! `docs/results/NAME.md` and `.svg`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use fedra_harness::{npm, process, project, status};

#[derive(Args)]
pub struct Options {
    /// Name of the study; without it all are listed.
    name: Option<String>,
}

pub fn run(options: &Options) -> Result<()> {
    let Some(name) = options.name.as_ref() else {
        println!("{}", studies()?.join("\n"));
        return Ok(());
    };
    let file = file(name)?;
    npm::packages(&project::web())?;
    status::step("Building fedra-simulate");
    let mut build = project::cargo();
    process::run(build.args(["build", "-p", "fedra-experiments", "--bins"]))?;
    status::step(&format!("Making the runs of {name} that are not in target/studies"));
    let mut study = Command::new(project::program("fedra-simulate"));
    study.arg("study").arg(file);
    study.arg("--base").arg(project::root());
    study.arg("--out").arg(project::root().join("docs/results"));
    study.arg("--kept").arg(project::target().join("studies"));
    process::run(&mut study)
}

fn folder() -> PathBuf {
    project::root().join("examples/studies")
}

/// The names of all studies.
fn studies() -> Result<Vec<String>> {
    let known = fs::read_dir(folder()).context("there are no studies")?;
    let mut known: Vec<String> = known
        .filter_map(|file| {
            file.ok()?.file_name().to_str()?.strip_suffix(".toml").map(str::to_owned)
        })
        .collect();
    known.sort();
    Ok(known)
}

/// The file of a study.
fn file(name: &str) -> Result<PathBuf> {
    let known = studies()?;
    if !known.iter().any(|known| known == name) {
        bail!("there is no study {name:?}; the studies are {}", known.join(", "));
    }
    Ok(folder().join(format!("{name}.toml")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_study_is_found_by_its_name_and_a_wrong_one_is_told_the_others() {
        for name in studies().unwrap() {
            assert!(file(&name).unwrap().is_file(), "{name}");
        }
        assert!(file("mcmahan").unwrap().ends_with("examples/studies/mcmahan.toml"));
        for wrong in ["mcmahn", "mcmahan.toml", "../experiments/digits", ""] {
            let told = file(wrong).unwrap_err().to_string();
            assert!(told.starts_with(&format!("there is no study {wrong:?}")), "{told}");
            assert!(told.ends_with(&studies().unwrap().join(", ")), "{told}");
        }
    }
}
