//! The command that runs the Rust tests inside the browser.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use fedra_harness::browser::Browser;
use fedra_harness::project;
use serde_json::{Value, json};

use crate::prerequisites::WASM_TARGET;

/// The program that cargo runs a compiled browser test with.
pub const RUNNER: &str = "fedra-wasm-test-runner";
/// Seconds for all tests of one file.
const TEST_TIMEOUT: &str = "900";
const DRIVER_TIMEOUT: &str = "60";

/// `cargo test` of the browser tests in `browser`; [`RUNNER`] has to be built.
pub fn cargo_test(browser: &Browser) -> Result<Command> {
    // A JSON list of strings is a TOML array, too.
    let runner = json!([project::program(RUNNER)]);
    let mut command = project::cargo();
    command
        .args(["test", "-p", "fedra-wasm-tests", "--test", "browser"])
        .args(["--target", WASM_TARGET, "--profile", "wasm"])
        .arg("--config")
        .arg(format!("target.{WASM_TARGET}.runner={runner}"))
        .env("CHROMEDRIVER", &browser.driver)
        .env("WASM_BINDGEN_TEST_ONLY_WEB", "1")
        .env("WASM_BINDGEN_TEST_TIMEOUT", TEST_TIMEOUT)
        .env("WASM_BINDGEN_TEST_DRIVER_TIMEOUT", DRIVER_TIMEOUT)
        .env("WASM_BINDGEN_TEST_WEBDRIVER_JSON", capabilities(browser)?);
    Ok(command)
}

/// `wasm-tests/webdriver.json` with the browser's path filled in.
fn capabilities(browser: &Browser) -> Result<PathBuf> {
    let template = project::root().join("wasm-tests/webdriver.json");
    let text = fs::read_to_string(&template)
        .with_context(|| format!("cannot read {}", template.display()))?;
    let mut capabilities: Value = serde_json::from_str(&text)
        .with_context(|| format!("{} is not JSON", template.display()))?;
    capabilities["goog:chromeOptions"]["binary"] = json!(browser.chromium);
    let folder = project::cache();
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join("webdriver.json");
    fs::write(&path, capabilities.to_string())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
