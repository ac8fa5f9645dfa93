//! `cargo xtask chaos | load | hostile | bench`: builds the system tests and goes on
//! as them. Their options are theirs alone.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;
use clap::Args;
use fedra_harness::{process, project, status};

#[derive(Args)]
pub struct Options {
    /// Options of the test itself; `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Options {
    /// The options as they were given.
    #[cfg(test)]
    pub fn arguments(&self) -> &[OsString] {
        &self.arguments
    }
}

/// Runs the system test called `name`.
pub fn run(name: &str, options: &Options) -> Result<()> {
    status::step("Building the system tests");
    process::run(&mut project::build_system_tests())?;
    let mut command = Command::new(project::program("fedra-system-tests"));
    process::become_command(command.arg(name).args(&options.arguments))
}
