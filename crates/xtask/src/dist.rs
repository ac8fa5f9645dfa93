//! `cargo xtask dist`: both WASM modules, the npm package and the demo page, compressed.

use anyhow::Result;
use clap::Args;
use fedra_harness::{npm, process, project, status};

use crate::bundle::{self, Flavour};
use crate::{compress, prerequisites};

#[derive(Args, Clone, Default)]
pub struct Options {
    /// Leave the WebGPU module as it is and build the other one only.
    #[arg(long)]
    pub cpu_only: bool,
    /// Leave the npm package and the page as they are and build modules only.
    #[arg(long)]
    modules_only: bool,
}

pub fn run(options: &Options) -> Result<()> {
    prerequisites::wasm_target()?;
    npm::packages(&project::web())?;
    let flavours: &[Flavour] =
        if options.cpu_only { &[Flavour::Cpu] } else { &[Flavour::Cpu, Flavour::Webgpu] };
    let mut built = Vec::new();
    for &flavour in flavours {
        built.push(bundle::build(flavour)?);
    }
    if !options.modules_only {
        page()?;
    }
    status::step("Sizes of the WASM modules");
    bundle::print_sizes(&built);
    bundle::check_sizes(&built)
}

/// Builds the npm package and the demo page around the modules.
fn page() -> Result<()> {
    status::step("Converting MNIST for the page");
    process::run(project::npm(&project::web()).args(["run", "data", "-w", "demo"]))?;
    status::step("Building the npm package and the demo page");
    process::run(project::npm(&project::web()).args(["run", "build"]))?;
    status::step("Compressing the page");
    compress::folder(&project::web().join("demo/dist"))
}
