//! Participation of a client in the round that it was last invited to. It outlives
//! the connection: when that breaks, the task's core keeps it for the next one.
//!
//! It holds state and decides nothing.

mod upload;

use fedra_protocol::{Availability, RoundId, UpdateBegin, UpdateVerdict};

pub use self::upload::{Pace, Progress as UploadProgress, Upload};
use crate::round::{Stage, Time};
use crate::writer::Room;

/// State of the client in its round.
#[derive(Debug)]
pub enum Part {
    /// Is to send this; nothing has come yet.
    Working(Stage),
    /// Has announced an update and waits for room in the budget.
    Queued(UpdateBegin),
    /// Sends its update.
    Sending(Upload, Room),
    /// Its update is whole and is being checked.
    Checking(UpdateBegin, Room),
    /// Its answer to the stage is with the task's core: an update with its announcement,
    /// or an answer of secure aggregation.
    Judging(Option<UpdateBegin>, Stage),
    /// The contribution has had its verdict. Under secure aggregation there may be more
    /// to ask for.
    Judged,
    /// It paused or declined.
    Left,
    /// The round went on without it.
    Dismissed,
}

/// Verdict of an update, for a client that announces the same update again
/// because it never heard.
#[derive(Debug)]
pub struct Settled {
    /// The announcement.
    pub begin: UpdateBegin,
    /// The verdict.
    pub verdict: UpdateVerdict,
}

/// Participation of a client, from one connection to the next.
#[derive(Debug)]
pub struct Participation {
    /// The last invitation and what became of it.
    pub part: Option<(RoundId, Part)>,
    /// The last request that was sent: the same one again is a repetition.
    pub asked: Option<(RoundId, Stage)>,
    /// Chunks for this round are leftovers of an update that had its outcome.
    pub over: Option<RoundId>,
    /// The last update that was judged.
    pub settled: Option<Settled>,
    /// Verdict on the report that is being judged, which its session has not heard.
    pub unheard: Option<UpdateVerdict>,
    /// Availability, as the client said last.
    pub availability: Availability,
}

impl Default for Participation {
    fn default() -> Self {
        Self {
            part: None,
            asked: None,
            over: None,
            settled: None,
            unheard: None,
            availability: Availability::Available,
        }
    }
}

impl Participation {
    /// True if the client's next connection would find something here.
    pub fn is_worth_keeping(&self) -> bool {
        self.part.is_some()
    }

    /// Goes on with what the next connection says of itself.
    pub fn attached(self, availability: Availability) -> Self {
        Self { availability, ..self }
    }

    /// The connection is gone: what was only begun on it will be begun again. `judged` is
    /// the last verdict on a report of the client: the session may not have heard it.
    #[must_use]
    pub fn detached(mut self, judged: Option<(RoundId, Stage, UpdateVerdict)>) -> Self {
        match &self.part {
            Some((_, Part::Queued(_) | Part::Checking(..))) => self.start_over(),
            Some((round, Part::Judging(_, stage))) => match judged {
                Some((of, at, verdict)) if (of, at) == (*round, *stage) => {
                    self.unheard = Some(verdict);
                }
                // The report never came to the core.
                _ => self.start_over(),
            },
            _ => {}
        }
        self
    }

    /// The report for a round has its verdict. Returns whether it was an update; `None`
    /// if no report waits for one.
    pub fn judge(&mut self, round: RoundId, verdict: UpdateVerdict) -> Option<bool> {
        let waits = matches!(&self.part, Some((of, Part::Judging(..))) if *of == round);
        let Some((_, Part::Judging(begin, _))) = self.part.take_if(|_| waits) else {
            return None;
        };
        self.part = Some((round, Part::Judged));
        let is_update = begin.is_some();
        if let Some(begin) = begin {
            self.settled = Some(Settled { begin, verdict });
        }
        Some(is_update)
    }

    /// Time at which an upload gives its room back, unless more of it has come by then.
    pub fn upload_due(&self) -> Option<Time> {
        match &self.part {
            Some((_, Part::Sending(upload, _))) => upload.due(),
            _ => None,
        }
    }

    /// An upload that is too slow for the room it takes is dropped; the client may
    /// begin it again. Whether there was one.
    pub fn drop_slow_upload(&mut self, now: Time) -> bool {
        let slow = self.upload_due().is_some_and(|due| due <= now);
        if slow {
            self.start_over();
        }
        slow
    }

    /// Goes back to the last request: all of its answer is still to come.
    fn start_over(&mut self) {
        let Some((round, part)) = &mut self.part else { return };
        *part = match self.asked {
            Some((asked, stage)) if asked == *round => Part::Working(stage),
            _ => Part::Left,
        };
    }

    /// The client closed the connection on purpose: it leaves its round unless it has
    /// answered.
    pub fn close(&mut self) {
        if let Some((_, part @ (Part::Working(_) | Part::Sending(..)))) = &mut self.part {
            *part = Part::Left;
        }
    }

    /// The round that it is in is over, unless that is `current`: an upload in
    /// progress gives its share of the budget back. The round, if the client is to be told
    /// that its update does not count.
    pub fn dismiss(&mut self, current: Option<RoundId>) -> Option<RoundId> {
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
            // Its update is still to come.
            Part::Judged if matches!(self.asked, Some((_, Stage::Keys | Stage::Shares))) => {
                *part = Part::Dismissed;
                Some(*round)
            }
            Part::Judging(..) | Part::Judged | Part::Left | Part::Dismissed => None,
        }
    }
}
