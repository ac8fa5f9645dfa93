//! `cargo xtask test`: all that is checked before a change lands, in the order
//! of what it costs. Goes on after a failure, so that one run shows them all.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use fedra_harness::browser::{self, Browser};
use fedra_harness::{npm, process, project, status};

use crate::test_counts::TestCounts;
use crate::{dist, docs, lint, prerequisites, python, structure, wasm_tests};

/// The tools switch on features of dependencies that burn shares. With them in the
/// selection, burn would be built once for the tests and once for the demo.
pub const NO_TOOLS: [&str; 10] = [
    "--exclude",
    wasm_tests::RUNNER,
    "--exclude",
    "xtask",
    "--exclude",
    "fedra-benchmarks",
    "--exclude",
    "fedra-harness",
    "--exclude",
    "fedra-system-tests",
];

#[derive(Args)]
pub struct Options {
    /// Only these steps; all of them without a name.
    steps: Vec<Step>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// cargo fmt --check.
    Format,
    /// clippy, natively and for the browser, rustdoc, Biome, spelling, structure; a
    /// warning is a failure.
    Lint,
    /// Unit tests of xtask, the harness and the system tests.
    Tools,
    /// Unit and integration tests of the native crates.
    Host,
    /// The Python package as a wheel, and its tests; skipped without Python 3.11 and pip.
    Python,
    /// Everything that `dist` builds, and the tests of the npm package and the page.
    Web,
    /// The documentation as a site: blocks of code, links, and the pages in a browser.
    Docs,
    /// Rust tests inside a headless browser.
    Browser,
    /// The real aggregator, page, tabs and native clients together.
    EndToEnd,
}

const ALL: [Step; 9] = [
    Step::Format,
    Step::Lint,
    Step::Tools,
    Step::Host,
    Step::Python,
    Step::Web,
    Step::Docs,
    Step::Browser,
    Step::EndToEnd,
];

pub fn run(options: &Options) -> Result<()> {
    let steps: &[Step] = if options.steps.is_empty() { &ALL } else { &options.steps };
    let mut report = Report::new();
    let bench = Bench::prepare(steps)?;
    report.line("set-up", "ok");
    for &step in steps {
        if process::interrupted() {
            bail!("interrupted");
        }
        match step {
            Step::Format => format(&mut report)?,
            Step::Lint => lint(&mut report)?,
            Step::Tools => tools(&mut report)?,
            Step::Host => host(&mut report)?,
            Step::Python => in_python(&mut report)?,
            Step::Web => web(&bench, &mut report)?,
            Step::Docs => docs(&bench, &mut report)?,
            Step::Browser => in_browser(&bench, &mut report)?,
            Step::EndToEnd => end_to_end(&bench, &mut report)?,
        }
    }
    report.close()
}

/// Tools that the steps work with.
struct Bench {
    browser: Option<Browser>,
    nginx: Option<PathBuf>,
}

impl Bench {
    /// Finds or installs what `steps` need, before any of them starts.
    fn prepare(steps: &[Step]) -> Result<Self> {
        let needs = |those: &[Step]| steps.iter().any(|step| those.contains(step));
        if needs(&[Step::Format, Step::Lint]) {
            prerequisites::components()?;
        }
        if needs(&[Step::Lint]) {
            npm::packages(&lint::tools())?;
        }
        if needs(&[Step::Web, Step::Docs, Step::EndToEnd]) {
            npm::packages(&project::web())?;
        }
        if needs(&[Step::Docs]) {
            npm::packages(&docs::folder())?;
        }
        if needs(&[Step::Lint, Step::Web, Step::Browser, Step::EndToEnd]) {
            prerequisites::wasm_target()?;
        }
        if needs(&[Step::Host]) {
            prerequisites::lavapipe()?;
        }
        let browser = if needs(&[Step::Web, Step::Docs, Step::Browser, Step::EndToEnd]) {
            let browser = browser::find_or_install()?;
            browser::describe(&browser);
            Some(browser)
        } else {
            None
        };
        let nginx = needs(&[Step::EndToEnd]).then(prerequisites::nginx).transpose()?;
        Ok(Self { browser, nginx })
    }

