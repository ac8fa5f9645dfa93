//! Finalizing: the new model is computed and made durable; nobody hears of it
//! before that.

use fedra_protocol::RoundId;

use super::ended::{AbandonReason, Abandoned, Completed};
use super::{Event, Phase, Progress};

/// A round whose reports are all in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finalizing {
    round: RoundId,
    cohort: usize,
    reported: usize,
    weight: u64,
}

impl Finalizing {
    pub(super) fn new(round: RoundId, (cohort, reported, weight): (usize, usize, u64)) -> Self {
        Self { round, cohort, reported, weight }
    }

    pub(super) fn round(&self) -> RoundId {
        self.round
    }

    pub(super) fn progress(&self, base: Progress) -> Progress {
        Progress {
            cohort: self.cohort,
            reported: self.reported,
            left: self.cohort - self.reported,
            weight: self.weight,
            ..base
        }
    }

    pub(super) fn handle(self, event: Event) -> Phase {
        match event {
            Event::Stored(round) if round == self.round => Phase::Completed(Completed::new(round)),
            Event::NotStored(round) if round == self.round => {
                Phase::Abandoned(Abandoned::new(round, AbandonReason::NotStored))
            }
            _ => Phase::Finalizing(self),
        }
    }
}
