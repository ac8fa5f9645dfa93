//! Leaving rounds on purpose, so that an operator can see how an aggregator
//! copes with clients that go away and come back with nothing left of the round. Decided by a seed: runs can be repeated.

use fedra_protocol::RoundId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Answers that a client owes in a round of secure aggregation: keys, shares,
/// the masked update, the shares that take the masks off.
const SECURE_STEPS: u32 = 4;

/// Frequency and times of a client's departures.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropouts {
    rate: f64,
    seed: u64,
    client: u64,
}

impl Dropouts {
    /// Leaves a round with probability `rate`, before an answer drawn uniformly
    /// from those that it owes. Clients of one seed differ by `client`.
    pub fn new(rate: f64, seed: u64, client: u64) -> Self {
        Self { rate, seed, client }
    }

    /// The answer, from 0, before which the client leaves this round, if it does.
    pub(crate) fn leaves_at(&self, round: RoundId, secure: bool) -> Option<u32> {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&self.client.to_le_bytes());
        seed[16..24].copy_from_slice(&round.round.to_le_bytes());
        seed[24..28].copy_from_slice(&round.attempt.to_le_bytes());
        let mut dice = ChaCha8Rng::from_seed(seed);
        let share = f64::from(dice.next_u32()) / (f64::from(u32::MAX) + 1.0);
        let steps = if secure { SECURE_STEPS } else { 1 };
        (share < self.rate).then(|| dice.next_u32() % steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number of times that each answer is the last one missing, in 4000 rounds.
    fn counts(dropouts: &Dropouts, secure: bool) -> [u32; 4] {
        let mut counts = [0; 4];
        for round in 1..=4000 {
            if let Some(step) = dropouts.leaves_at(RoundId { round, attempt: 0 }, secure) {
                counts[step as usize] += 1;
            }
        }
        counts
    }

    #[test]
    fn a_fifth_of_the_rounds_is_left_before_any_of_the_four_answers() {
        // 200 each, with a standard deviation of 14.
        let counts = counts(&Dropouts::new(0.2, 1, 0), true);
        assert!(counts.iter().all(|count| (130..=270).contains(count)), "{counts:?}");
    }

    #[test]
    fn where_there_is_one_answer_it_is_that_one() {
        let counts = counts(&Dropouts::new(0.2, 1, 0), false);
        assert!((700..=900).contains(&counts[0]), "{counts:?}");
        assert_eq!(counts[1..], [0; 3]);
    }

    #[test]
    fn the_ends_of_the_range_are_never_and_always() {
        assert_eq!(counts(&Dropouts::new(0.0, 1, 0), true), [0; 4]);
        assert_eq!(counts(&Dropouts::new(1.0, 1, 0), true).iter().sum::<u32>(), 4000);
    }

    #[test]
    fn runs_repeat_and_clients_differ() {
        let steps = |client| {
            let dropouts = Dropouts::new(0.5, 9, client);
            (1..50)
                .map(|round| dropouts.leaves_at(RoundId { round, attempt: 0 }, true))
                .collect::<Vec<_>>()
        };
        assert_eq!(steps(1), steps(1));
        assert_ne!(steps(1), steps(2));
    }
}