    fn browser(&self) -> Result<&Browser> {
        self.browser.as_ref().context("no browser was looked for")
    }

    /// Tells a script of Node's which browser to start.
    fn with_browser<'a>(&self, command: &'a mut Command) -> Result<&'a mut Command> {
        Ok(command.env("CHROME", &self.browser()?.chromium))
    }
}

fn format(report: &mut Report) -> Result<()> {
    let mut command = project::cargo();
    report.check("format", command.args(["fmt", "--all", "--check"]))
}

fn lint(report: &mut Report) -> Result<()> {
    for (name, mut command) in lint::commands() {
        report.check(name, &mut command)?;
    }
    status::step("structure");
    match structure::check() {
        Ok(()) => report.line("structure", "ok"),
        Err(error) => report.failed("structure", &error),
    }
    Ok(())
}

fn tools(report: &mut Report) -> Result<()> {
    // Two selections, so that each shares the build of its command.
    let tools = ["-p", "xtask", "-p", "fedra-harness"];
    report.tests("tools", project::cargo().arg("test").args(tools))?;
    let system_tests = ["-p", "fedra-system-tests"];
    report.tests("system tests", project::cargo().arg("test").args(system_tests))
}

fn host(report: &mut Report) -> Result<()> {
    let mut command = project::cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]).args(NO_TOOLS);
    // A layer of Mesa's that picks among drivers prints an error for each device without a
    // desktop.
    command.env("NODEVICE_SELECT", "1");
    report.tests("host", &mut command)
}

fn in_python(report: &mut Report) -> Result<()> {
    status::step("python: the virtual environment and the wheel");
    let environment = match python::environment() {
        Ok(environment) => environment,
        Err(reason) => {
            report.skipped("python", &reason);
            return stop_if_interrupted();
        }
    };
    match python::build(&environment) {
        Ok(mut tests) => report.tests("python", &mut tests),
        Err(error) => {
            report.failed("python", &error);
            stop_if_interrupted()
        }
    }
}

fn web(bench: &Bench, report: &mut Report) -> Result<()> {
    status::step("dist");
    match dist::run(&dist::Options::default()) {
        Ok(()) => report.line("dist", "ok"),
        Err(error) => report.failed("dist", &error),
    }
    report.tests("web", project::npm(&project::web()).arg("test"))?;
    let mut page = project::npm(&project::web());
    page.args(["run", "test:page"]);
    report.tests("page", bench.with_browser(&mut page)?)
}

fn docs(bench: &Bench, report: &mut Report) -> Result<()> {
    status::step("docs: building the programs and the pages");
    let built = process::run(&mut programs()).and_then(|()| docs::pages());
    if let Err(error) = built {
        report.failed("docs", &error);
        return stop_if_interrupted();
    }
    let mut command = project::npm(&docs::folder());
    command.arg("test").env("E2E_PROGRAMS", project::target().join("debug"));
    report.tests("docs", bench.with_browser(&mut command)?)
}

fn in_browser(bench: &Bench, report: &mut Report) -> Result<()> {
    status::step("browser: building the runner");
    let mut build = project::cargo();
    if let Err(error) = process::run(build.args(["build", "-p", wasm_tests::RUNNER])) {
        report.failed("browser", &error);
        return Ok(());
    }
    report.tests("browser", &mut wasm_tests::cargo_test(bench.browser()?)?)
}

fn end_to_end(bench: &Bench, report: &mut Report) -> Result<()> {
    status::step("end-to-end: building the programs");
    let built = process::run(&mut programs());
    // The certificates are the load generator's.
    if let Err(error) = built.and_then(|()| process::run(&mut project::build_system_tests())) {
        report.failed("end-to-end", &error);
        return Ok(());
    }
    let nginx = bench.nginx.as_ref().context("no nginx was looked for")?;
    let mut command = Command::new("node");
    command
        .current_dir(project::root().join("wasm-tests/e2e"))
        .env("NGINX", nginx)
        .args(["--test", "--test-reporter=spec", "--test-concurrency=1"])
        .env("E2E_PROGRAMS", project::target().join("debug"));
    report.tests("end-to-end", bench.with_browser(&mut command)?)
}

