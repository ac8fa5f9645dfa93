//! `cargo xtask reproduce NAME`: a study of `examples/studies`, whose table and chart are
//! `docs/results/NAME.md` and `.svg`.

use std::fs;
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
    let folder = project::root().join("examples/studies");
    let known = fs::read_dir(&folder).context("there are no studies")?;
    let mut known: Vec<String> = known
        .filter_map(|file| {
            file.ok()?.file_name().to_str()?.strip_suffix(".toml").map(str::to_owned)
        })
        .collect();
    known.sort();
    let Some(name) = options.name.as_ref() else {
        println!("{}", known.join("\n"));
        return Ok(());
    };
    if !known.contains(name) {
        bail!("there is no study {name:?}; the studies are {}", known.join(", "));
    }
    npm::packages(&project::web())?;
    status::step("Building fedra-simulate");
    let mut build = project::cargo();
    process::run(build.args(["build", "-p", "fedra-experiments", "--bins"]))?;
    status::step(&format!("Making the runs of {name} that are not in target/studies"));
    let mut study = Command::new(project::program("fedra-simulate"));
    study.arg("study").arg(folder.join(format!("{name}.toml")));
    study.arg("--base").arg(project::root());
    study.arg("--out").arg(project::root().join("docs/results"));
    study.arg("--kept").arg(project::target().join("studies"));
    process::run(&mut study)
}
