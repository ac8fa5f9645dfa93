//! One WASM module of the edge client, from cargo's output to the three files
//! that the npm package ships: bindings and sizes.
//!
//! There is no wasm-opt: on these modules binaryen 132 at -O2 took minutes, made
//! the download larger (brotli) and the first second of training slower than what
//! LLVM emits.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use fedra_harness::{process, project, status};
use wasm_bindgen_cli_support::Bindgen;

use crate::compress;
use crate::prerequisites::WASM_TARGET;

/// The two builds of the edge client.
#[derive(Clone, Copy)]
pub enum Flavour {
    Cpu,
    Webgpu,
}

impl Flavour {
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "fedra_cpu",
            Self::Webgpu => "fedra_webgpu",
        }
    }

    fn features(self) -> &'static [&'static str] {
        match self {
            Self::Cpu => &[],
            Self::Webgpu => &["--features", "webgpu"],
        }
    }

    /// The most bytes that a visitor may have to fetch, brotli at quality 11.
    fn limit(self) -> u64 {
        match self {
            Self::Cpu => 600_000,
            Self::Webgpu => 3_000_000,
        }
    }
}

/// Bytes of a finished module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    raw: u64,
    gzip: u64,
    brotli: u64,
}

/// A finished module.
pub struct Built {
    flavour: Flavour,
    sizes: Sizes,
}

/// Builds one module into `web/package/wasm/`.
pub fn build(flavour: Flavour) -> Result<Built> {
    let name = flavour.name();
    status::step(&format!("Compiling {name} for the browser"));
    process::run(
        project::cargo()
            .args(["build", "-p", "fedra-edge-client", "--lib"])
            .args(["--target", WASM_TARGET, "--profile", "wasm"])
            .args(flavour.features()),
    )?;
    let compiled = project::target().join(WASM_TARGET).join("wasm/fedra_edge_client.wasm");

    status::step(&format!("Generating the bindings of {name}"));
    let folder = project::cache().join(name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut bindgen = Bindgen::new();
    bindgen
        .input_path(&compiled)
        .out_name(name)
        .web(true)?
        .typescript(true)
        .omit_default_module_path(false)
        .remove_name_section(true)
        .remove_producers_section(true);
    bindgen
        .generate(&folder)
        .with_context(|| format!("cannot generate bindings for {}", compiled.display()))?;

    let module = folder.join(format!("{name}_bg.wasm"));
    let sizes = sizes(&module)?;
    let package = project::web().join("package/wasm");
    fs::create_dir_all(&package).with_context(|| format!("cannot create {}", package.display()))?;
    for (from, to) in [
        (folder.join(format!("{name}.js")), format!("{name}.js")),
        (folder.join(format!("{name}.d.ts")), format!("{name}.d.ts")),
        (module, format!("{name}_bg.wasm")),
    ] {
        replace(&from, &package.join(to))?;
    }
    Ok(Built { flavour, sizes })
}

/// Prints a table of the modules' sizes.
pub fn print_sizes(modules: &[Built]) {
    println!("{:<14}{:>12}{:>12}{:>12}{:>12}", "module", "raw", "gzip", "brotli", "limit");
    for module in modules {
        println!(
            "{:<14}{:>12}{:>12}{:>12}{:>12}",
            module.flavour.name(),
            status::bytes(module.sizes.raw),
            status::bytes(module.sizes.gzip),
            status::bytes(module.sizes.brotli),
            status::bytes(module.flavour.limit()),
        );
    }
}

/// An error that names the modules over their limit.
pub fn check_sizes(modules: &[Built]) -> Result<()> {
    let too_big: Vec<String> = modules
        .iter()
        .filter(|module| module.sizes.brotli > module.flavour.limit())
        .map(|module| {
            format!(
                "{} has {} bytes compressed, its limit is {}",
                module.flavour.name(),
                module.sizes.brotli,
                module.flavour.limit()
            )
        })
        .collect();
    if !too_big.is_empty() {
        bail!("{}", too_big.join("; "));
    }
    Ok(())
}

/// The module's sizes.
fn sizes(module: &Path) -> Result<Sizes> {
    let bytes = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let compressed = compress::compress(&bytes)?;
    Ok(Sizes {
        raw: bytes.len() as u64,
        gzip: compressed.gzip.len() as u64,
        brotli: compressed.brotli.len() as u64,
    })
}

/// Puts a copy of `from` in the place of `to` in one step, and only if it
/// differs: a watching page build should not be woken for nothing.
fn replace(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let fresh = to.with_extension("new");
    File::create(&fresh)
        .and_then(|mut file| file.write_all(&bytes))
        .and_then(|()| fs::rename(&fresh, to))
        .with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(brotli: u64) -> Built {
        Built { flavour: Flavour::Cpu, sizes: Sizes { raw: 3 * brotli, gzip: 2 * brotli, brotli } }
    }

    #[test]
    fn the_limit_itself_is_allowed_and_one_byte_more_is_not() {
        assert!(check_sizes(&[built(600_000)]).is_ok());
        let error = check_sizes(&[built(600_001)]).unwrap_err().to_string();
        assert!(error.contains("fedra_cpu has 600001 bytes"), "{error}");
    }
}
