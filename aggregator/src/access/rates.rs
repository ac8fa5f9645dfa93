//! Rate limits: token buckets, one for each block of addresses and one for all
//! together.
//!
//! Memory is bounded: of the blocks only the [`BLOCKS`] that were seen last are
//! remembered. It reads no clock.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::address::Block;

/// Most blocks of addresses that one limiter remembers: about 4 MiB.
const BLOCKS: usize = 1 << 16;

/// Token bucket: sustained rate per second, and burst size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    pub per_second: f64,
    pub burst: f64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn full(rate: Rate, now: Instant) -> Self {
        Self { left: rate.burst, at: now }
    }

    /// Takes one, or says how long to wait for one.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * rate.per_second).min(rate.burst);
        self.at = self.at.max(now);
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.left) / rate.per_second))
    }
}

/// The limits of one kind of event; `None` is no limit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RateLimits {
    pub each: Option<Rate>,
    pub all: Option<Rate>,
}

/// The limit that an event exceeds, and the time until the next try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TooFast {
    /// That of its block of addresses.
    Block(Duration),
    /// The one for all together.
    All(Duration),
}

/// Recent events of one kind.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    state: Mutex<State>,
}

/// Two generations: when the young one is half of what may be kept, it becomes
/// the old one, and what had not been seen since is forgotten.
#[derive(Debug, Default)]
struct State {
    all: Option<Bucket>,
    young: HashMap<Block, Bucket>,
    old: HashMap<Block, Bucket>,
}

impl Rates {
    /// Counts one event, unless it is over a limit.
    pub(crate) fn take(
        &self,
        limits: &RateLimits,
        block: Block,
        now: Instant,
    ) -> Result<(), TooFast> {
        let mut state = self.lock();
        if let Some(each) = limits.each {
            state.bucket(block, each, now).take(each, now).map_err(TooFast::Block)?;
        }
        if let Some(all) = limits.all {
            let bucket = state.all.get_or_insert_with(|| Bucket::full(all, now));
            if let Err(wait) = bucket.take(all, now) {
                // It has not taken place, so it does not count against the block.
                if let Some(bucket) = state.young.get_mut(&block) {
                    bucket.left += 1.0;
                }
                return Err(TooFast::All(wait));
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn bucket(&mut self, block: Block, rate: Rate, now: Instant) -> &mut Bucket {
        if self.young.len() >= BLOCKS / 2 && !self.young.contains_key(&block) {
            self.old = std::mem::take(&mut self.young);
        }
        let old = &mut self.old;
        self.young
            .entry(block)
            .or_insert_with(|| old.remove(&block).unwrap_or_else(|| Bucket::full(rate, now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: RateLimits =
        RateLimits { each: Some(Rate { per_second: 2.0, burst: 3.0 }), all: None };

    fn allowed(rates: &Rates, limits: &RateLimits, block: Block, now: Instant) -> usize {
        (0..100).take_while(|_| rates.take(limits, block, now).is_ok()).count()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let (rates, start) = (Rates::default(), Instant::now());
        let block = Block::V4(1);
        assert_eq!(allowed(&rates, &EACH, block, start), 3);
        let wait = rates.take(&EACH, block, start).expect_err("too fast");
        assert_eq!(wait, TooFast::Block(Duration::from_millis(500)));
        // Another block has its own.
        assert_eq!(allowed(&rates, &EACH, Block::V4(2), start), 3);
        assert_eq!(allowed(&rates, &EACH, block, start + Duration::from_secs(1)), 2);
        // However long it was quiet, no more than the burst.
        assert_eq!(allowed(&rates, &EACH, block, start + Duration::from_secs(3600)), 3);
    }

    #[test]
    fn what_all_together_may_not_costs_nobody_anything() {
        let all = RateLimits { all: Some(Rate { per_second: 1.0, burst: 4.0 }), ..EACH };
        let (rates, start) = (Rates::default(), Instant::now());
        assert_eq!(allowed(&rates, &all, Block::V4(1), start), 3);
        assert_eq!(allowed(&rates, &all, Block::V4(2), start), 1);
        let refused = rates.take(&all, Block::V4(2), start).expect_err("too fast");
        assert_eq!(refused, TooFast::All(Duration::from_secs(1)));
        // The two that are left to the second block are still there.
        assert_eq!(allowed(&rates, &EACH, Block::V4(2), start), 2);
    }

    #[test]
    fn memory_is_bounded_and_who_comes_often_is_remembered() {
        let (rates, now) = (Rates::default(), Instant::now());
        let regular = Block::V4(u32::MAX);
        assert_eq!(allowed(&rates, &EACH, regular, now), 3);
        for network in 0..300_000 {
            assert!(rates.take(&EACH, Block::V6(network), now).is_ok());
            if network % 1000 == 0 {
                assert!(rates.take(&EACH, regular, now).is_err(), "forgotten");
            }
        }
        let state = rates.lock();
        assert!(state.young.len() + state.old.len() <= BLOCKS);
    }
}
