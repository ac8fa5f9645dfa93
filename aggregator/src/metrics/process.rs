//! The process itself under the names that Prometheus' own clients use. Read
//! anew for every answer, so it goes around the recorder.

use std::fmt::{Display, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::platform::Process;

/// Name, type and help of what is written here.
pub(super) const DESCRIBED: [(&str, &str, &str); 6] = [
    ("process_start_time_seconds", "gauge", "When the server started, seconds since 1970"),
    ("process_cpu_seconds_total", "counter", "Processor time used, seconds"),
    ("process_resident_memory_bytes", "gauge", "Resident memory"),
    ("process_threads", "gauge", "Threads"),
    ("process_open_fds", "gauge", "Open file descriptors"),
    ("process_max_fds", "gauge", "Most file descriptors that may be open"),
];

/// The numbers in Prometheus' text format; those that the system does not tell
/// are left out.
pub(super) fn render(process: &Process, started: SystemTime) -> String {
    let started = started.duration_since(UNIX_EPOCH).unwrap_or_default();
    let values: [Option<&dyn Display>; DESCRIBED.len()] = [
        Some(&started.as_secs_f64()),
        process.cpu_seconds.as_ref().map(|value| value as _),
        process.resident_bytes.as_ref().map(|value| value as _),
        process.threads.as_ref().map(|value| value as _),
        process.open_files.as_ref().map(|value| value as _),
        process.most_files.as_ref().map(|value| value as _),
    ];
    let mut text = String::new();
    for ((name, kind, help), value) in DESCRIBED.into_iter().zip(values) {
        let Some(value) = value else { continue };
        // Writing to a String does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_not_known_is_left_out() {
        let process =
            Process { resident_bytes: Some(4096), cpu_seconds: Some(0.25), ..Process::default() };
        let text = render(&process, UNIX_EPOCH + Duration::from_millis(1500));
        let values: Vec<&str> =
            text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        assert_eq!(
            values,
            [
                "process_start_time_seconds 1.5",
                "process_cpu_seconds_total 0.25",
                "process_resident_memory_bytes 4096",
            ]
        );
        assert!(text.contains("# TYPE process_cpu_seconds_total counter\n"));
    }
}
