//! Finds Chromium and its WebDriver; installs them where a package manager
//! can do so without asking.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::{process, project, status};

/// The browser that the tests run in.
pub struct Browser {
    pub chromium: PathBuf,
    pub driver: PathBuf,
}

const CHROMIUM: [&str; 5] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];
const DRIVER: [&str; 2] = ["chromedriver", "/usr/lib/chromium-browser/chromedriver"];

/// The browser named by `CHROME` and `CHROMEDRIVER`, or the one on the path,
/// or one that is installed now.
pub fn find_or_install() -> Result<Browser> {
    if let Some(browser) = find()? {
        return Ok(browser);
    }
    if !can_install() {
        bail!(
            "the browser tests need Chromium and chromedriver of the same version: install both \
             (on Debian `apt-get install chromium chromium-driver`) or set CHROME and CHROMEDRIVER"
        );
    }
    status::step("Installing Chromium and chromedriver");
    process::run(apt_get().arg("update"))?;
    process::run(apt_get().args([
        "install",
        "-y",
        "--no-install-recommends",
        "chromium",
        "chromium-driver",
    ]))?;
    match find()? {
        Some(browser) => Ok(browser),
        None => bail!("Chromium was installed but is not on the path"),
    }
}

/// Chromium alone, for what needs no WebDriver.
pub fn chromium() -> Result<PathBuf> {
    match named("CHROME", &CHROMIUM)? {
        Some(chromium) => Ok(chromium),
        None => Ok(find_or_install()?.chromium),
    }
}

/// Says which browser it is.
pub fn describe(browser: &Browser) {
    for program in [&browser.chromium, &browser.driver] {
        if let Some(version) = process::probe(Command::new(program).arg("--version")) {
            status::note(&format!("{version} ({})", program.display()));
        }
    }
}

fn find() -> Result<Option<Browser>> {
    let chromium = named("CHROME", &CHROMIUM)?;
    let driver = named("CHROMEDRIVER", &DRIVER)?;
    Ok(chromium.zip(driver).map(|(chromium, driver)| Browser { chromium, driver }))
}

/// The program that `variable` names, else the first of `candidates` there is.
fn named(variable: &str, candidates: &[&str]) -> Result<Option<PathBuf>> {
    if let Some(value) = env::var_os(variable) {
        return match on_path(Path::new(&value)) {
            Some(program) => Ok(Some(program)),
            None => bail!("{variable} names {}, which is not there", Path::new(&value).display()),
        };
    }
    Ok(candidates.iter().find_map(|candidate| on_path(Path::new(candidate))))
}

fn on_path(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_path_buf());
    }
    let path = env::var_os("PATH")?;
    let mut name = program.as_os_str().to_owned();
    name.push(env::consts::EXE_SUFFIX);
    env::split_paths(&path).map(|folder| folder.join(&name)).find(|candidate| candidate.is_file())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.current_dir(project::root()).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

#[cfg(target_os = "linux")]
fn can_install() -> bool {
    rustix::process::geteuid().is_root() && on_path(Path::new("apt-get")).is_some()
}

#[cfg(not(target_os = "linux"))]
fn can_install() -> bool {
    false
}
