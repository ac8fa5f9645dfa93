//! What the commands need beside cargo: the WASM target, Node's packages, nginx;
//! the browser is in `browser`. Installs what can be installed; for the rest one clear line.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::{debian, process, project, status};

/// The target of the two browser builds.
pub const WASM_TARGET: &str = "wasm32-unknown-unknown";
/// What the page's build (Vite) and the tests need.
const NODE: &str = "Node.js 20.19, 22.12 or later";

/// Node and npm.
pub fn node() -> Result<()> {
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

/// The packages of the npm project in `folder`, exactly as its lock file says.
pub fn npm_packages(folder: &Path) -> Result<()> {
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

/// The standard library for the browser.
pub fn wasm_target() -> Result<()> {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(project::root()).args(["--print", "target-libdir", "--target", WASM_TARGET]);
    if process::probe(&mut rustc).is_some_and(|folder| Path::new(&folder).is_dir()) {
        return Ok(());
    }
    status::step("Installing the WebAssembly target");
    let mut rustup = Command::new("rustup");
    rustup.current_dir(project::root()).args(["target", "add", WASM_TARGET]);
    process::run(&mut rustup).with_context(|| {
        format!(
            "the target {WASM_TARGET} is missing: `rustup target add {WASM_TARGET}` has to work"
        )
    })
}

/// The nginx named by `NGINX`, or the one on the path, or one that is installed now:
/// the end-to-end tests go through it.
pub fn nginx() -> Result<PathBuf> {
    // Debian keeps it where only root's path leads.
    let find = || debian::program("NGINX", &["nginx", "/usr/sbin/nginx"]);
    if let Some(nginx) = find()? {
        return Ok(nginx);
    }
    if !debian::can_install() {
        bail!(
            "the end-to-end tests need nginx: install it (on Debian `apt-get install nginx`) or \
             set NGINX"
        );
    }
    status::step("Installing nginx");
    debian::install(&["nginx"])?;
    find()?.context("nginx was installed but is not on the path")
}

/// What compiles libFuzzer.
pub fn cpp_compiler() -> Result<()> {
    if cfg!(not(unix)) {
        bail!("fuzzing needs Linux or macOS");
    }
    let compiler = env::var_os("CXX").unwrap_or_else(|| "c++".into());
    if process::probe(Command::new(&compiler).arg("--version")).is_none() {
        bail!("a C++ compiler is missing: install g++ or clang, or name it in CXX");
    }
    Ok(())
}

/// rustfmt and clippy.
pub fn components() -> Result<()> {
    for (tool, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if process::probe(project::cargo().args([tool, "--version"])).is_none() {
            bail!("cargo {tool} is missing: `rustup component add {component}`");
        }
    }
    Ok(())
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
