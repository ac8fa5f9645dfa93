//! What a client has done in the round that it was last invited to. It outlives
//! the connection: when that breaks, the coordinator keeps it for the next one.
//!
//! It holds state and decides nothing.

use fedra_protocol::{Availability, RoundId, UpdateBegin, UpdateVerdict};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::upload::Upload;
use crate::round::{Stage, Time};

/// What the client does in a round.
pub(crate) enum Part {
    /// Is to send this; nothing has come yet.
    Working(Stage),
    /// Has announced an update and waits for room in the budget.
    Queued(UpdateBegin),
    /// Sends its update.
    Sending(Upload, OwnedSemaphorePermit),
    /// Its update is whole and is being checked.
    Checking(UpdateBegin, OwnedSemaphorePermit),
    /// What it sent is with the coordinator: an update with its announcement, or
    /// an answer of secure aggregation.
    Judging(Option<UpdateBegin>, oneshot::Receiver<UpdateVerdict>),
    /// What it sent has had its verdict. Under secure aggregation there may be
    /// more to ask for.
    Judged,
    /// It paused or declined.
    Left,
    /// The round went on without it.
    Dismissed,
}

/// An update's verdict, for a client that announces the same update again
/// because it never heard.
pub(crate) struct Settled {
    pub(super) begin: UpdateBegin,
    pub(super) verdict: UpdateVerdict,
}

/// A client's place, from one connection to the next.
pub(crate) struct Seat {
    /// The last invitation and what became of it.
    pub(super) part: Option<(RoundId, Part)>,
    /// The last request that was sent: the same one again is a repetition.
    pub(super) asked: Option<(RoundId, Stage)>,
    /// Chunks for this round are leftovers of an update that had its outcome.
    pub(super) over: Option<RoundId>,
    /// The last update that was judged.
    pub(super) settled: Option<Settled>,
    pub(super) availability: Availability,
}

impl Default for Seat {
    fn default() -> Self {
        Self {
            part: None,
            asked: None,
            over: None,
            settled: None,
            availability: Availability::Available,
        }
    }
}

impl Seat {
    /// Whether a next connection of the client would find something here.
    pub(crate) fn is_worth_keeping(&self) -> bool {
        self.part.is_some()
    }

    /// Goes on with what the next connection says of itself.
    pub(crate) fn attached(self, availability: Availability) -> Self {
        Self { availability, ..self }
    }

    /// The connection is gone: what was only begun on it will be begun again.
    pub(crate) fn detached(mut self) -> Self {
        let is_lost = match &self.part {
            Some((_, Part::Queued(_) | Part::Checking(..))) => true,
            // A report has its verdict before its sender's departure is heard of: this
            // one never came to the coordinator.
            Some((_, Part::Judging(_, verdict))) => verdict.is_empty(),
            _ => false,
        };
        if is_lost {
            self.start_over();
        }
        self
    }

    /// When an upload gives its room back, unless more of it has come by then.
    pub(crate) fn upload_due(&self) -> Option<Time> {
        match &self.part {
            Some((_, Part::Sending(upload, _))) => upload.due(),
            _ => None,
        }
    }

    /// An upload that is too slow for the room it takes is dropped; the client may
    /// begin it again. Whether there was one.
    pub(crate) fn drop_slow_upload(&mut self, now: Time) -> bool {
        let slow = self.upload_due().is_some_and(|due| due <= now);
        if slow {
            self.start_over();
        }
        slow
    }

    /// What was asked for last is still to come, all of it.
    fn start_over(&mut self) {
        let Some((round, part)) = &mut self.part else { return };
        *part = match self.asked {
            Some((asked, stage)) if asked == *round => Part::Working(stage),
            _ => Part::Left,
        };
    }

    /// The client has gone in words: it has left its round, as far as it has not
    /// answered.
    pub(crate) fn close(&mut self) {
        if let Some((_, part @ (Part::Working(_) | Part::Sending(..)))) = &mut self.part {
            *part = Part::Left;
        }
    }

    /// The round that it is in is over, unless that is `current`: an upload in
    /// progress gives its share of the budget back. Whether there was one.
    pub(crate) fn dismiss(&mut self, current: Option<RoundId>) -> Option<RoundId> {
        let (round, part) = self.part.as_mut()?;
        if current == Some(*round) {
            return None;
        }
        match part {
            Part::Queued(_) | Part::Sending(..) | Part::Checking(..) => {
                *part = Part::Dismissed;
                Some(*round)
            }
            Part::Working(_) => {
                *part = Part::Dismissed;
                None
            }
            Part::Judging(..) | Part::Judged | Part::Left | Part::Dismissed => None,
        }
    }
}
