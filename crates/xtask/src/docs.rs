//! `cargo xtask docs`: the documentation as a site, and beside it the references of the npm
//! package and of the crates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use fedra_harness::{npm, process, project, status};

use crate::lint;

/// Tells the site that the references are there to link to.
const REFERENCES: &str = "FEDRA_DOCS_REFERENCES";

#[derive(Args)]
pub struct Options {
    /// Leave out the references of the npm package and of the crates.
    #[arg(long)]
    pages_only: bool,
}

pub fn run(options: &Options) -> Result<()> {
    npm::packages(&folder())?;
    if options.pages_only {
        pages()?;
    } else {
        references()?;
    }
    println!();
    println!("The site is in {}.", process::shown(&site()));
    println!("`npm run preview` in {} shows it.", process::shown(&folder()));
    Ok(())
}

/// The npm project of the site. It is apart from `web`, so that a demo does not wait for it.
pub fn folder() -> PathBuf {
    project::web().join("docs")
}

/// Builds the pages alone.
pub fn pages() -> Result<()> {
    status::step("Building the pages");
    process::run(&mut build())
}

fn build() -> Command {
    let mut build = project::npm(&folder());
    build.args(["run", "build"]);
    build
}

fn site() -> PathBuf {
    project::root().join("target/site")
}

/// Builds the pages, and beside them the references that they link to.
fn references() -> Result<()> {
    status::step("Building the pages");
    process::run(build().env(REFERENCES, "1"))?;
    status::step("Building the reference of the npm package");
    process::run(project::npm(&folder()).args(["run", "reference"]))?;
    status::step("Building the reference of the crates");
    process::run(&mut lint::rustdoc())?;
    copy(&project::target().join("doc"), &site().join("reference/rust"))
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)
                .with_context(|| format!("cannot write {}", to.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_copied_with_its_folders() {
        let folder = project::target().join("xtask/copied");
        let from = folder.join("from");
        fs::create_dir_all(from.join("inner")).unwrap();
        fs::write(from.join("a"), "1").unwrap();
        fs::write(from.join("inner/b"), "2").unwrap();
        copy(&from, &folder.join("to")).unwrap();
        assert_eq!(fs::read_to_string(folder.join("to/a")).unwrap(), "1");
        assert_eq!(fs::read_to_string(folder.join("to/inner/b")).unwrap(), "2");
        fs::remove_dir_all(folder).unwrap();
    }
}
