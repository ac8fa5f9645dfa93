//! Finds Chromium and its WebDriver; installs them where a package manager
//! can do so without asking.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::{debian, process, status};

/// The browser that the tests run in.
pub struct Browser {
    /// The browser itself.
    pub chromium: PathBuf,
    /// Its WebDriver.
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
    if !debian::can_install() {
        bail!(
            "the browser tests need Chromium and chromedriver of the same version: install both \
             (on Debian `apt-get install chromium chromium-driver`) or set CHROME and CHROMEDRIVER"
        );
    }
    status::step("Installing Chromium and chromedriver");
    debian::install(&["chromium", "chromium-driver"])?;
    match find()? {
        Some(browser) => Ok(browser),
        None => bail!("Chromium was installed but is not on the path"),
    }
}

/// Chromium alone, for what needs no WebDriver.
pub fn chromium() -> Result<PathBuf> {
    match debian::program("CHROME", &CHROMIUM)? {
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
    let chromium = debian::program("CHROME", &CHROMIUM)?;
    let driver = debian::program("CHROMEDRIVER", &DRIVER)?;
    Ok(chromium.zip(driver).map(|(chromium, driver)| Browser { chromium, driver }))
}
