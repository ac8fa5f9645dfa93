//! Node.js, npm and the packages of an npm project: checked, and installed where a
//! lock file says which.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::{process, project, status};

/// Version that the page's build (Vite) and the tests need.
const NODE: &str = "Node.js 20.19, 22.12 or later";

/// Refuses to go on without Node.js and npm.
fn node() -> Result<()> {
    let Some(version) = process::probe(Command::new("node").arg("--version")) else {
        bail!("Node.js is missing: install {NODE}, with npm");
    };
    if !is_recent(&version) {
        bail!("Node.js {version} is too old: install {NODE}");
    }
    if process::probe(project::npm(&project::root()).arg("--version")).is_none() {
        bail!("npm is missing: install it beside Node.js");
    }
    Ok(())
}

fn is_recent(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(20)), Some(Ok(minor))) => minor >= 19,
        (Some(Ok(22)), Some(Ok(minor))) => minor >= 12,
        (Some(Ok(major)), Some(Ok(_))) => major > 22,
        _ => false,
    }
}

/// Installs the packages of the npm project in `folder`, exactly as its lock file says.
pub fn packages(folder: &Path) -> Result<()> {
    node()?;
    let lock = folder.join("package-lock.json");
    let lock = fs::read(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let wanted = hex::encode(Sha256::digest(&lock));
    let stamp = folder.join("node_modules/.installed-by-xtask");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    status::step(&format!("Installing the npm packages of {}", process::shown(folder)));
    process::run(project::npm(folder).args(["ci", "--no-audit", "--no-fund"]))?;
    // A project without dependencies gets no folder from npm.
    fs::create_dir_all(folder.join("node_modules"))?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_node() {
        for (version, recent) in [
            ("v20.19.0", true),
            ("v20.18.3", false),
            ("v21.7.0", false),
            ("v22.11.0", false),
            ("v22.12.0", true),
            ("v24.0.0", true),
            ("v18.20.0", false),
            ("none", false),
        ] {
            assert_eq!(is_recent(version), recent, "{version}");
        }
    }
}
