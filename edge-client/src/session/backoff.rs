//! Wait before the next attempt.

use std::time::Duration;

/// Exponential back-off: the wait doubles, and half of it is random so that
/// clients of a restarted server do not come back all at once.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// Counts a failure and gives the wait; `jitter` is uniform in [0, 1).
    pub fn next(&mut self, jitter: f64) -> Duration {
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let longest = self.first.saturating_mul(1 << doublings).min(self.longest);
        longest.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }

    /// Starts again from the shortest wait: what failed has worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}
