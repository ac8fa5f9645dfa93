//! Resources that processes take of the system: memory and open files. Linux tells
//! it in `/proc`; elsewhere there is an error that says so.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fedra_harness::process;

/// Pause between two looks at a process's memory.
const SAMPLE: Duration = Duration::from_millis(200);

/// Bytes of memory that a process has touched and that no file backs: heap,
/// stacks. What the kernel keeps for its sockets is not in it.
pub fn anonymous_memory(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path)
        .with_context(|| format!("cannot read {path}: memory is measured on Linux only"))?;
    read_anonymous(&status).with_context(|| format!("{path} does not tell RssAnon"))
}

/// The median of [`anonymous_memory`] over `time`: it goes up and down with what
/// the process does at the moment.
pub fn median_memory(process: u32, time: Duration) -> Result<u64> {
    let mut samples = Vec::new();
    let count = (time.as_millis() / SAMPLE.as_millis()).max(1);
    for _ in 0..count {
        samples.push(anonymous_memory(process)?);
        process::pause(SAMPLE)?;
    }
    samples.sort_unstable();
    Ok(samples[samples.len() / 2])
}

fn read_anonymous(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// Lets each process that is started from now on open `wanted` files.
#[cfg(unix)]
pub fn allow_open_files(wanted: u64) -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if let Some(most) = limit.maximum.filter(|most| *most < wanted) {
        bail!(
            "one process has to open {wanted} files, and the system allows {most}: raise the hard \
             limit (`ulimit -Hn`), or ask for fewer connections"
        );
    }
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).context("cannot raise the limit of open files")
}

/// Lets each process that is started from now on open `wanted` files.
#[cfg(not(unix))]
pub fn allow_open_files(_wanted: u64) -> Result<()> {
    bail!("the limit of open files is known only on Unix")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anonymous_memory_is_read_from_a_status() {
        let status = "Name:\tx\nVmRSS:\t  2048 kB\nRssAnon:\t    1040 kB\nRssFile:\t 8 kB\n";
        assert_eq!(read_anonymous(status), Some(1040 << 10));
        assert_eq!(read_anonymous("VmRSS:\t 5 kB\n"), None);
        assert_eq!(read_anonymous("RssAnon:\t 5 MB\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory_and_more_files_than_anybody_has_are_refused() {
        assert!(anonymous_memory(std::process::id()).unwrap() > 0);
        allow_open_files(1).unwrap();
    }
}
