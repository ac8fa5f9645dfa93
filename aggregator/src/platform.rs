//! Differences between operating systems: facts about this process and about files, and
//! signals. A fact that a system does not tell is absent, not zero.

use std::fs::File;
use std::io;
use std::time::{Duration, SystemTime};

use futures_util::stream::BoxStream;
#[cfg(not(unix))]
use futures_util::{StreamExt, stream};
#[cfg(unix)]
pub(crate) use unix::stop_signal;

/// Numbers of this process, as of now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Process {
    /// Resident memory, bytes.
    pub resident_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
    /// Most file descriptors that may be open.
    pub most_files: Option<u64>,
    /// Processor time used by all threads, seconds.
    pub cpu_seconds: Option<f64>,
}

impl Process {
    /// Asks the system. A few small reads from `/proc`, where there is one.
    pub(crate) fn now() -> Self {
        let mut process = Self::default();
        #[cfg(target_os = "linux")]
        linux::read(&mut process);
        #[cfg(unix)]
        unix::read(&mut process);
        process
    }
}

/// State of a file, which another content would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileState {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Times of the content, and of the inode; the latter cannot be set back.
    modified: SystemTime,
    changed: SystemTime,
}

impl FileState {
    /// Changes that follow each other faster may have the same time.
    const SETTLED: Duration = Duration::from_secs(2);

    /// The state of an open file; `None` if a later change might not show, because the
    /// last one was just before `now`, or because the system does not tell.
    pub(crate) fn of(file: &File, now: SystemTime) -> io::Result<Option<Self>> {
        let metadata = file.metadata()?;
        #[cfg(unix)]
        let state = unix::state(&metadata)?;
        #[cfg(not(unix))]
        let state = None::<Self>.filter(|_| metadata.is_file());
        let is_settled =
            |state: &Self| now.duration_since(state.changed).is_ok_and(|age| age >= Self::SETTLED);
        Ok(state.filter(is_settled))
    }
}

/// Raises the limit on open file descriptors to the most that this process may have,
/// and returns it; `None` if there is none, or the system does not tell.
pub(crate) fn raise_file_limit() -> Option<u64> {
    #[cfg(unix)]
    unix::raise_file_limit();
    Process::now().most_files
}

/// Resolves on ctrl-c.
#[cfg(not(unix))]
pub(crate) async fn stop_signal() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::warn!(%error, "cannot wait for ctrl-c");
    }
}

/// Every SIGHUP, where there is such a thing.
pub(crate) fn hang_ups() -> BoxStream<'static, ()> {
    #[cfg(unix)]
    return unix::hang_ups();
    #[cfg(not(unix))]
    stream::pending().boxed()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;

    use super::Process;

    pub(super) fn read(process: &mut Process) {
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            process.resident_bytes = field(&status, "VmRSS:").map(|kibibytes| kibibytes << 10);
            process.threads = field(&status, "Threads:");
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // One of them is the folder that is being read.
            process.open_files = Some((files.count() as u64).saturating_sub(1));
        }
    }

    /// The number behind a name in `/proc/self/status`.
    fn field(status: &str, name: &str) -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

#[cfg(unix)]
mod unix {
    use std::fs::Metadata;
    use std::io;
    use std::os::unix::fs::MetadataExt;
    use std::time::{Duration, SystemTime};

    use futures_util::StreamExt;
    use futures_util::stream::{self, BoxStream};
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use rustix::time::{ClockId, clock_gettime};
    use tokio::signal::unix::{SignalKind, signal};

    use super::{FileState, Process};

    pub(super) fn state(metadata: &Metadata) -> io::Result<Option<FileState>> {
        let nanoseconds = u32::try_from(metadata.ctime_nsec()).unwrap_or_default();
        let changed = u64::try_from(metadata.ctime()).ok().and_then(|seconds| {
            SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
        });
        let Some(changed) = changed else { return Ok(None) };
        Ok(Some(FileState {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: metadata.modified()?,
            changed,
        }))
    }

    /// Resolves on ctrl-c and on SIGTERM: from the call on, however long the server takes
    /// to start.
    pub(crate) fn stop_signal() -> impl Future<Output = ()> + Send + 'static {
        let mut signals = stream::select(
            of_kind(SignalKind::terminate(), "SIGTERM"),
            of_kind(SignalKind::interrupt(), "ctrl-c"),
        );
        async move {
            signals.next().await;
        }
    }

    pub(super) fn hang_ups() -> BoxStream<'static, ()> {
        of_kind(SignalKind::hangup(), "SIGHUP")
    }

    fn of_kind(kind: SignalKind, name: &str) -> BoxStream<'static, ()> {
        match signal(kind) {
            Ok(mut signal) => stream::poll_fn(move |context| signal.poll_recv(context)).boxed(),
            Err(error) => {
                tracing::warn!(%error, "cannot wait for {name}");
                stream::pending().boxed()
            }
        }
    }

    pub(super) fn raise_file_limit() {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, ..limit };
        if limit.current != limit.maximum
            && let Err(error) = setrlimit(Resource::Nofile, raised)
        {
            tracing::warn!(%error, "cannot raise the limit on file descriptors");
        }
    }

    pub(super) fn read(process: &mut Process) {
        process.most_files = getrlimit(Resource::Nofile).current;
        let time = clock_gettime(ClockId::ProcessCPUTime);
        process.cpu_seconds = Some(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_follow_what_the_process_does() {
        let before = Process::now();
        let files: Vec<_> = (0..300).map(|_| File::open("/proc/self/status")).collect();
        let after = Process::now();
        assert!(files.iter().all(Result::is_ok));
        // Other tests of this process open and close files too, but not hundreds.
        assert!(before.open_files.expect("known") < 300, "{before:?}");
        let (open, most) = (after.open_files.expect("known"), after.most_files.expect("known"));
        assert!((300..=most).contains(&open), "{after:?}");
        assert!(after.resident_bytes.expect("known") > 1 << 20, "{after:?}");
        assert!(after.threads.expect("known") >= 1, "{after:?}");
        assert!(after.cpu_seconds.expect("known") >= before.cpu_seconds.expect("known"));
    }
}
