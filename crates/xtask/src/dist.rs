//! `cargo xtask dist`: the WASM modules, the npm package and the demo page, compressed.

use anyhow::Result;
use clap::Args;
use fedra_harness::{npm, process, project, status};

use crate::{bundle, compress, prerequisites};

#[derive(Args, Clone, Default)]
pub struct Options {
    /// Leave the npm package and the page as they are and build the WASM modules only.
    #[arg(long)]
    module_only: bool,
}

pub fn run(options: &Options) -> Result<()> {
    prerequisites::wasm_target()?;
    npm::packages(&project::web())?;
    let sizes = bundle::build()?;
    process::run(project::npm(&project::web()).args(["run", "manifest", "-w", "fedra"]))?;
    if !options.module_only {
        page()?;
    }
    status::step("Sizes of the WASM modules");
    bundle::print_sizes(&sizes);
    bundle::check_sizes(&sizes)
}

/// Builds the npm package and the demo page around the modules.
fn page() -> Result<()> {
    status::step("Preparing the data of the page and of examples/tasks");
    process::run(project::npm(&project::web()).args(["run", "data", "-w", "demo"]))?;
    status::step("Building the npm package and the demo page");
    process::run(project::npm(&project::web()).args(["run", "build"]))?;
    status::step("Compressing the page");
    compress::folder(&project::web().join("demo/dist"))
}
