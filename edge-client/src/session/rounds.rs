//! A round's way through the session: assigned, trained, written down, sent,
//! judged. What differs under a privacy policy is decided here; the steps of
//! secure aggregation are in `secure`.

use bytes::Bytes;
use fedra_protocol::{
    ClientMessage, EncryptedShare, Mechanism, RoundAssignment, RoundId, RoundPhase, TaskStatus,
    UpdateBegin, UpdateFault, UpdateOutcome, UpdateVerdict,
};

use super::secure::{FAILED, Step};
use super::upload::Upload;
use super::{Action, Session, State};
use crate::events::{ClientEvent, SessionState, UpdateFate};

/// What a server hears of a client that leaves a round of a private task: no
/// word about why, since why may depend on the data.
const LEFT: &str = "the client cannot go on with this round";

/// What a checked-in client does.
#[derive(Debug)]
pub(super) enum Part {
    Between,
    /// Fetches, trains, encodes.
    Working(RoundId),
    /// Takes part in secure aggregation.
    Secure {
        round: RoundId,
        step: Step,
    },
    /// Waits until its participation is written down.
    Recording {
        round: RoundId,
        next: Next,
    },
    Uploading(Upload),
    Reported(RoundId),
}

/// What follows once the participation is written down.
#[derive(Debug)]
pub(super) enum Next {
    Announce(Bytes),
    Mask(Vec<EncryptedShare>),
}

impl Part {
    pub fn round(&self) -> Option<RoundId> {
        match self {
            Self::Between => None,
            Self::Working(round)
            | Self::Secure { round, .. }
            | Self::Recording { round, .. }
            | Self::Reported(round) => Some(*round),
            Self::Uploading(upload) => Some(upload.round()),
        }
    }

    pub fn step(&self) -> Option<Step> {
        match self {
            Self::Secure { step, .. } => Some(*step),
            _ => None,
        }
    }

    /// Whether the server has accepted the update.
    fn is_reported(&self) -> bool {
        matches!(self, Self::Reported(_)) || self.step().is_some_and(Step::is_reported)
    }
}

impl Session {
    pub(super) fn new_status(&mut self, status: TaskStatus) -> Vec<Action> {
        let mut actions = vec![Action::Emit(ClientEvent::round(&status))];
        let news = self
            .status
            .as_ref()
            .is_none_or(|old| old.model != status.model || old.evaluation != status.evaluation);
        if news {
            actions.push(Action::Emit(ClientEvent::model(&status)));
        }
        let over = |round: RoundId| status.round > round || status.phase == RoundPhase::Finished;
        if let State::Member(part) = &self.state
            && let Some(round) = part.round().filter(|round| over(*round))
            // The server has yet to say what became of it.
            && !matches!(part, Part::Uploading(_))
        {
            if !part.is_reported() {
                actions.push(Action::Emit(ClientEvent::Update {
                    round: round.round,
                    outcome: UpdateFate::Discarded,
                    fault: Some(UpdateFault::RoundOver),
                    message: Some("the round closed before the update was sent".into()),
                }));
            }
            actions.extend(self.abandon());
            actions.extend(self.settle());
        }
        self.status = Some(status);
        actions.extend(self.privacy_news());
        actions
    }

    pub(super) fn assigned(&mut self, assignment: RoundAssignment) -> Vec<Action> {
        let round = assignment.round;
        if let Some(reason) = self.reason_to_decline(round) {
            self.outbox.push_back(ClientMessage::Decline { round, reason: reason.to_string() });
            return if self.round() == Some(round) { self.drop_round() } else { Vec::new() };
        }
        let mut actions = self.abandon();
        if let Some(privacy) = &assignment.privacy {
            self.protection.set_clipping_norm(privacy.clipping_norm);
            actions.extend(self.privacy_news());
        }
        self.state = State::Member(Part::Working(round));
        actions.push(self.emit_status(SessionState::Downloading));
        actions.push(Action::Work(Box::new(assignment)));
        actions
    }

