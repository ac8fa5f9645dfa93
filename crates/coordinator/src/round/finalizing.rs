//! Finalizing: the new model is computed and made durable; no client hears of it before
//! that.

use fedra_protocol::RoundId;

use super::ended::{AbandonReason, Abandoned, Completed};
use super::{Event, Phase, Progress, RoundCounts};

/// A round whose reports are all in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finalizing {
    round: RoundId,
    counts: RoundCounts,
}

impl Finalizing {
    pub(super) fn new(round: RoundId, counts: RoundCounts) -> Self {
        Self { round, counts }
    }

    pub(super) fn round(&self) -> RoundId {
        self.round
    }

    pub(super) fn progress(&self, base: Progress) -> Progress {
        let RoundCounts { cohort, reported, weight } = self.counts;
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
