//! Result of a libFuzzer run, in one row. No I/O.

use std::fmt;
use std::time::Duration;

/// The columns' names.
pub const HEADER: &str = "target              runs   runs/s   edges     new";

/// One target's run.
#[derive(Debug)]
pub struct Outcome {
    pub target: String,
    /// Inputs that were tried.
    pub runs: u64,
    /// Places in the code that were reached.
    edges: u64,
    /// Inputs that reached new ones.
    new: u64,
    took: Duration,
    /// The end of the log, if something did not hold.
    pub failure: Option<String>,
}

impl Outcome {
    /// Outcome from libFuzzer's log.
    pub fn read(target: &str, log: &str, took: Duration, failure: Option<String>) -> Self {
        let last = |name: &str| {
            log.lines().rev().find_map(|line| {
                let (_, rest) = line.split_once(name)?;
                rest.split_whitespace().next()?.parse().ok()
            })
        };
        // A run that fails ends without its statistics.
        let runs = last("stat::number_of_executed_units:").or_else(|| started(log));
        Self {
            target: target.to_owned(),
            runs: runs.unwrap_or(0),
            edges: last(" cov: ").unwrap_or(0),
            new: last("stat::new_units_added:").unwrap_or(0),
            took,
            failure,
        }
    }
}

/// `#12345 NEW cov: ...`: how many inputs there were when the line was written.
fn started(log: &str) -> Option<u64> {
    let numbered = |line: &str| line.strip_prefix('#')?.split_whitespace().next()?.parse().ok();
    log.lines().rev().find_map(numbered)
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, runs, edges, new, took, failure } = self;
        let speed = *runs as f64 / took.as_secs_f64().max(1.0);
        let remark = if failure.is_some() { "  FAILED" } else { "" };
        write!(f, "{target:<15} {runs:>8} {speed:>8.0} {edges:>7} {new:>7}{remark}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
INFO: Loaded 1 modules   (2000 inline 8-bit counters)
#2\tINITED cov: 100 ft: 101 corp: 1/1b exec/s: 0 rss: 30Mb
#4096\tNEW    cov: 812 ft: 900 corp: 7/90b lim: 4 exec/s: 2048 rss: 31Mb L: 4/4
#20000\tDONE   cov: 813 ft: 901 corp: 8/94b lim: 4 exec/s: 10000 rss: 31Mb
Done 20000 runs in 2 second(s)
stat::number_of_executed_units: 20000
stat::average_exec_per_sec:     10000
stat::new_units_added:          6
";

    #[test]
    fn a_run_is_a_row_under_the_header() {
        let outcome = Outcome::read("client_message", GOOD, Duration::from_secs(2), None);
        let row = outcome.to_string();
        assert_eq!(row, "client_message     20000    10000     813       6");
        assert_eq!(row.len(), HEADER.len());
    }

    #[test]
    fn a_run_that_fails_has_a_row_too() {
        let log = "#512\tpulse  cov: 90 ft: 91\nthread panicked\n==1== ERROR: deadly signal\n";
        let failure = Some("it panicked".to_owned());
        let outcome = Outcome::read("update", log, Duration::from_secs(1), failure);
        assert_eq!((outcome.runs, outcome.edges), (512, 90));
        assert!(outcome.to_string().ends_with("FAILED"));
    }
}
