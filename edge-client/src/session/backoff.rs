//! How long to wait before the next attempt to connect.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Exponential back-off: the wait doubles, and half of it is random so that
/// clients of a restarted server do not come back all at once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts a failure and gives the wait; `jitter` is uniform in [0, 1).
    pub fn next(&mut self, jitter: f64) -> Duration {
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let longest = FIRST.saturating_mul(1 << doublings).min(LONGEST);
        longest.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }

    /// The server is there.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}
