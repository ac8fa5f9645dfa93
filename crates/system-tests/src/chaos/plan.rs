//! Faults and their times: drawn from a seed, so that a run can be repeated to the
//! extent that processes on a real machine allow. No I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Amounts of faults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faults {
    /// Share of the client processes that are killed in each attempt at a round.
    pub killed: f64,
    /// Share of them that are frozen for a while.
    pub frozen: f64,
    /// Times that the aggregator is killed in the whole run.
    pub server_kills: u32,
    /// Duration of a round without faults: most faults happen in this time, however
    /// fast the machine is.
    pub pace: Duration,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self { killed: 0.0, frozen: 0.0, server_kills: 0, pace: Duration::ZERO };
}

/// One thing that goes wrong. Clients are the processes' numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The process is killed; another takes its place.
    KillClient(usize),
    /// The process stands still, its connections open.
    FreezeClient(usize),
    /// It goes on.
    ThawClient(usize),
    /// The aggregator is killed and started again on its store.
    KillServer,
}

/// Draws the faults of one run.
pub struct Plan {
    dice: ChaCha8Rng,
    clients: usize,
    faults: Faults,
    /// Times that the aggregator is still to be killed, by the round from which on.
    server_kills: BTreeMap<u64, u32>,
}

/// A kill that is aimed at the end of collecting falls into this time around it.
const AIM: Duration = Duration::from_millis(100);

impl Plan {
    /// A plan for a run of `rounds` rounds with `clients` client processes.
    pub fn new(seed: u64, rounds: u64, clients: usize, faults: Faults) -> Self {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let mut server_kills = BTreeMap::new();
        for _ in 0..faults.server_kills {
            *server_kills.entry(dice.random_range(1..=rounds)).or_default() += 1;
        }
        Self { dice, clients, faults, server_kills }
    }

    /// The faults of an attempt at `round` that has just been opened, each with the
    /// time from the opening. Collecting may last for `deadline`.
    pub fn attempt(&mut self, round: u64, deadline: Duration) -> Vec<(Duration, Fault)> {
        let mut clients: Vec<usize> = (0..self.clients).collect();
        clients.shuffle(&mut self.dice);
        let share = |share: f64| (self.clients as f64 * share).round() as usize;
        let (killed, frozen) = (share(self.faults.killed), share(self.faults.frozen));
        let mut faults = Vec::new();
        let pace = self.faults.pace.min(deadline);
        for &client in clients.iter().take(killed) {
            // While it works, or while the round waits for others.
            let time = if self.dice.random() { pace } else { deadline };
            faults.push((self.within(time), Fault::KillClient(client)));
        }
        for &client in clients.iter().skip(killed).take(frozen) {
            let from = self.within(pace);
            // Some wake up in time to report, some in a later round.
            let to = from + deadline / 4 + self.within(deadline);
            faults.push((from, Fault::FreezeClient(client)));
            faults.push((to, Fault::ThawClient(client)));
        }
        if self.takes_a_server_kill(round) {
            faults.push((self.server_kill(deadline), Fault::KillServer));
        }
        faults
    }

    /// Kills of the aggregator that no attempt has been given yet.
    pub fn server_kills_left(&self) -> u32 {
        self.server_kills.values().sum()
    }

    fn takes_a_server_kill(&mut self, round: u64) -> bool {
        let Some(mut due) = self.server_kills.first_entry().filter(|due| *due.key() <= round)
        else {
            return false;
        };
        *due.get_mut() -= 1;
        if *due.get() == 0 {
            due.remove();
        }
        true
    }

    /// Some fall while the clients work, some anywhere, and some where most is at
    /// stake: when the sum is made, stored and announced.
    fn server_kill(&mut self, deadline: Duration) -> Duration {
        match self.dice.random_range(0..3) {
            0 => self.within(self.faults.pace.min(deadline)),
            1 => self.within(deadline),
            _ => deadline.saturating_sub(AIM) + self.within(2 * AIM),
        }
    }

    fn within(&mut self, time: Duration) -> Duration {
        time.mul_f64(self.dice.random())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(8);
    const PACE: Duration = Duration::from_secs(2);
    const FAULTS: Faults = Faults { killed: 0.2, frozen: 0.1, server_kills: 10, pace: PACE };

    fn all(seed: u64) -> Vec<Vec<(Duration, Fault)>> {
        let mut plan = Plan::new(seed, 30, 40, FAULTS);
        (1..=30).map(|round| plan.attempt(round, DEADLINE)).collect()
    }

    #[test]
    fn each_attempt_loses_its_share_of_different_clients() {
        for faults in all(7) {
            let of = |pick: fn(&Fault) -> Option<usize>| {
                let mut clients: Vec<_> = faults.iter().filter_map(|(_, f)| pick(f)).collect();
                clients.sort_unstable();
                clients.dedup();
                clients
            };
            let killed = of(|f| if let Fault::KillClient(c) = f { Some(*c) } else { None });
            let frozen = of(|f| if let Fault::FreezeClient(c) = f { Some(*c) } else { None });
            let thawed = of(|f| if let Fault::ThawClient(c) = f { Some(*c) } else { None });
            assert_eq!((killed.len(), frozen.len()), (8, 4));
            assert_eq!(frozen, thawed);
            assert!(killed.iter().all(|client| !frozen.contains(client)));
        }
    }

    #[test]
    fn moments_are_within_the_attempt_and_a_freeze_ends_after_it_began() {
        for faults in all(3) {
            for (at, fault) in &faults {
                match fault {
                    Fault::KillClient(_) => assert!(*at <= DEADLINE),
                    Fault::FreezeClient(_) => assert!(*at <= PACE),
                    Fault::KillServer => assert!(*at <= DEADLINE + AIM),
                    Fault::ThawClient(client) => {
                        let frozen =
                            faults.iter().find(|(_, f)| *f == Fault::FreezeClient(*client));
                        assert!(frozen.is_some_and(|(from, _)| from < at));
                    }
                }
            }
        }
    }

    #[test]
    fn the_server_is_killed_as_often_as_asked_once_an_attempt_at_most() {
        for seed in 0..20 {
            let mut plan = Plan::new(seed, 30, 40, FAULTS);
            let mut killed = 0;
            // A round that is tried again takes a kill that is still due.
            for round in (1..=30).chain([30; 10]) {
                let faults = plan.attempt(round, DEADLINE);
                let kills = faults.iter().filter(|(_, f)| *f == Fault::KillServer).count();
                assert!(kills <= 1);
                killed += kills;
            }
            assert_eq!((killed, plan.server_kills_left()), (10, 0));
        }
    }

    #[test]
    fn a_seed_repeats_itself_and_another_does_not() {
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
        let mut quiet = Plan::new(1, 30, 40, Faults::NONE);
        assert!(quiet.attempt(1, DEADLINE).is_empty());
    }
}
