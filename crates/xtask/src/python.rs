//! Build of the Python package as a wheel, in a virtual environment of the build folder, and
//! its tests. It shares the profile and the dependencies of the step `host`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use fedra_harness::{process, project};

/// Packages of the virtual environment, and the names under which Python has them.
const PACKAGES: [(&str, &str); 4] = [
    ("maturin==1.16.0", "maturin"),
    ("numpy==2.3.5", "numpy"),
    ("pandas==3.1.1", "pandas"),
    ("scikit-learn==1.9.1", "sklearn"),
];

/// The first version of Python whose stable interface has buffers.
const AT_LEAST: &str = "import sys; assert sys.version_info >= (3, 11)";

/// The Python of the virtual environment, which is made if it is not there; or the reason why
/// there is none.
pub fn environment() -> Result<PathBuf, String> {
    let python = env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if process::probe(Command::new(&python).args(["-c", AT_LEAST])).is_none() {
        return Err(format!("{python} is not there, or older than 3.11"));
    }
    let folder = project::target().join("python");
    let own = match cfg!(windows) {
        true => folder.join("Scripts/python.exe"),
        false => folder.join("bin/python"),
    };
    let imports = PACKAGES.map(|(_, name)| format!("import {name}")).join("; ");
    let is_ready = || process::probe(Command::new(&own).args(["-c", &imports])).is_some();
    // maturin asks cargo for the crates of all platforms.
    if process::probe(project::cargo().args(["fetch", "--locked"])).is_none() {
        return Err("cargo cannot fetch the crates of every platform".to_owned());
    }
    if is_ready() {
        return Ok(own);
    }
    let mut make = Command::new(&python);
    let mut install = Command::new(&own);
    install.args(["-m", "pip", "install", "--quiet", "--only-binary=:all:"]);
    install.args(PACKAGES.map(|(package, _)| package));
    let made = process::run(make.args(["-m", "venv"]).arg(&folder));
    match made.and_then(|()| process::run(&mut install)) {
        Ok(()) if is_ready() => Ok(own),
        _ => Err(format!("{python} has no venv, or pip cannot install maturin and NumPy")),
    }
}

/// Builds and installs the wheel, and `fedra-simulate` to compare it with. Returns the command
/// that runs the tests.
pub fn build(python: &Path) -> Result<Command> {
    let mut simulate = project::cargo();
    // Both, so that dependencies have the same features as in the wheel.
    let packages = ["-p", "fedra-experiments", "-p", "fedra-python"];
    process::run(simulate.arg("build").args(packages).arg("--bins"))?;
    let wheels = project::target().join("python/wheels");
    if wheels.is_dir() {
        fs::remove_dir_all(&wheels)?;
    }
    let mut maturin = Command::new(python);
    maturin.current_dir(project::root());
    maturin.args(["-m", "maturin", "build", "--profile", "dev", "--auditwheel", "skip"]);
    maturin.args(["--manifest-path", "crates/python/Cargo.toml"]);
    process::run(maturin.arg("--interpreter").arg(python).arg("--out").arg(&wheels))?;
    let wheel = fs::read_dir(&wheels)?.next().context("maturin has made no wheel")??;
    let mut install = Command::new(python);
    install.args(["-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]);
    process::run(install.arg("--force-reinstall").arg(wheel.path()))?;
    let mut tests = Command::new(python);
    tests.arg(project::root().join("crates/python/tests/test_fedra.py"));
    tests.env("FEDRA_SIMULATE", project::program("fedra-simulate"));
    Ok(tests)
}
