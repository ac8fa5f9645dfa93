//! WASM module of the edge client, from cargo's output to the three files that the
//! npm package ships: bindings and sizes.
//!
//! There is no wasm-opt: binaryen 132 at -O2 took minutes, made the download larger
//! (brotli) and the first second of training slower than what LLVM emits.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use fedra_harness::{process, project, status};
use wasm_bindgen_cli_support::Bindgen;

use crate::compress;
use crate::prerequisites::WASM_TARGET;

/// Name of the module, and of its files.
const NAME: &str = "fedra";

/// The most bytes that a visitor may have to fetch, brotli at quality 11.
const LIMIT: u64 = 600_000;

/// Bytes of the finished module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    raw: u64,
    gzip: u64,
    brotli: u64,
}

/// Builds the module into `web/package/wasm/`.
pub fn build() -> Result<Sizes> {
    status::step("Compiling the WASM module");
    let mut cargo = project::cargo();
    cargo.args(["build", "-p", "fedra-edge-client", "--lib"]);
    process::run(cargo.args(["--target", WASM_TARGET, "--profile", "wasm"]))?;
    let compiled = project::target().join(WASM_TARGET).join("wasm/fedra_edge_client.wasm");

    status::step("Generating its bindings");
    let folder = project::cache().join(NAME);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut bindgen = Bindgen::new();
    bindgen
        .input_path(&compiled)
        .out_name(NAME)
        .web(true)?
        .typescript(true)
        .omit_default_module_path(false)
        .remove_name_section(true)
        .remove_producers_section(true);
    bindgen
        .generate(&folder)
        .with_context(|| format!("cannot generate bindings for {}", compiled.display()))?;

    let module = format!("{NAME}_bg.wasm");
    let sizes = sizes(&folder.join(&module))?;
    let package = project::web().join("package/wasm");
    fs::create_dir_all(&package).with_context(|| format!("cannot create {}", package.display()))?;
    for file in [format!("{NAME}.js"), format!("{NAME}.d.ts"), module] {
        replace(&folder.join(&file), &package.join(&file))?;
    }
    Ok(sizes)
}

/// Prints a table of the module's sizes.
pub fn print_sizes(sizes: Sizes) {
    println!("{:<14}{:>12}{:>12}{:>12}{:>12}", "module", "raw", "gzip", "brotli", "limit");
    println!(
        "{NAME:<14}{:>12}{:>12}{:>12}{:>12}",
        status::bytes(sizes.raw),
        status::bytes(sizes.gzip),
        status::bytes(sizes.brotli),
        status::bytes(LIMIT),
    );
}

/// An error for a module over the limit.
pub fn check_sizes(sizes: Sizes) -> Result<()> {
    if sizes.brotli > LIMIT {
        bail!("{NAME} has {} bytes compressed, its limit is {LIMIT}", sizes.brotli);
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

    fn sizes(brotli: u64) -> Sizes {
        Sizes { raw: 3 * brotli, gzip: 2 * brotli, brotli }
    }

    #[test]
    fn the_limit_itself_is_allowed_and_one_byte_more_is_not() {
        assert!(check_sizes(sizes(600_000)).is_ok());
        let error = check_sizes(sizes(600_001)).unwrap_err().to_string();
        assert!(error.contains("fedra has 600001 bytes"), "{error}");
    }
}
