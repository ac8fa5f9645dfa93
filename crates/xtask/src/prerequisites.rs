//! Tools that the commands need beside cargo: the WASM target, nginx, a software graphics
//! driver, a C++ compiler, rustfmt and clippy. Installs what can be installed; for the rest one clear line.
//! npm packages and the browser are the harness's.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use fedra_harness::{debian, process, project, status};

/// The target of the browser's build.
pub const WASM_TARGET: &str = "wasm32-unknown-unknown";

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

/// Folders in which the Vulkan loader looks for drivers.
const VULKAN_DRIVERS: [&str; 3] =
    ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];

/// Mesa's lavapipe, a Vulkan driver that runs on the CPU: the tests of the WebGPU engine run
/// on it. Elsewhere than on Linux the tests take what the system has.
pub fn lavapipe() -> Result<()> {
    if cfg!(not(target_os = "linux")) || has_lavapipe() {
        return Ok(());
    }
    if !debian::can_install() {
        bail!(
            "the tests of the WebGPU engine need Mesa's lavapipe: install it (on Debian `apt-get \
             install mesa-vulkan-drivers`)"
        );
    }
    status::step("Installing Mesa's Vulkan drivers");
    debian::install(&["mesa-vulkan-drivers"])?;
    if has_lavapipe() { Ok(()) } else { bail!("mesa-vulkan-drivers came without lavapipe") }
}

fn has_lavapipe() -> bool {
    let entries = VULKAN_DRIVERS.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("lvp_icd"))
}

/// Checks for the compiler of libFuzzer.
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
