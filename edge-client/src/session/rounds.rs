//! A round's way through the session: assigned, trained, written down, sent,
//! judged. What differs under a privacy policy is decided here; the steps of
//! secure aggregation are in `secure`.
//!
//! None of it waits for a connection. Messages that arise while there is none are not
//! queued: after the next check-in the update in hand is announced again, and the
//! server repeats all else that it waits for.

use bytes::Bytes;
use fedra_protocol::{
    ClientMessage, DeclineCause, Mechanism, RoundAssignment, RoundId, RoundPhase, TaskStatus,
    UpdateFault, UpdateOutcome, UpdateVerdict,
};

use super::in_round::{InRound, Next, Part};
use super::secure::Exchange;
use super::upload::Upload;
use super::{Action, Session};
use crate::codes::Notice;
use crate::events::{ClientEvent, UpdateFate};
use crate::failure::{Course, Failure};

/// Reason that a server hears from a client that leaves a round of a private task: no
/// word about why, since why may depend on the data.
pub(super) const LEFT: &str = "the client cannot go on with this round";

/// A round that the client has given up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Declined {
    pub round: RoundId,
    /// True if the server was told on this connection.
    pub told: bool,
    pub cause: Option<DeclineCause>,
}

/// Meaning of a verdict for the part that the client has in the round.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// The answer to an announcement that came twice.
    Repeated,
    /// The client's part is done.
    Reported,
    /// The next step has begun, or the round is over.
    Late,
    /// The client is out of the round.
    Ended,
}

impl Session {
    pub(super) fn new_status(&mut self, status: TaskStatus) -> Vec<Action> {
        let mut actions = vec![Action::Emit(ClientEvent::round(&status))];
        let news = self.status.as_ref().is_none_or(|old| {
            old.model != status.model
                || old.evaluation != status.evaluation
                || old.client_evaluation != status.client_evaluation
        });
        if news {
            actions.push(Action::Emit(ClientEvent::model(&status)));
        }
        // The server has yet to say what became of an update that it knows of.
        let uploading =
            self.current.as_ref().is_some_and(|current| matches!(current.part, Part::Uploading));
        if self.is_over(&status) && !uploading {
            actions.extend(self.outlived("the round closed before the update was sent"));
        }
        actions.extend(self.end_of_task(&status));
        let has_mended = self.absence.newest_model(status.model.sha256);
        self.status = Some(status);
        actions.extend(self.privacy_news());
        if has_mended && self.current.is_none() {
            actions.extend(self.settle());
        }
        actions
    }

    /// The news that the task has ended, once.
    pub(super) fn end_of_task(&self, status: &TaskStatus) -> Option<Action> {
        let finished = |status: &TaskStatus| status.phase == RoundPhase::Finished;
        let is_news = finished(status) && !self.status.as_ref().is_some_and(finished);
        is_news.then(|| {
            let message = "the task has had its last round; its model can still be used";
            Action::Emit(ClientEvent::notice(Notice::TaskFinished, message))
        })
    }

    /// True if the round that it is in is over.
    fn is_over(&self, status: &TaskStatus) -> bool {
        self.current.as_ref().is_some_and(|current| {
            current.is_outlived(status.round) || status.phase == RoundPhase::Finished
        })
    }

    /// Checked in again: goes on with the round that it is in, if there is one.
    pub(super) fn take_up(&mut self, status: &TaskStatus) -> Vec<Action> {
        let Some(current) = &self.current else {
            return self.settle();
        };
        let uploading = matches!(current.part, Part::Uploading);
        if self.is_over(status) {
            return self.outlived(if uploading {
                "the round ended while the connection was lost; whether the update counts is not \
                 known"
            } else {
                "the round ended while the connection was lost"
            });
        }
        if uploading {
            self.announce();
        }
        self.show()
    }

