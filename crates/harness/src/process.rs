//! Child processes: each command is printed before it runs, a failure is
//! reported with what the child said last, and no child outlives this process.
//!
//! Children are started from the main thread only: on Linux a child's death
//! signal is tied to the thread that started it.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::project;
use crate::status;

const POLL: Duration = Duration::from_millis(20);
/// Longest time for a service to end by itself.
const GRACE: Duration = Duration::from_secs(10);
const LAST_LINES: usize = 20;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// The process groups to end when this process is told to end.
static GROUPS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Passes a signal to end to every child from now on: kindly at first, by force
/// the second time.
pub fn catch_signals() -> Result<()> {
    ctrlc::set_handler(|| {
        let again = INTERRUPTED.swap(true, Ordering::SeqCst);
        for &group in groups().iter() {
            signal_group(group, again);
        }
        if again {
            std::process::exit(130);
        }
    })
    .context("cannot listen for Ctrl-C")
}

/// The exit code for what a program came to; prints the error, if it is one.
pub fn exit_code(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupted() => {
            eprintln!("interrupted");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Goes on as `command`: its output, signals and exit code are those of this
/// process. Returns only if it cannot be started.
#[cfg(unix)]
pub fn become_command(command: &mut Command) -> Result<()> {
    use std::os::unix::process::CommandExt;

    let error = command.exec();
    Err(error).with_context(|| format!("cannot start `{}`", line(command)))
}

/// Runs `command` and ends with its exit code. Returns only if it cannot be started.
#[cfg(not(unix))]
pub fn become_command(command: &mut Command) -> Result<()> {
    let status = wait(&mut start(command)?)?;
    std::process::exit(status.code().unwrap_or(1));
}

/// True if this process was told to end.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Sleeps for `pause`, less when interrupted.
pub fn pause(pause: Duration) -> Result<()> {
    let until = Instant::now() + pause;
    loop {
        if interrupted() {
            bail!("interrupted");
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(POLL));
    }
}

/// Runs `command` to its end, its output shown as it comes.
pub fn run(command: &mut Command) -> Result<()> {
    show(command);
    let status = wait(&mut start(command)?)?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

/// Result of a command that was run to its end.
pub struct Finished {
    /// Exit status.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: String,
}

/// Runs `command` to its end, its output shown as it comes, and returns what
/// it wrote to standard output. A failing exit is no error here.
pub fn run_and_read(command: &mut Command) -> Result<Finished> {
    run_with(command, |line| {
        let mut out = io::stdout().lock();
        out.write_all(line)?;
        out.flush()
    })
}

/// Like [`run_and_read`], but what it writes to standard output is not shown.
pub fn run_silently(command: &mut Command) -> Result<Finished> {
    run_with(command, |_| Ok(()))
}

fn run_with(command: &mut Command, echo: fn(&[u8]) -> io::Result<()>) -> Result<Finished> {
    show(command);
    let mut child = start(command.stdout(Stdio::piped()))?;
    let pipe = child.stdout.take().context("no pipe to read from")?;
    let reader = thread::spawn(move || -> io::Result<String> {
        let mut text = Vec::new();
        let mut pipe = BufReader::new(pipe);
        loop {
            let from = text.len();
            if pipe.read_until(b'\n', &mut text)? == 0 {
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
            echo(&text[from..])?;
        }
    });
    let status = wait(&mut child)?;
    let stdout = match reader.join() {
        Ok(text) => text.context("cannot read a child's output")?,
        Err(_) => bail!("the thread that reads a child's output panicked"),
    };
    Ok(Finished { status, stdout })
}

/// Runs `command` quietly and returns its standard output, or nothing when it
/// cannot be started or fails.
pub fn probe(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// State of a child that goes on living.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freeze {
    /// It stands still.
    Stop,
    /// It goes on.
    Continue,
}

/// A child that runs beside this process, with its output in a file.
pub struct Service {
    name: &'static str,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Service {
    /// Starts `command`, its output going to the new file `log`.
    pub fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Self> {
        show(command);
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        Self::start_into(name, command, log, file)
    }

    /// Starts `command` without a word, its output going to the end of `log`:
    /// for one of many that come and go.
    pub fn start_quietly(name: &'static str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        Self::start_into(name, command, log, file)
    }

    fn start_into(
        name: &'static str,
        command: &mut Command,
        log: &Path,
        file: File,
    ) -> Result<Self> {
        let child = start(command.stdout(file.try_clone()?).stderr(file))?;
        Ok(Self { name, child, log: log.to_path_buf(), ended: None })
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills the child by force, as a crash or an impatient user would, and
    /// waits until it is gone.
    pub fn kill(&mut self) {
        if self.ended.is_none() {
            signal_group(self.child.id(), true);
            // Nothing is left to be done about a failure here.
            self.ended = self.child.wait().ok();
            groups().retain(|&group| group != self.child.id());
        }
    }

    /// Stops the child where it stands, without notice to its peers, or lets it go
    /// on.
    pub fn freeze(&self, freeze: Freeze) -> Result<()> {
        freeze_group(self.child.id(), freeze)
    }

    /// True if the child ended well; an error that quotes its last lines when it
    /// failed.
    pub fn has_ended(&mut self) -> Result<bool> {
        if self.ended.is_none() {
            self.ended = reap(&mut self.child)?;
        }
        match self.ended {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => bail!(
                "{} failed ({status}); its last lines, from {}:\n{}",
                self.name,
                shown(&self.log),
                last_lines(&self.log)
            ),
        }
    }

    /// An error when the child is no longer there, however it ended.
    pub fn expect_running(&mut self) -> Result<()> {
        if self.has_ended()? {
            bail!(
                "{} ended early; its last lines, from {}:\n{}",
                self.name,
                shown(&self.log),
                last_lines(&self.log)
            );
        }
        Ok(())
    }

    /// Asks the child to end and waits for it; an error when it has to be
    /// killed or ends badly.
    pub fn stop(mut self) -> Result<()> {
        if self.has_ended()? {
            return Ok(());
        }
        signal_group(self.child.id(), false);
        let until = Instant::now() + GRACE;
        while self.ended.is_none() && Instant::now() < until {
            self.ended = reap(&mut self.child)?;
            thread::sleep(POLL);
        }
        match self.ended {
            Some(status) if status.success() || interrupted() => Ok(()),
            Some(status) => bail!(
                "{} ended badly ({status}); its last lines, from {}:\n{}",
                self.name,
                shown(&self.log),
                last_lines(&self.log)
            ),
            None => bail!("{} did not end within {} s", self.name, GRACE.as_secs()),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // After a signal the child has been asked to end already.
        let until = Instant::now() + GRACE;
        while self.ended.is_none() && interrupted() && Instant::now() < until {
            match reap(&mut self.child) {
                Ok(ended) => self.ended = ended,
                Err(_) => break,
            }
            thread::sleep(POLL);
        }
        self.kill();
    }
}

fn show(command: &Command) {
    let folder = command.get_current_dir().unwrap_or(Path::new("."));
    let root = project::root();
    match folder.strip_prefix(&root) {
        Ok(inner) if !inner.as_os_str().is_empty() => {
            eprintln!("    {}$ {}", inner.display(), line(command));
        }
        _ => eprintln!("    $ {}", line(command)),
    }
}

fn line(command: &Command) -> String {
    let mut words = vec![name(command)];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    let words: Vec<String> = words
        .into_iter()
        .map(|word| {
            if word.is_empty() || word.contains([' ', '"', '\'']) {
                format!("'{}'", word.replace('\'', "'\\''"))
            } else {
                word
            }
        })
        .collect();
    words.join(" ")
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
}

/// `path` as seen from the workspace's root.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(project::root()).unwrap_or(path).display().to_string()
}

fn last_lines(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LAST_LINES);
    if lines.is_empty() {
        return "  (it wrote nothing)".to_owned();
    }
    lines[from..].iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn start(command: &mut Command) -> Result<Child> {
    if interrupted() {
        bail!("interrupted");
    }
    command.stdin(Stdio::null());
    tie_to_us(command);
    // Under the lock, so that a signal never misses a child that just started.
    let mut groups = groups();
    let child = command.spawn().with_context(|| format!("cannot start `{}`", line(command)))?;
    groups.push(child.id());
    Ok(child)
}

fn wait(child: &mut Child) -> Result<ExitStatus> {
    loop {
        if let Some(status) = reap(child)? {
            if interrupted() {
                bail!("interrupted");
            }
            return Ok(status);
        }
        thread::sleep(POLL);
    }
}

/// The child's status if it has ended. It leaves the list of groups in the
/// same step, so that no signal goes to a number that was given away.
fn reap(child: &mut Child) -> Result<Option<ExitStatus>> {
    let mut groups = groups();
    let status = child.try_wait().context("cannot wait for a child")?;
    if status.is_some() {
        groups.retain(|&group| group != child.id());
    }
    Ok(status)
}

fn groups() -> MutexGuard<'static, Vec<u32>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives the child a process group of its own, which can be ended as a
/// whole, and on Linux a death signal for the case that this process is killed.
#[cfg(unix)]
fn tie_to_us(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    command.process_group(0);
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        #[expect(unsafe_code, reason = "std offers no other way into the child")]
        // SAFETY: the closure is one system call; it allocates nothing and
        // takes no lock between fork and exec.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
        }
    }
}

#[cfg(not(unix))]
fn tie_to_us(_command: &mut Command) {}

#[cfg(unix)]
fn signal_group(group: u32, by_force: bool) {
    use rustix::process::{Pid, Signal, kill_process_group};

    let signal = if by_force { Signal::KILL } else { Signal::TERM };
    let pid = i32::try_from(group).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = kill_process_group(pid, signal)
    {
        status::note(&format!("cannot signal process group {group}: {error}"));
    }
}

#[cfg(unix)]
fn freeze_group(group: u32, freeze: Freeze) -> Result<()> {
    use rustix::process::{Pid, Signal, kill_process_group};

    let signal = match freeze {
        Freeze::Stop => Signal::STOP,
        Freeze::Continue => Signal::CONT,
    };
    let pid = i32::try_from(group).ok().and_then(Pid::from_raw).context("no such process")?;
    kill_process_group(pid, signal).with_context(|| format!("cannot signal process group {group}"))
}

#[cfg(not(unix))]
fn freeze_group(_group: u32, _freeze: Freeze) -> Result<()> {
    bail!("processes can be frozen only on Unix")
}

#[cfg(not(unix))]
fn signal_group(group: u32, _by_force: bool) {
    let killed = Command::new("taskkill").args(["/F", "/T", "/PID", &group.to_string()]).status();
    if let Err(error) = killed {
        status::note(&format!("cannot end process {group}: {error}"));
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// Waits until `holds`.
    #[track_caller]
    fn until(mut holds: impl FnMut() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < Duration::from_secs(30), "hangs");
            thread::yield_now();
        }
    }

    #[test]
    fn output_is_returned_and_a_failing_exit_is_told() {
        let mut command = Command::new("sh");
        let finished = run_and_read(command.args(["-c", "echo one; echo two; exit 3"])).unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(finished.stdout, "one\ntwo\n");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run(&mut Command::new("no-such-program")).unwrap_err();
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }

    #[test]
    fn a_service_that_fails_is_reported_with_its_last_lines() {
        let log = std::env::temp_dir().join(format!("harness-service-{}.log", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "echo reason; exit 1"]);
        let mut service = Service::start("the service", &mut command, &log).unwrap();
        let error = loop {
            match service.has_ended() {
                Ok(false) => thread::yield_now(),
                Ok(true) => panic!("a failure was taken for a success"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("the service failed"), "{error}");
        assert!(error.contains("  reason"), "{error}");
        fs::remove_file(log).unwrap();
    }

    #[test]
    fn a_service_is_asked_to_end_before_it_is_killed() {
        let log = std::env::temp_dir().join(format!("harness-stop-{}.log", std::process::id()));
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.01; done",
        ]);
        let service = Service::start("the service", &mut command, &log).unwrap();
        until(|| fs::read_to_string(&log).unwrap() == "ready\n");
        service.stop().unwrap();
        let log_text = fs::read_to_string(&log).unwrap();
        assert!(log_text.ends_with("asked\n"), "{log_text}");
        fs::remove_file(log).unwrap();
    }

    #[test]
    fn a_frozen_service_goes_on_where_it_stood_and_dies_when_it_is_killed() {
        let log = std::env::temp_dir().join(format!("harness-freeze-{}.log", std::process::id()));
        let mut command = Command::new("sh");
        // One process: a shell that starts another waits for it uninterruptibly, and a wait
        // for its state T could last for ever.
        command.args(["-c", "echo first; exec sleep 1000"]);
        let mut service = Service::start_quietly("the service", &mut command, &log).unwrap();
        let stat = format!("/proc/{}/stat", service.id());
        let state = || fs::read_to_string(&stat).unwrap();
        let stands = || state().rsplit(')').next().unwrap().trim().starts_with('T');
        service.freeze(Freeze::Stop).unwrap();
        until(|| cfg!(not(target_os = "linux")) || stands());
        service.freeze(Freeze::Continue).unwrap();
        until(|| cfg!(not(target_os = "linux")) || !stands());
        until(|| fs::read_to_string(&log).unwrap() == "first\n");
        service.kill();
        assert!(service.has_ended().is_err());
        // A second one writes after the first.
        let mut command = Command::new("sh");
        command.args(["-c", "echo second"]);
        let mut service = Service::start_quietly("the service", &mut command, &log).unwrap();
        until(|| service.has_ended().unwrap());
        assert_eq!(fs::read_to_string(&log).unwrap(), "first\nsecond\n");
        fs::remove_file(log).unwrap();
    }
}