/// Builds what the documents and the end-to-end tests start, in the selection of `host`, so that
/// the dependencies are built once.
fn programs() -> Command {
    let mut build = project::cargo();
    build.args(["build", "--workspace", "--bins", "--tests"]).args(NO_TOOLS);
    build.args(["--example", "onnx-samples", "--example", "prepared"]);
    build
}

/// Results of the steps so far.
struct Report {
    total: TestCounts,
    lines: Vec<String>,
    failed: Vec<&'static str>,
    started: Instant,
    step_started: Instant,
}

impl Report {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            total: TestCounts::default(),
            lines: Vec::new(),
            failed: Vec::new(),
            started: now,
            step_started: now,
        }
    }

    /// Notes how a step ended and how long it took, builds included.
    fn line(&mut self, name: &str, outcome: &str) {
        let took = status::duration(self.step_started.elapsed());
        self.step_started = Instant::now();
        self.lines.push(format!("{name:<12} {outcome} ({took})"));
    }

    /// A step without tests of its own: it only can fail.
    fn check(&mut self, name: &'static str, command: &mut Command) -> Result<()> {
        status::step(name);
        match process::run(command) {
            Ok(()) => self.line(name, "ok"),
            Err(error) => self.failed(name, &error),
        }
        stop_if_interrupted()
    }

    /// A step whose runner prints how many tests it ran.
    fn tests(&mut self, name: &'static str, command: &mut Command) -> Result<()> {
        status::step(name);
        match process::run_and_read(command) {
            Ok(finished) => {
                self.count(name, finished.status.success(), TestCounts::read(&finished.stdout));
            }
            Err(error) => self.failed(name, &error),
        }
        stop_if_interrupted()
    }

    fn count(&mut self, name: &'static str, success: bool, mut counts: TestCounts) {
        let mut remark = "";
        if !success && counts.failed == 0 {
            counts.failed = 1;
            remark = " (it failed outside its tests)";
        } else if counts.run() == 0 {
            counts.failed = 1;
            remark = " (it ran no test)";
        }
        if counts.failed > 0 {
            self.failed.push(name);
        }
        self.line(name, &format!("{counts}{remark}"));
        self.total += counts;
    }

    /// A step whose tools are missing counts as one test that was skipped.
    fn skipped(&mut self, name: &str, reason: &str) {
        self.line(name, &format!("skipped: {reason}"));
        self.total.skipped += 1;
    }

    /// A step that could not be carried out counts as one failure.
    fn failed(&mut self, name: &'static str, error: &anyhow::Error) {
        eprintln!("error: {error:#}");
        self.line(name, "failed");
        self.failed.push(name);
        self.total.failed += 1;
    }

    /// Prints the steps and, as the last line, the sum.
    fn close(self) -> Result<()> {
        println!();
        for line in &self.lines {
            println!("{line}");
        }
        if !self.failed.is_empty() {
            println!("failed: {}", self.failed.join(", "));
        }
        println!("in all {}", status::duration(self.started.elapsed()));
        println!("{}", self.total);
        if !self.failed.is_empty() {
            // The reason is on the screen already, and the sum closes it.
            std::process::exit(1);
        }
        Ok(())
    }
}

fn stop_if_interrupted() -> Result<()> {
    if process::interrupted() {
        bail!("interrupted");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_fails_or_runs_nothing_counts_as_a_failure() {
        let mut report = Report::new();
        let passed = TestCounts { passed: 3, ..TestCounts::default() };
        report.count("good", true, passed);
        report.count("crashed", false, passed);
        report.count("empty", true, TestCounts::default());
        report.skipped("elsewhere", "no tool");
        assert_eq!(report.total.to_string(), "6 passed, 2 failed, 1 skipped");
        assert_eq!(report.failed, ["crashed", "empty"]);
        assert!(report.lines[0].starts_with("good         3 passed, 0 failed ("));
    }
}
