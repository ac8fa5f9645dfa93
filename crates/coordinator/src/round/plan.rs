//! The numbers that govern a task's rounds, what an operator has said about
//! them, and the machine's notion of time.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

use fedra_aggregation::MAX_TOTAL_WEIGHT;
use serde::{Deserialize, Serialize};

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

/// Parameters of a task's rounds. The config's validation guarantees
/// 1 <= minimum_reports <= minimum_cohort <= invited,
/// minimum_reports <= report_goal <= invited, minimum_duration <= deadline, and that
/// the protection of buffered rounds is not `DebitFirst`.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundPlan {
    /// Mode: the begin and end of a round for its clients.
    pub mode: Mode,
    /// Clients invited into a round if that many are available; in buffered rounds,
    /// most clients at work at a time.
    pub invited: usize,
    /// Fewest clients to start a round with.
    pub minimum_cohort: usize,
    /// Time to wait for more clients once the minimum is there.
    pub selection_window: Duration,
    /// Accepted reports at which a round closes.
    pub report_goal: usize,
    /// Fewest accepted reports of a round that completes.
    pub minimum_reports: usize,
    /// Time from the invitation to the end of collecting.
    pub deadline: Duration,
    /// Time from the invitation during which the report goal closes no synchronous
    /// round: reports beyond it count too.
    pub minimum_duration: Duration,
    /// Time for which a client whose connection broke is still waited for.
    pub reconnect_grace: Duration,
    /// Clients that may stay although they are not invited; without it, all.
    pub waiting_room: Option<usize>,
    /// The others are to come back after this, or up to twice as long.
    pub retry_after: Duration,
    /// Largest weight of one report.
    pub max_weight: u64,
    /// Rounds that the task has, if limited.
    pub rounds: Option<u64>,
    /// Steps of a round in addition to collecting updates.
    pub protection: Protection,
}

/// Begin and end of a round for its clients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// A cohort starts together, from the same model (McMahan et al. 2017).
    Synchronous,
    /// Every client starts by itself, from the newest model, and what it
    /// reports counts in the round that is open by then (Nguyen et al. 2022,
    /// FedBuff).
    Buffered {
        /// Most models that may have been made since a report's own.
        max_staleness: u32,
        /// `a` in the factor `(1 + staleness)^-a` on a report's weight, 0 to 10.
        staleness_exponent: f64,
    },
}

impl Mode {
    /// Models that may be made while a report is on its way.
    #[must_use]
    pub fn max_staleness(self) -> u32 {
        match self {
            Self::Synchronous => 0,
            Self::Buffered { max_staleness, .. } => max_staleness,
        }
    }

    /// The factor on a report's weight: `(1 + staleness)^-a`, above 0 and at
    /// most 1 (Nguyen et al. 2022, section 5).
    #[must_use]
    pub fn discount(self, staleness: u32) -> f64 {
        match self {
            Self::Synchronous => 1.0,
            Self::Buffered { staleness_exponent, .. } => {
                (1.0 + f64::from(staleness)).powf(-staleness_exponent)
            }
        }
    }
}

/// Effect of the privacy mechanism on the sequence of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Updates are folded as they come.
    None,
    /// The same, but the round's privacy debit is durable before any client is invited.
    DebitFirst,
    /// Updates are folded as they come, a client's at most once in a round, and the
    /// privacy debit is made when the round closes.
    DebitLast,
    /// Secure aggregation among those who have trained. In buffered rounds they wait for
    /// each other, and mask their updates in groups.
    Secure {
        /// Time to answer each of its requests.
        step_deadline: Duration,
    },
}

impl RoundPlan {
    /// Stage that an invited client reports first.
    #[must_use]
    pub fn first_stage(&self) -> Stage {
        match self.protection {
            Protection::None | Protection::DebitFirst | Protection::DebitLast => Stage::Update,
            Protection::Secure { .. } => Stage::Keys,
        }
    }

    /// Stage in which a client sends its update.
    #[must_use]
    pub fn upload_stage(&self) -> Stage {
        match self.protection {
            Protection::None | Protection::DebitFirst | Protection::DebitLast => Stage::Update,
            Protection::Secure { .. } => Stage::MaskedInput,
        }
    }

    /// True if clients that have trained wait for each other, and mask their updates in
    /// groups: in buffered rounds under secure aggregation.
    #[must_use]
    pub fn forms_groups(&self) -> bool {
        self.mode != Mode::Synchronous && matches!(self.protection, Protection::Secure { .. })
    }

    /// Most reports in one sum: the report goal, or all that are invited if the round
    /// stays open beyond it.
    #[must_use]
    pub fn most_reports(&self) -> usize {
        let is_buffered = self.mode != Mode::Synchronous && !self.forms_groups();
        let stays_open = is_buffered || !self.minimum_duration.is_zero();
        if stays_open { self.invited } else { self.report_goal }
    }

    /// True if a report of this weight fits in a sum that holds `total` already.
    pub(super) fn has_room_for(&self, weight: u64, total: u64) -> bool {
        (1..=self.max_weight).contains(&weight) && weight <= MAX_TOTAL_WEIGHT - total
    }

    /// Time to answer a request of secure aggregation.
    #[must_use]
    pub fn step_deadline(&self) -> Duration {
        match self.protection {
            Protection::Secure { step_deadline } => step_deadline,
            Protection::None | Protection::DebitFirst | Protection::DebitLast => self.deadline,
        }
    }
}

/// Operation of an operator on a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// No new round after the one under way.
    Pause,
    /// Rounds go on.
    Resume,
    /// The task ends; it never goes on.
    Stop,
}

/// Operator's last decision about a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Rounds are made.
    #[default]
    Running,
    /// No new round is begun.
    Paused,
    /// The task is over.
    Stopped,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

impl Standing {
    /// Standing after an operation. Nothing brings a stopped task back.
    #[must_use]
    pub fn after(self, operation: Operation) -> Self {
        match (self, operation) {
            (Self::Stopped, _) | (_, Operation::Stop) => Self::Stopped,
            (_, Operation::Pause) => Self::Paused,
            (_, Operation::Resume) => Self::Running,
        }
    }
}
