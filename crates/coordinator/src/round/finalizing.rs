//! Finalizing: the new model is computed and made durable; no client hears of it before
//! that.

use fedra_protocol::RoundId;

use super::ended::{AbandonReason, Abandoned, Completed};
use super::{Event, Phase, Progress, Tally};

/// A round whose reports are all in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finalizing {
    round: RoundId,
    tally: Tally,
}

impl Finalizing {
    pub(super) fn new(round: RoundId, tally: Tally) -> Self {
        Self { round, tally }
    }

    pub(super) fn round(&self) -> RoundId {
        self.round
    }

    pub(super) fn progress(&self, base: Progress) -> Progress {
        let Tally { cohort, reported, weight } = self.tally;
        Progress { cohort, reported, left: cohort - reported, weight, ..base }
    }

    pub(super) fn handle(self, event: Event) -> Phase {
        match event {
            Event::Stored(round) if round == self.round => Phase::Completed(Completed::new(round)),
            Event::NotStored(round) if round == self.round => {
                Phase::Abandoned(Abandoned::new(round, AbandonReason::NotStored))
            }
            Event::NotFinite(round) if round == self.round => {
                Phase::Abandoned(Abandoned::new(round, AbandonReason::NotFinite))
            }
            _ => Phase::Finalizing(self),
        }
    }
}
