//! The pace of clients and of attempts.
//!
//! Pace steering (Bonawitz et al. 2019, section 2.3): clients that are not
//! needed for a while are sent away, and come back spread over time. Attempts that
//! fail in a row follow each other ever more slowly.

use std::time::Duration;

use rand::RngExt;

use super::pool::sample;
use super::{ClientId, Context, Effect, Time};

/// Least delay after a failed attempt, and longest.
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(60);

/// Sends those of `waiting` away for whom the waiting room has no place. Who may
/// stay is drawn at random.
pub(super) fn steer(waiting: &[ClientId], context: &mut Context<'_>) {
    let Some(room) = context.plan.waiting_room else { return };
    let surplus = waiting.len().saturating_sub(room);
    let window = context.plan.retry_after..=context.plan.retry_after * 2;
    for client in sample(waiting, surplus, context.rng) {
        let after = context.rng.random_range(window.clone());
        context.forget(client);
        context.effects.push(Effect::SendAway(client, after));
    }
}

/// Delay between attempts that fail: it grows from the selection window to a minute
/// while they do, and ends when another client becomes available.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Hold {
    /// Attempts that failed in a row.
    failures: u32,
    /// Earliest start of the next attempt, and the arrivals in the pool at the failure.
    until: Option<(Time, u64)>,
}

impl Hold {
    /// An attempt failed: delays the next one, which has the clients of `arrivals`.
    pub(super) fn failed(&mut self, window: Duration, now: Time, arrivals: u64) {
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let delay = window.max(SHORTEST).saturating_mul(1 << doublings);
        self.until = Some((now + delay.min(LONGEST.max(window)), arrivals));
    }

    /// A round completed.
    pub(super) fn completed(&mut self) {
        *self = Self::default();
    }

    /// Earliest start of an attempt with the clients of `arrivals`; `None` if at once.
    pub(super) fn until(&self, arrivals: u64) -> Option<Time> {
        self.until.filter(|(_, then)| *then == arrivals).map(|(until, _)| until)
    }
}
