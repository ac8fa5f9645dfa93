//! What the operating system tells about this process. What a system does not
//! tell is absent, not zero.

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

/// Raises the limit on open file descriptors as far as this process may, and
/// returns it; `None` if there is none, or the system does not tell.
pub(crate) fn raise_file_limit() -> Option<u64> {
    #[cfg(unix)]
    unix::raise_file_limit();
    Process::now().most_files
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
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use rustix::time::{ClockId, clock_gettime};

    use super::Process;

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
        let files: Vec<_> = (0..10).map(|_| std::fs::File::open("/proc/self/status")).collect();
        let after = Process::now();
        assert!(files.iter().all(Result::is_ok));
        // Other tests of this process open and close files too, but not hundreds.
        let (open, most) = (after.open_files.expect("known"), after.most_files.expect("known"));
        assert!((10..=most).contains(&open), "{after:?}");
        assert!(after.resident_bytes.expect("known") > 1 << 20, "{after:?}");
        assert!(after.threads.expect("known") >= 1, "{after:?}");
        assert!(after.cpu_seconds.expect("known") >= before.cpu_seconds.expect("known"));
    }
}
