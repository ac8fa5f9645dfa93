//! The made-up network: connections that delay, lose, double and reorder
//! messages, and break. It schedules; it looks into nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::scenario::Faults;

/// A connection between a client and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(pub u64);

/// Direction of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Up,
    Down,
}

/// A connection that is open.
pub(crate) struct Link {
    pub client: usize,
    /// Arrival of the last message of each way: the next one comes after it, where
    /// order is kept.
    last: [Duration; 2],
    /// The server will look after it soon.
    poll_due: bool,
}

impl Link {
    pub(crate) fn new(client: usize) -> Self {
        Self { client, last: [Duration::ZERO; 2], poll_due: false }
    }

    /// True if a look after it has to be scheduled; from then on it is.
    pub(crate) fn wants_poll(&mut self) -> bool {
        !std::mem::replace(&mut self.poll_due, true)
    }

    pub(crate) fn polled(&mut self) {
        self.poll_due = false;
    }

    /// Arrivals of a message that is sent now: none, one or two.
    pub(crate) fn arrivals(
        &mut self,
        way: Way,
        now: Duration,
        faults: &Faults,
        rng: &mut StdRng,
    ) -> Vec<Duration> {
        if rng.random_bool(faults.lose) {
            return Vec::new();
        }
        let copies = if rng.random_bool(faults.double) { 2 } else { 1 };
        let mut arrivals = Vec::with_capacity(copies);
        for _ in 0..copies {
            let mut at = now + delay(rng, faults.longest_delay);
            if !faults.reorder {
                let last = &mut self.last[way as usize];
                at = at.max(*last);
                *last = at;
            }
            arrivals.push(at);
        }
        arrivals
    }
}

/// Mostly short, sometimes long.
pub(crate) fn delay(rng: &mut StdRng, longest: Duration) -> Duration {
    let share: f64 = rng.random();
    longest.mul_f64(share.powi(4)) + Duration::from_micros(50)
}

/// Events in the order of their time, and of their making where that is equal.
pub(crate) struct Agenda<E> {
    times: BinaryHeap<Reverse<(Duration, u64)>>,
    events: BTreeMap<u64, E>,
    next: u64,
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self { times: BinaryHeap::new(), events: BTreeMap::new(), next: 0 }
    }
}

impl<E> Agenda<E> {
    pub(crate) fn at(&mut self, time: Duration, event: E) {
        self.times.push(Reverse((time, self.next)));
        self.events.insert(self.next, event);
        self.next += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<(Duration, E)> {
        let Reverse((time, number)) = self.times.pop()?;
        Some((time, self.events.remove(&number)?))
    }
}
