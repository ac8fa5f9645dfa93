//! The numbers that govern a task's rounds, and the machine's notion of time.

use std::ops::Add;
use std::time::Duration;

use super::Stage;

/// Time since some fixed start, as the coordinator tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub Duration);

impl Time {
    /// Time from `self` to `later`; zero if that is in the past.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        later.0.saturating_sub(self.0)
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// How rounds are made. The config's validation guarantees
/// 1 <= minimum_reports <= minimum_cohort <= invited and
/// minimum_reports <= report_goal <= invited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundPlan {
    /// Clients invited into a round if there are so many.
    pub invited: usize,
    /// Fewest clients to start a round with.
    pub minimum_cohort: usize,
    /// How long to wait for more once the minimum is there.
    pub selection_window: Duration,
    /// Accepted reports at which a round closes.
    pub report_goal: usize,
    /// Fewest accepted reports of a round that completes.
    pub minimum_reports: usize,
    /// From the invitation to the end of collecting.
    pub deadline: Duration,
    /// Largest weight of one report.
    pub max_weight: u64,
    /// Rounds that the task has, if limited.
    pub rounds: Option<u64>,
    /// What a round does besides collecting updates.
    pub protection: Protection,
}

/// How a round protects its updates, as far as its order of events goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Updates are folded as they come.
    None,
    /// The same, but the round's privacy debit is durable before anybody is
    /// invited.
    DebitFirst,
    /// Secure aggregation among those who have trained.
    Secure {
        /// Time to answer each of its requests.
        step_deadline: Duration,
    },
}

impl RoundPlan {
    /// What an invited client reports first.
    #[must_use]
    pub fn first_stage(&self) -> Stage {
        match self.protection {
            Protection::None | Protection::DebitFirst => Stage::Update,
            Protection::Secure { .. } => Stage::Keys,
        }
    }

    /// Time to answer a request of secure aggregation.
    #[must_use]
    pub fn step_deadline(&self) -> Duration {
        match self.protection {
            Protection::Secure { step_deadline } => step_deadline,
            Protection::None | Protection::DebitFirst => self.deadline,
        }
    }
}
