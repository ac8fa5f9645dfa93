//! The commands of `cargo xtask test lint`: clippy natively and for the browser,
//! rustdoc, Biome on TypeScript and JavaScript, and spelling.

use std::path::PathBuf;
use std::process::Command;

use fedra_harness::project;

use crate::prerequisites::WASM_TARGET;
use crate::wasm_tests;

/// A wrapper with many dependencies and no code of ours.
const NO_RUNNER: [&str; 2] = ["--exclude", wasm_tests::RUNNER];

/// The tests that run in a browser.
const BROWSER_TESTS: [&str; 4] = ["-p", "fedra-wasm-tests", "--test", "browser"];

/// The npm project of the linters. It is apart from `web`, so that a demo does not
/// wait for them.
pub fn tools() -> PathBuf {
    project::web().join("lint")
}

/// The commands by name, in the order in which they run. A warning fails each.
pub fn commands() -> Vec<(&'static str, Command)> {
    vec![
        ("clippy", clippy(&["--workspace", "--all-targets"], &NO_RUNNER)),
        (
            "clippy, wasm",
            in_browser(&["-p", "fedra-edge-client", "-p", "fedra-data-wasm", "--lib"]),
        ),
        ("clippy, browser tests", in_browser(&BROWSER_TESTS)),
        ("rustdoc", rustdoc()),
        ("biome", biome()),
        ("spelling", spelling()),
    ]
}

fn clippy(selection: &[&str], more: &[&str]) -> Command {
    let mut command = project::cargo();
    command.arg("clippy").args(selection).args(more).args(["--", "-D", "warnings"]);
    command
}

fn in_browser(selection: &[&str]) -> Command {
    clippy(selection, &["--target", WASM_TARGET])
}

/// The documentation of all crates, in `target/doc`.
pub fn rustdoc() -> Command {
    let mut command = project::cargo();
    command.args(["doc", "--workspace", "--no-deps", "--keep-going"]).args(NO_RUNNER);
    // Bare addresses stand in what the command lines print as help.
    command.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::bare_urls");
    command
}

fn biome() -> Command {
    node(&["@biomejs/biome/bin/biome", "ci", "--error-on-warnings", "."])
}

fn spelling() -> Command {
    node(&["cspell/bin.mjs", "lint", "--no-progress", "--no-summary"])
}

/// A script of one of the packages, and its arguments.
fn node(script: &[&str]) -> Command {
    let mut command = Command::new("node");
    command.current_dir(project::root());
    command.arg(tools().join("node_modules").join(script[0])).args(&script[1..]);
    command
}