    /// The round went by without this client's update.
    fn outlived(&mut self, message: &str) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(current) = self.current.as_ref().filter(|now| !now.part.is_reported()) {
            let round = current.id();
            let fault = match current.max_staleness() {
                0 => UpdateFault::RoundOver,
                _ => UpdateFault::TooStale,
            };
            self.judged = Some(round);
            actions.push(Action::Emit(ClientEvent::Update {
                round: round.round,
                outcome: UpdateFate::Discarded,
                fault: Some(fault),
                message: Some(message.into()),
            }));
        }
        actions.extend(self.drop_round());
        actions
    }

    pub(super) fn assigned(&mut self, assignment: RoundAssignment) -> Vec<Action> {
        let round = assignment.round;
        if self.current.as_ref().is_some_and(|current| current.is_for(&assignment)) {
            self.assigned_again();
            return Vec::new();
        }
        if let Some((reason, cause)) = self.reason_to_decline(round) {
            self.decline(round, reason.into(), cause);
            return if self.round() == Some(round) { self.drop_round() } else { Vec::new() };
        }
        self.absence.invited();
        let mut actions = self.end_work();
        if let Some(privacy) = assignment.privacy.as_ref().filter(|_| !assignment.evaluates) {
            self.policy.set_clipping_norm(privacy.clipping_norm);
            actions.extend(self.privacy_news());
        }
        if self.judged == Some(round) {
            self.judged = None;
        }
        self.current = Some(InRound::new(assignment.clone()));
        actions.extend(self.show());
        actions.push(Action::Work(Box::new(assignment)));
        actions
    }

    /// The invitation again: the answer again, if there is one already.
    fn assigned_again(&mut self) {
        if self.is_secure() {
            self.give(Exchange::keys);
        } else {
            self.announce();
        }
    }

    /// Reason why an invitation is turned down: text and cause.
    fn reason_to_decline(&self, round: RoundId) -> Option<(&'static str, Option<DeclineCause>)> {
        let not_now = |reason| Some((reason, Some(DeclineCause::NotNow)));
        if self.paused {
            // Crossed with the pause on the wire.
            not_now("paused")
        } else if !self.has_data {
            not_now("observes")
        } else if self.policy.waits_for_consent() {
            not_now("waits for consent")
        } else if self.policy.has_sent(round) {
            // Another answer would be the same update under other noise.
            not_now("has sent its update for this round")
        } else if self.policy.is_exhausted() {
            not_now("has taken part as often as it may")
        } else if let Some(declined) = self.declined.filter(|declined| declined.round == round) {
            Some((LEFT, declined.cause))
        } else if self.absence.outage().is_some() {
            not_now("stays out of rounds for a while")
        } else {
            None
        }
    }

    /// The model is here.
    pub(super) fn downloaded(&mut self) -> Vec<Action> {
        self.be(Part::Training);
        self.show()
    }

    /// An update in the form in which it leaves.
    pub(super) fn trained(&mut self, round: RoundId, update: Bytes, examples: u64) -> Vec<Action> {
        match self.policy.mechanism() {
            None => self.send_update(update, examples),
            Some(Mechanism::Local | Mechanism::Central { .. }) => {
                self.record(Next::Announce(update))
            }
            // It has no mask.
            Some(Mechanism::Distributed) => {
                let reason = "an update without a mask was about to be sent";
                self.leave(round, Failure::SecureAggregationFailed, reason.into())
            }
        }
    }

    /// Has the participation written down, before anything of the update leaves.
    pub(super) fn record(&mut self, next: Next) -> Vec<Action> {
        let Some(current) = &mut self.current else {
            return Vec::new();
        };
        current.part = Part::Recording(next);
        let participations = self.policy.next_participations();
        vec![Action::Record { round: current.id(), participations }]
    }

    pub(super) fn recorded(&mut self, round: RoundId) -> Vec<Action> {
        let Some(current) = self.current.as_mut().filter(|current| current.id() == round) else {
            return Vec::new();
        };
        let next = match std::mem::replace(&mut current.part, Part::Uploading) {
            Part::Recording(next) => next,
            other => {
                current.part = other;
                return Vec::new();
            }
        };
        self.policy.count(round);
        let mut actions = self.privacy_news();
        actions.extend(match next {
            Next::Announce(update) => self.send_update(update, 1),
            Next::Mask(shares) => self.mask(round, shares),
        });
        actions
    }

    /// An update is made: the only one for this round and attempt.
    pub(super) fn send_update(&mut self, update: Bytes, examples: u64) -> Vec<Action> {
        if let Some(current) = &mut self.current {
            current.upload = Some(Upload::new(current.id(), update, examples));
            current.part = Part::Uploading;
        }
        self.announce();
        self.show()
    }

    /// Announces the update in hand, once a connection.
    pub(super) fn announce(&mut self) {
        if !self.is_member() {
            return;
        }
        let upload = self.current.as_mut().and_then(|current| current.upload.as_mut());
        if let Some(begin) = upload.and_then(Upload::announce) {
            self.tell(ClientMessage::UpdateBegin(begin));
        }
    }

    pub(super) fn upload_ready(&mut self, round: RoundId, offset: u64) {
        if let Some(current) = self.current.as_mut().filter(|current| current.id() == round)
            && let Some(upload) = &mut current.upload
        {
            upload.start(offset);
        }
    }

    pub(super) fn outcome(&mut self, outcome: &UpdateOutcome) -> Vec<Action> {
        let round = outcome.round;
        let (fate, fault) = match outcome.verdict {
            UpdateVerdict::Accepted => (UpdateFate::Accepted, None),
            UpdateVerdict::Rejected(fault) => (UpdateFate::Rejected, Some(fault)),
            UpdateVerdict::Discarded(fault) => (UpdateFate::Discarded, Some(fault)),
        };
        let secure = self.is_secure();
        let part = self.current.as_mut().filter(|now| now.id() == round).map(|now| &mut now.part);
        let told = self.judged == Some(round);
        let meaning = match part {
            Some(Part::Reported) if !secure => Meaning::Repeated,
            Some(part @ Part::Uploading) if fate == UpdateFate::Accepted => {
                *part = Part::Reported;
                self.backoff.reset();
                self.absence.succeeded();
                Meaning::Reported
            }
            Some(_) if fate == UpdateFate::Accepted => Meaning::Late,
            Some(_) => Meaning::Ended,
            None => Meaning::Late,
        };
        let is_news = match meaning {
            Meaning::Repeated => false,
            Meaning::Reported | Meaning::Late => !told,
            Meaning::Ended => true,
        };
        let mut actions = Vec::new();
        if is_news {
            self.judged = Some(round);
            actions.push(Action::Emit(ClientEvent::Update {
                round: round.round,
                outcome: fate,
                fault,
                message: (!outcome.message.is_empty()).then(|| outcome.message.clone()),
            }));
        }
        if meaning == Meaning::Ended {
            if let Some(failure) = fault.and_then(Failure::of_fault) {
                self.fails(failure);
                if failure.course() != Course::BackOff {
                    let reason = format!("the server rejected the update: {}", outcome.message);
                    actions.push(Action::Emit(ClientEvent::problem(failure, reason)));
                }
            }
            actions.extend(self.drop_round());
        } else if meaning == Meaning::Reported {
            actions.extend(self.show());
        }
        actions
    }

    /// Leaves a round because of a problem on this side.
    pub(super) fn leave(
        &mut self,
        round: RoundId,
        failure: Failure,
        reason: String,
    ) -> Vec<Action> {
        let private = self.policy.privacy().is_some();
        let (told, cause) =
            if private { (LEFT.to_string(), None) } else { (clip(&reason), failure.cause()) };
        self.declined = Some(Declined { round, told: false, cause });
        self.decline(round, told, cause);
        let mut actions = vec![Action::Emit(ClientEvent::problem(failure, reason))];
        self.fails(failure);
        actions.extend(self.drop_round());
        actions
    }

    /// Says that it is not in a round, if it is connected.
    pub(super) fn decline(&mut self, round: RoundId, reason: String, cause: Option<DeclineCause>) {
        let member = self.is_member();
        if let Some(declined) = self.declined.as_mut().filter(|declined| declined.round == round) {
            declined.told = member;
        }
        self.tell(ClientMessage::Decline { round, reason, cause });
    }

    /// Stops what it does for the round and waits for the next one.
    pub(super) fn drop_round(&mut self) -> Vec<Action> {
        let mut actions = self.end_work();
        actions.extend(self.settle());
        actions
    }

    /// Is in no round from now on: stops the work, if there is any.
    pub(super) fn end_work(&mut self) -> Vec<Action> {
        let secure = self.is_secure();
        match self.current.take() {
            None => Vec::new(),
            Some(current) if !secure && current.part.is_reported() => Vec::new(),
            Some(_) => vec![Action::Abort],
        }
    }

    /// The round that the client is in.
    pub(super) fn round(&self) -> Option<RoundId> {
        self.current.as_ref().map(InRound::id)
    }

    pub(super) fn be(&mut self, part: Part) {
        if let Some(current) = &mut self.current {
            current.part = part;
        }
    }

    /// True if it fetches or trains for this round.
    pub(super) fn works_on(&self, round: RoundId) -> bool {
        self.current.as_ref().is_some_and(|current| {
            current.id() == round && matches!(current.part, Part::Downloading | Part::Training)
        })
    }

    /// True if something is being done for this round that may fail.
    pub(super) fn is_busy_with(&self, round: RoundId) -> bool {
        self.current.as_ref().is_some_and(|current| current.id() == round && current.part.is_busy())
    }

    /// Activity in its round, for the owner; while it is connected.
    pub(super) fn show(&self) -> Vec<Action> {
        let state = self.current.as_ref().map(InRound::state);
        state
            .filter(|_| self.is_member())
            .map(|state| self.emit_status(state))
            .into_iter()
            .collect()
    }
}

/// A reason short enough for the wire.
fn clip(reason: &str) -> String {
    reason.chars().take(fedra_protocol::limits::MAX_TEXT_BYTES / 4).collect()
}
