//! The demo's tasks besides MNIST: those of `examples/tasks`, without clients of their own.
//! A visitor trains them alone or with other tabs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use fedra_harness::project;

/// Files in `examples/tasks`. Their ids come after that of MNIST, which the page begins with.
const FILES: [&str; 3] = ["moby-dick.toml", "phase-of-flight.toml", "teach.toml"];
/// The first line of a task in a config.
const TASK: &str = "[[task]]";

/// Explanation for a visitor.
pub const EXPLANATION: &str = "It also has tasks that begin when you do, and that more tabs can \
    join: a table, a text that\nthe model writes on, and pictures of your own.";

/// The tasks as text for a config, without the settings of a server. Paths in them begin
/// at the root of the project, where the aggregator runs.
pub fn tasks() -> Result<String> {
    let folder = project::root().join("examples/tasks");
    FILES.iter().map(|file| task(&folder.join(file))).collect()
}

fn task(file: &Path) -> Result<String> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let (_, task) =
        text.split_once(TASK).with_context(|| format!("{} has no {TASK}", file.display()))?;
    Ok(format!("\n{TASK}{task}"))
}
