//! Learning rate over the rounds of a task, the server's and the clients': a pure function
//! of the round's number, so that a restart and a roll-back change nothing about it.

use std::f64::consts::FRAC_PI_2;
use std::fmt;

/// Course of a learning rate: a factor on it for each round, above 0 and at most 1.
///
/// Every round has a number, and all of them count: those of training, those in which the
/// clients evaluate, and roll-backs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Schedule {
    /// Rounds at the beginning in which the rate rises evenly to its full value, which the
    /// round after them has.
    pub warmup_rounds: u64,
    /// The rounds after these.
    pub decay: Decay,
}

/// Decay of a learning rate once it has its full value.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Decay {
    /// None.
    #[default]
    Constant,
    /// A smaller rate every so many rounds.
    Step {
        /// Rounds with the same rate, at least 1.
        every: u64,
        /// Factor from one rate to the next, above 0 and at most 1.
        factor: f64,
        /// Round after which the rate stays as it is.
        rounds: u64,
    },
    /// Half a period of a cosine (Loshchilov & Hutter 2017, without restarts), which would
    /// be 0 in the round after the last.
    Cosine {
        /// Last round of the decay, later than the warm-up. The rate stays at its value.
        rounds: u64,
    },
}

impl Schedule {
    /// Factor on the rate in this round; rounds count from 1.
    #[must_use]
    pub fn factor(&self, round: u64) -> f64 {
        let warmup = self.warmup_rounds;
        if round <= warmup {
            return round.max(1) as f64 / (warmup as f64 + 1.0);
        }
        // Rounds at or below the full rate before this one.
        let after = |last: u64| round.min(last).saturating_sub(warmup).saturating_sub(1);
        match self.decay {
            Decay::Constant => 1.0,
            Decay::Step { every, factor, rounds } => {
                factor.powf((after(rounds) / every.max(1)) as f64)
            }
            Decay::Cosine { rounds } => {
                // (1 + cos(pi p)) / 2 = sin(pi (1 - p) / 2)^2, which is exact near its end.
                let whole = rounds.saturating_sub(warmup).max(1);
                let left = whole - after(rounds);
                (FRAC_PI_2 * left as f64 / whole as f64).sin().powi(2)
            }
        }
    }

    /// Smallest factor of all rounds, and the first round that has it.
    #[must_use]
    pub fn least(&self) -> (u64, f64) {
        let last = match self.decay {
            Decay::Constant => 1,
            Decay::Step { rounds, .. } | Decay::Cosine { rounds } => rounds.max(1),
        };
        let [first, last] = [1, last].map(|round| (round, self.factor(round)));
        if last.1 < first.1 { last } else { first }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.decay {
            Decay::Constant => f.write_str("constant")?,
            Decay::Step { every, factor, rounds } => {
                write!(f, "times {factor} every {every} rounds up to round {rounds}")?;
            }
            Decay::Cosine { rounds } => write!(f, "cosine up to round {rounds}")?,
        }
        match self.warmup_rounds {
            0 => Ok(()),
            warmup => write!(f, ", after {warmup} rounds of warm-up"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn factors(schedule: Schedule, rounds: u64) -> Vec<f64> {
        (1..=rounds).map(|round| schedule.factor(round)).collect()
    }

    fn assert_near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-15, "{found} for {expected}");
        }
    }

    #[test]
    fn a_constant_rate_is_full_after_its_warm_up() {
        assert_eq!(factors(Schedule::default(), 3), [1.0; 3]);
        let warm = Schedule { warmup_rounds: 3, ..Schedule::default() };
        assert_eq!(factors(warm, 5), [0.25, 0.5, 0.75, 1.0, 1.0]);
    }

    #[test]
    fn steps_begin_after_the_warm_up_and_end() {
        let decay = Decay::Step { every: 2, factor: 0.5, rounds: 6 };
        let schedule = Schedule { warmup_rounds: 0, decay };
        assert_eq!(factors(schedule, 8), [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]);
        let schedule = Schedule { warmup_rounds: 1, decay };
        assert_eq!(factors(schedule, 7), [0.5, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25]);
    }

    #[test]
    fn a_cosine_begins_full_and_stays_above_zero() {
        let schedule = Schedule { warmup_rounds: 0, decay: Decay::Cosine { rounds: 4 } };
        // (1 + cos(pi p)) / 2 for p = 0, 1/4, 1/2, 3/4.
        let half = 0.5_f64.sqrt();
        let expected = [1.0, f64::midpoint(1.0, half), 0.5, (1.0 - half) / 2.0];
        assert_near(&factors(schedule, 4), &expected);
        assert_eq!(schedule.factor(5), schedule.factor(4), "it stays");
        let warm = Schedule { warmup_rounds: 1, decay: Decay::Cosine { rounds: 3 } };
        assert_near(&factors(warm, 4), &[0.5, 1.0, 0.5, 0.5]);
    }

    #[test]
    fn a_schedule_as_text() {
        let text = |warmup_rounds, decay| Schedule { warmup_rounds, decay }.to_string();
        assert_eq!(text(0, Decay::Constant), "constant");
        let cosine = text(5, Decay::Cosine { rounds: 90 });
        assert_eq!(cosine, "cosine up to round 90, after 5 rounds of warm-up");
        let step = text(0, Decay::Step { every: 20, factor: 0.1, rounds: 60 });
        assert_eq!(step, "times 0.1 every 20 rounds up to round 60");
    }

    proptest! {
        #[test]
        fn a_factor_is_above_zero_at_most_one_and_at_least_the_least(
            warmup_rounds in 0..50_u64,
            kind in 0..3,
            every in 1..20_u64,
            factor in 0.1..=1.0_f64,
            rounds in 51..200_u64,
            round in prop_oneof![0..250_u64, any::<u64>()],
        ) {
            let decay = match kind {
                0 => Decay::Constant,
                1 => Decay::Step { every, factor, rounds },
                _ => Decay::Cosine { rounds },
            };
            let schedule = Schedule { warmup_rounds, decay };
            let found = schedule.factor(round);
            let (at, least) = schedule.least();
            prop_assert!(found > 0.0 && found <= 1.0, "{found}");
            prop_assert!(found >= least);
            prop_assert_eq!(schedule.factor(at), least);
            if round > warmup_rounds {
                prop_assert!(schedule.factor(round.saturating_add(1)) <= found, "it never rises");
            }
        }
    }
}
