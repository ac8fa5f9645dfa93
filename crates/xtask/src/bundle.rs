//! WASM modules of the edge client and of its reader of files, from cargo's output to the
//! three files each that the npm package ships: bindings and sizes.
//!
//! There is no wasm-opt: binaryen 132 at -O2 took minutes, made the client's download larger
//! (brotli) and the first second of training slower than what LLVM emits.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use fedra_harness::{process, project, status};
use wasm_bindgen_cli_support::Bindgen;

use crate::compress;
use crate::prerequisites::WASM_TARGET;

/// A module of the npm package.
struct Module {
    /// Name of its files.
    name: &'static str,
    package: &'static str,
    /// Name of cargo's output.
    compiled: &'static str,
    /// The most bytes that a visitor may have to fetch, brotli at quality 11.
    limit: u64,
    /// The worker replaces its instance after use: memory of WASM cannot be given back
    /// otherwise.
    is_reset: bool,
}

const MODULES: [Module; 2] = [
    Module {
        name: "fedra",
        package: "fedra-edge-client",
        compiled: "fedra_edge_client.wasm",
        limit: 600_000,
        is_reset: false,
    },
    // Fetched by a page that gives files.
    Module {
        name: "fedra-reader",
        package: "fedra-data-wasm",
        compiled: "fedra_data_wasm.wasm",
        limit: 90_000,
        is_reset: true,
    },
];

/// Bytes of a finished module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    name: &'static str,
    limit: u64,
    raw: u64,
    gzip: u64,
    brotli: u64,
}

/// Builds the modules into `web/package/wasm/`.
pub fn build() -> Result<Vec<Sizes>> {
    status::step("Compiling the WASM modules");
    let mut cargo = project::cargo();
    cargo.args(["build", "--lib", "--target", WASM_TARGET, "--profile", "wasm"]);
    cargo.args(MODULES.iter().flat_map(|module| ["-p", module.package]));
    process::run(&mut cargo)?;

    status::step("Generating their bindings");
    MODULES.iter().map(bind).collect()
}

/// Generates the bindings of a module, and puts them with it into the package.
fn bind(module: &Module) -> Result<Sizes> {
    let name = module.name;
    let compiled = project::target().join(WASM_TARGET).join("wasm").join(module.compiled);
    let folder = project::cache().join(name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut bindgen = Bindgen::new();
    bindgen
        .input_path(&compiled)
        .out_name(name)
        .web(true)?
        .typescript(true)
        .omit_default_module_path(false)
        .reset_state_function(module.is_reset)
        .remove_name_section(true)
        .remove_producers_section(true);
    bindgen
        .generate(&folder)
        .with_context(|| format!("cannot generate bindings for {}", compiled.display()))?;

    let wasm = format!("{name}_bg.wasm");
    let sizes = sizes(module, &folder.join(&wasm))?;
    let package = project::web().join("package/wasm");
    fs::create_dir_all(&package).with_context(|| format!("cannot create {}", package.display()))?;
    for file in [format!("{name}.js"), format!("{name}.d.ts"), wasm] {
        replace(&folder.join(&file), &package.join(&file))?;
    }
    Ok(sizes)
}

/// Prints a table of the modules' sizes.
pub fn print_sizes(modules: &[Sizes]) {
    println!("{:<14}{:>12}{:>12}{:>12}{:>12}", "module", "raw", "gzip", "brotli", "limit");
    for sizes in modules {
        println!(
            "{:<14}{:>12}{:>12}{:>12}{:>12}",
            sizes.name,
            status::bytes(sizes.raw),
            status::bytes(sizes.gzip),
            status::bytes(sizes.brotli),
            status::bytes(sizes.limit),
        );
    }
}

/// An error for the first module over its limit.
pub fn check_sizes(modules: &[Sizes]) -> Result<()> {
    for Sizes { name, limit, brotli, .. } in modules {
        if brotli > limit {
            bail!("{name} has {brotli} bytes compressed, its limit is {limit}");
        }
    }
    Ok(())
}

/// A module's sizes.
fn sizes(&Module { name, limit, .. }: &Module, file: &Path) -> Result<Sizes> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let compressed = compress::compress(&bytes)?;
    Ok(Sizes {
        name,
        limit,
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

    #[test]
    fn the_limit_itself_is_allowed_and_one_byte_more_is_not() {
        let sizes = |name, limit, brotli| Sizes { name, limit, raw: 3 * brotli, gzip: 0, brotli };
        let small = sizes("small", 100, 100);
        assert!(check_sizes(&[small, sizes("large", 600, 600)]).is_ok());
        let error = check_sizes(&[small, sizes("large", 600, 601)]).unwrap_err().to_string();
        assert!(error.contains("large has 601 bytes"), "{error}");
    }
}