    fn reason_to_decline(&self, round: RoundId) -> Option<&'static str> {
        if self.paused {
            // Crossed with the pause on the wire.
            Some("paused")
        } else if self.protection.waits_for_consent() {
            Some("waits for consent")
        } else if self.protection.is_exhausted() {
            Some("has taken part as often as it may")
        } else if self.protection.has_sent(round) {
            // Another answer would be the same update under other noise.
            Some("has sent its update for this round")
        } else {
            None
        }
    }

    /// An update in the form in which it leaves.
    pub(super) fn trained(&mut self, round: RoundId, update: Bytes, examples: u64) -> Vec<Action> {
        match self.protection.mechanism() {
            None => self.announce(round, update, examples),
            Some(Mechanism::Local | Mechanism::Central { .. }) => {
                self.record(round, Next::Announce(update))
            }
            // It has no mask.
            Some(Mechanism::Distributed) => {
                let reason = "an update without a mask was about to be sent";
                self.leave(round, FAILED, reason.into())
            }
        }
    }

    /// Has the participation written down, before anything of the update leaves.
    pub(super) fn record(&mut self, round: RoundId, next: Next) -> Vec<Action> {
        self.state = State::Member(Part::Recording { round, next });
        vec![Action::Record { round, participations: self.protection.next_participations() }]
    }

    pub(super) fn recorded(&mut self, round: RoundId) -> Vec<Action> {
        if !matches!(self.state, State::Member(Part::Recording { round: now, .. }) if now == round)
        {
            return Vec::new();
        }
        let between = State::Member(Part::Between);
        let State::Member(Part::Recording { next, .. }) =
            std::mem::replace(&mut self.state, between)
        else {
            return Vec::new();
        };
        self.protection.count(round);
        let mut actions = self.privacy_news();
        actions.extend(match next {
            Next::Announce(update) => self.announce(round, update, 1),
            Next::Mask(shares) => self.mask(round, shares),
        });
        actions
    }

    pub(super) fn announce(&mut self, round: RoundId, update: Bytes, examples: u64) -> Vec<Action> {
        self.outbox.push_back(ClientMessage::UpdateBegin(UpdateBegin {
            round,
            bytes: update.len() as u64,
            examples,
            crc32: crc32fast::hash(&update),
        }));
        self.state = State::Member(Part::Uploading(Upload::new(round, update)));
        vec![self.emit_status(SessionState::Uploading)]
    }

    pub(super) fn upload_ready(&mut self, round: RoundId, offset: u64) -> Vec<Action> {
        if let State::Member(Part::Uploading(upload)) = &mut self.state
            && upload.round() == round
        {
            upload.start(offset);
        }
        Vec::new()
    }

    pub(super) fn outcome(&mut self, outcome: UpdateOutcome) -> Vec<Action> {
        let round = outcome.round;
        let (fate, fault) = match outcome.verdict {
            UpdateVerdict::Accepted => (UpdateFate::Accepted, None),
            UpdateVerdict::Rejected(fault) => (UpdateFate::Rejected, Some(fault)),
            UpdateVerdict::Discarded(fault) => (UpdateFate::Discarded, Some(fault)),
        };
        let mut actions = vec![Action::Emit(ClientEvent::Update {
            round: round.round,
            outcome: fate,
            fault,
            message: (!outcome.message.is_empty()).then_some(outcome.message),
        })];
        let part = match &self.state {
            State::Member(part) if part.round() == Some(round) => part,
            _ => return actions,
        };
        if fate != UpdateFate::Accepted {
            if !matches!(part, Part::Reported(_)) {
                actions.extend(self.drop_round());
            }
        } else if matches!(part, Part::Uploading(_)) {
            let step = Step::Reported;
            let secure = self.is_secure();
            let part = if secure { Part::Secure { round, step } } else { Part::Reported(round) };
            self.state = State::Member(part);
            actions.push(self.emit_status(SessionState::Reported));
        }
        actions
    }

    /// Leaves a round because of a problem on this side.
    pub(super) fn leave(
        &mut self,
        round: RoundId,
        code: &'static str,
        reason: String,
    ) -> Vec<Action> {
        let private = self.protection.privacy().is_some();
        let told = if private { LEFT.to_string() } else { clip(&reason) };
        self.outbox.push_back(ClientMessage::Decline { round, reason: told });
        let mut actions = vec![Action::Emit(ClientEvent::problem(code, reason))];
        actions.extend(self.drop_round());
        actions
    }

    /// Stops what it does for the round and waits for the next one.
    fn drop_round(&mut self) -> Vec<Action> {
        let mut actions = self.abandon();
        actions.extend(self.settle());
        actions
    }

    /// Stops the work for the round, if there is any.
    pub(super) fn abandon(&self) -> Vec<Action> {
        match self.state {
            State::Member(Part::Between | Part::Reported(_)) => Vec::new(),
            State::Member(_) => vec![Action::Abort],
            _ => Vec::new(),
        }
    }

    /// The round that the client is in.
    pub(super) fn round(&self) -> Option<RoundId> {
        match &self.state {
            State::Member(part) => part.round(),
            _ => None,
        }
    }

    /// Whether it fetches or trains for this round.
    pub(super) fn works_on(&self, round: RoundId) -> bool {
        matches!(self.state, State::Member(Part::Working(current)) if current == round)
    }

    /// Whether something is being done for this round that may fail.
    pub(super) fn is_busy_with(&self, round: RoundId) -> bool {
        match &self.state {
            State::Member(part) => {
                part.round() == Some(round)
                    && !matches!(part, Part::Uploading(_) | Part::Reported(_))
            }
            _ => false,
        }
    }
}

/// A reason short enough for the wire.
fn clip(reason: &str) -> String {
    reason.chars().take(fedra_protocol::limits::MAX_TEXT_BYTES / 4).collect()
}
