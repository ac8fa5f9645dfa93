//! Programs of the distribution: finds them, and installs them where apt-get can
//! do so without asking.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::{process, project};

/// The program that `variable` names, else the first of `candidates` there is.
pub fn program(variable: &str, candidates: &[&str]) -> Result<Option<PathBuf>> {
    if let Some(value) = env::var_os(variable) {
        return match on_path(Path::new(&value)) {
            Some(program) => Ok(Some(program)),
            None => bail!("{variable} names {}, which is not there", Path::new(&value).display()),
        };
    }
    Ok(candidates.iter().find_map(|candidate| on_path(Path::new(candidate))))
}

fn on_path(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_path_buf());
    }
    let path = env::var_os("PATH")?;
    let mut name = program.as_os_str().to_owned();
    name.push(env::consts::EXE_SUFFIX);
    env::split_paths(&path).map(|folder| folder.join(&name)).find(|candidate| candidate.is_file())
}

/// Installs packages without those that they only recommend.
pub fn install(packages: &[&str]) -> Result<()> {
    process::run(apt_get().arg("update"))?;
    process::run(apt_get().args(["install", "-y", "--no-install-recommends"]).args(packages))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.current_dir(project::root()).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// True if [`install`] can do without a question.
#[cfg(target_os = "linux")]
pub fn can_install() -> bool {
    rustix::process::geteuid().is_root() && on_path(Path::new("apt-get")).is_some()
}

/// True if [`install`] can do without a question.
#[cfg(not(target_os = "linux"))]
pub fn can_install() -> bool {
    false
}
