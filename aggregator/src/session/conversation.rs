//! From the check-in on: what a client's messages mean, and what it is told.
//!
//! A machine without I/O, `(input, now) -> outputs`: it reads no socket and no
//! clock, and it decides nothing about rounds. The session drives it with a
//! real connection, a simulation with a made-up one.

mod uploading;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fedra_aggregation::{CheckedUpdate, UpdateError};
use fedra_protocol::limits::MAX_MESSAGE_BYTES;
use fedra_protocol::{
    Availability, ClientMessage, DeclineCause, KeyDirectory, LocalTraining, MaskedInputRequest,
    Refusal, RefusalCode, RoundAssignment, RoundId, ServerMessage, Standby, StandbyCause,
    UnmaskingRequest, UpdateBegin, UpdateFault, UpdateOutcome, UpdateRange, UpdateVerdict,
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::End;
use super::handshake::{NO_SUBJECT, unexpected};
use super::seat::{Part, Seat, Settled};
use super::upload::Pace;
use crate::coordinator::{Command, Invitation, Order, Report, misplaced};
use crate::folding::{Contribution, Request};
use crate::metrics::Metrics;
use crate::round::{ClientId, Stage, Time};
use crate::task::Task;

/// More than a message and its frames have beside their data.
const MESSAGE_HEAD: u64 = 1 << 10;

/// Sentence for the person behind a client that is left out.
fn standby_message(cause: StandbyCause) -> &'static str {
    match cause {
        StandbyCause::MissedDeadline => {
            "left out for a while: no answer to the last invitations came in time"
        }
        StandbyCause::Declined => "left out for a while: the last invitations were declined",
        StandbyCause::Rejected => "left out for a while: the last updates were rejected",
        StandbyCause::Lost => {
            "left out for a while: the connection was lost during the last invitations"
        }
    }
}

/// What a conversation takes in.
pub(crate) enum Input {
    /// A message from the client.
    Message(ClientMessage),
    /// The coordinator's newest order.
    Order(Order),
    /// The task has changed.
    News,
    /// There is room for the update that was announced.
    Room(OwnedSemaphorePermit),
    /// The update has been checked.
    Checked(Result<CheckedUpdate<Bytes>, UpdateError>),
    /// The coordinator has judged what the client sent.
    Verdict(UpdateVerdict),
    /// It is the time that [`Conversation::wake_at`] told, or later.
    TimePassed,
}

/// What is to be done, in this order.
pub(crate) enum Output {
    /// Send this to the client.
    Send(ServerMessage),
    /// Pass this on to the coordinator.
    Tell(Command),
    /// Check an update of so many parameters within the range; [`Input::Checked`] is
    /// the answer.
    Check(Bytes, usize, UpdateRange),
    /// End the session.
    End(End),
}

/// A client that has checked in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Participant {
    pub client: ClientId,
    /// Whether it named the subject that a privacy ledger counts for.
    pub has_subject: bool,
}

/// One connection of a client that has checked in.
pub(crate) struct Conversation {
    client: ClientId,
    has_subject: bool,
    task: Arc<Task>,
    metrics: Arc<Metrics>,
    pace: Pace,
    seat: Seat,
    /// No order was taken on this connection: the last one may be a repetition.
    fresh: bool,
    /// An update was announced on this connection.
    announced: Option<RoundId>,
}

impl Conversation {
    /// Goes on from where the client's last connection left its seat.
    pub(crate) fn new(
        participant: Participant,
        seat: Seat,
        task: Arc<Task>,
        metrics: Arc<Metrics>,
        pace: Pace,
    ) -> Self {
        let Participant { client, has_subject } = participant;
        Self { client, has_subject, task, metrics, pace, seat, fresh: true, announced: None }
    }

    /// When [`Input::TimePassed`] is to be handled, if nothing else comes.
    pub(crate) fn wake_at(&self) -> Option<Time> {
        self.seat.upload_due()
    }

    /// What the next connection of this client goes on from.
    pub(crate) fn into_seat(self) -> Seat {
        self.seat
    }

    /// Bytes of an update that wait for room in the budget.
    pub(crate) fn wants_room(&self) -> Option<u64> {
        match &self.seat.part {
            Some((_, Part::Queued(begin))) => Some(begin.bytes),
            _ => None,
        }
    }

    /// Bytes of the largest message that the client has been asked for: a piece of
    /// an update that has its room in the budget, or an answer to the whole cohort.
    pub(crate) fn expects(&self) -> u64 {
        match &self.seat.part {
            Some((_, Part::Sending(upload, _))) => upload.begin().bytes + MESSAGE_HEAD,
            Some((_, Part::Working(Stage::Shares | Stage::UnmaskingShares))) => {
                MAX_MESSAGE_BYTES as u64
            }
            _ => 0,
        }
    }

    /// Where the verdict comes from that [`Input::Verdict`] is to tell.
    pub(crate) fn verdict(&mut self) -> Option<&mut oneshot::Receiver<UpdateVerdict>> {
        match &mut self.seat.part {
            Some((_, Part::Judging(_, verdict))) => Some(verdict),
            _ => None,
        }
    }

    /// The round that the client is in, for the log.
    pub(crate) fn round(&self) -> Option<RoundId> {
        self.seat.part.as_ref().map(|(round, _)| *round)
    }

    /// Whether this very update was accepted.
    #[cfg(test)]
    pub(crate) fn has_accepted(&self, begin: &UpdateBegin) -> bool {
        let settled = self.seat.settled.as_ref();
        settled.is_some_and(|s| s.begin == *begin && s.verdict == UpdateVerdict::Accepted)
    }

    /// Takes something in and says what to do.
    pub(crate) fn handle(&mut self, input: Input, now: Time) -> Vec<Output> {
        let mut out = Vec::new();
        // What comes next may be a consequence of a verdict that is already there.
        if let Some(Ok(verdict)) = self.verdict().map(oneshot::Receiver::try_recv) {
            self.judged(verdict, &mut out);
        }
        match input {
            Input::Message(message) => self.message(message, &mut out),
            Input::Order(order) => self.ordered(order, now, &mut out),
            Input::News => {
                let status = self.task.status(&self.task.view.borrow().clone(), now);
                out.push(Output::Send(ServerMessage::TaskStatus(status)));
            }
            Input::Room(permit) => self.start_upload(permit, now, &mut out),
            Input::Checked(result) => self.checked(result, &mut out),
            Input::Verdict(verdict) => self.judged(verdict, &mut out),
            Input::TimePassed => self.time_passed(now, &mut out),
        }
        out
    }

    fn message(&mut self, message: ClientMessage, out: &mut Vec<Output>) {
        match message {
            ClientMessage::Hello(_) | ClientMessage::CheckIn { .. } => {
                out.push(Output::End(unexpected("this session has checked in already")));
            }
            ClientMessage::Ping { nonce } => {
                out.push(Output::Send(ServerMessage::Pong { nonce }));
            }
            ClientMessage::SetAvailability(availability) => {
                self.set_availability(availability, out);
            }
            ClientMessage::Decline { round, reason, cause } => {
                self.decline(round, &reason, cause, out);
            }
            ClientMessage::AdvertiseKeys { round, keys } => {
                self.answer(round, Stage::Keys, Contribution::Keys(keys), out);
            }
            ClientMessage::ShareKeys { round, shares } => {
                self.answer(round, Stage::Shares, Contribution::Shares(shares), out);
            }
            ClientMessage::UnmaskingShares { round, self_masks, pairwise } => {
                let contribution = Contribution::UnmaskingShares { self_masks, pairwise };
                self.answer(round, Stage::UnmaskingShares, contribution, out);
            }
            ClientMessage::UpdateBegin(begin) => self.begin(begin, out),
            ClientMessage::UpdateChunk(chunk) => self.chunk(&chunk, out),
        }
    }

    /// The coordinator has something for the client to do, or nothing more.
    fn ordered(&mut self, order: Order, now: Time, out: &mut Vec<Output>) {
        let fresh = std::mem::take(&mut self.fresh);
        match order {
            Order::Rest => self.dismiss(None, out),
            Order::Invited(invitation) => {
                self.dismiss(Some(invitation.round), out);
                self.invited(invitation, fresh, now, out);
            }
            Order::Asked { round, request, deadline } => {
                self.dismiss(Some(round), out);
                self.asked(round, &request, deadline, fresh, now, out);
            }
            Order::Struck(round, fault) => {
                if self.seat.part.as_ref().is_some_and(|(known, _)| *known == round) {
                    self.seat.part = Some((round, Part::Left));
                    if let Some(settled) = self.seat.settled.as_mut()
                        && settled.begin.round == round
                    {
                        settled.verdict = UpdateVerdict::Rejected(fault);
                    }
                    self.outcome(round, UpdateVerdict::Rejected(fault), "", out);
                }
            }
            Order::StandBy(cause, until) => {
                self.dismiss(None, out);
                let retry_after = now.until(until);
                if !retry_after.is_zero() {
                    let message = standby_message(cause).to_owned();
                    let standby = Standby { cause, retry_after, message };
                    out.push(Output::Send(ServerMessage::Standby(standby)));
                }
            }
            Order::Away(retry_after) => out.push(Output::End(End::Refused(Refusal {
                code: RefusalCode::NotSelected,
                message: "enough clients wait for the next round; come back later".to_owned(),
                retry_after: Some(retry_after),
            }))),
        }
    }

    /// Ends the client's part in a round that is not `current`.
    fn dismiss(&mut self, current: Option<RoundId>, out: &mut Vec<Output>) {
        if let Some(round) = self.seat.dismiss(current) {
            let verdict = UpdateVerdict::Discarded(UpdateFault::RoundOver);
            self.outcome(round, verdict, "", out);
        }
    }

    fn invited(&mut self, invitation: Invitation, fresh: bool, now: Time, out: &mut Vec<Output>) {
        let Invitation { round, model, deadline, max_staleness, privacy } = invitation;
        if let Some((known, part)) = &self.seat.part
            && *known == round
        {
            let in_work = matches!(part, Part::Working(_) | Part::Queued(_) | Part::Sending(..));
            if !(fresh && in_work) {
                return;
            }
        } else {
            let first = self.task.config.plan.first_stage();
            self.seat.part = Some((round, Part::Working(first)));
            self.seat.asked = Some((round, first));
        }
        let training = self.training(round);
        let deadline = now.until(deadline);
        let assignment =
            RoundAssignment { round, model, training, deadline, max_staleness, privacy };
        out.push(Output::Send(ServerMessage::RoundAssignment(assignment)));
    }

    /// Secure aggregation goes on: the client is asked for the next thing.
    fn asked(
        &mut self,
        round: RoundId,
        request: &Request,
        deadline: Time,
        fresh: bool,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let (stage, message) = request_message(request, now.until(deadline));
        let repeated = self.seat.asked == Some((round, stage));
        match &self.seat.part {
            Some((known, Part::Judged)) if *known == round && !repeated => {}
            Some((known, Part::Working(_))) if *known == round && repeated && fresh => {}
            // It has left after its last answer: nobody need wait for the next.
            Some((known, Part::Left)) if *known == round && !repeated => {
                out.push(Output::Tell(Command::Decline(self.client, round, None)));
                return;
            }
            _ => return,
        }
        self.seat.part = Some((round, Part::Working(stage)));
        self.seat.asked = Some((round, stage));
        self.seat.over = None;
        out.push(Output::Send(message));
    }

    /// The task's plan with this round's seed, the same for the whole cohort.
    fn training(&self, round: RoundId) -> LocalTraining {
        let config = &self.task.config;
        let spread = 0x9e37_79b9_7f4a_7c15_u64;
        let seed = config.seed.wrapping_add(round.round.wrapping_mul(spread));
        config.training.with_seed(seed)
    }

    fn set_availability(&mut self, availability: Availability, out: &mut Vec<Output>) {
        if availability == self.seat.availability {
            return;
        }
        let takes_part = availability == Availability::Available;
        if takes_part && !self.has_subject && self.task.config.privacy.is_some() {
            out.push(Output::End(unexpected(NO_SUBJECT)));
            return;
        }
        self.seat.availability = availability;
        if availability == Availability::Paused {
            self.leave_round();
        }
        out.push(Output::Tell(Command::Availability(self.client, availability)));
    }

    /// Under a privacy policy a client says nothing about its data: what another
    /// program says all the same is dropped.
    fn decline(
        &mut self,
        round: RoundId,
        reason: &str,
        cause: Option<DeclineCause>,
        out: &mut Vec<Output>,
    ) {
        let known = self.seat.part.as_ref().is_some_and(|(known, _)| *known == round);
        if !known || !self.leave_round() {
            return;
        }
        let is_private = self.task.config.policy().is_some();
        let cause = cause.filter(|cause| !is_private || *cause == DeclineCause::NotNow);
        let reason = (!is_private).then_some(reason);
        tracing::debug!(%round, reason, ?cause, "declined");
        out.push(Output::Tell(Command::Decline(self.client, round, cause)));
    }

    /// Ends the client's part in its round, if it has not ended yet.
    fn leave_round(&mut self) -> bool {
        let secure = self.task.config.plan.first_stage() == Stage::Keys;
        match &mut self.seat.part {
            // What it has reported counts, unless secure aggregation needs it on.
            Some((_, Part::Judged | Part::Judging(..))) if !secure => false,
            Some((round, part)) if !matches!(part, Part::Left | Part::Dismissed) => {
                *part = Part::Left;
                self.seat.over = Some(*round);
                true
            }
            _ => false,
        }
    }

    /// An answer of secure aggregation that is not an upload.
    fn answer(
        &mut self,
        round: RoundId,
        stage: Stage,
        contribution: Contribution,
        out: &mut Vec<Output>,
    ) {
        match &self.seat.part {
            Some((known, Part::Working(expected))) if *known == round => {
                if *expected == stage {
                    self.judge(round, stage, None, contribution, out);
                } else {
                    self.refuse(round, UpdateFault::WrongStep, "", out);
                }
            }
            // It has declined or paused, and this crossed with it.
            Some((known, Part::Left | Part::Dismissed)) if *known == round => {}
            Some((known, _)) if *known == round => self.refuse_duplicate(round, out),
            _ => self.misplaced(round, out),
        }
    }

    /// Has the coordinator judge what the client sent.
    fn judge(
        &mut self,
        round: RoundId,
        stage: Stage,
        begin: Option<UpdateBegin>,
        contribution: Contribution,
        out: &mut Vec<Output>,
    ) {
        let (sender, verdict) = oneshot::channel();
        let weight = begin.as_ref().map_or(1, |begin| begin.examples);
        self.seat.part = Some((round, Part::Judging(begin, verdict)));
        let client = self.client;
        let report = Report { client, round, stage, weight, contribution, verdict: sender };
        out.push(Output::Tell(Command::Report(report)));
    }

    /// An accepted answer that is not an update needs no word.
    fn judged(&mut self, verdict: UpdateVerdict, out: &mut Vec<Output>) {
        let judging = matches!(&self.seat.part, Some((_, Part::Judging(..))));
        let Some((round, Part::Judging(begin, _))) = self.seat.part.take_if(|_| judging) else {
            return;
        };
        self.seat.part = Some((round, Part::Judged));
        let update = begin.is_some();
        self.seat.settled =
            begin.map(|begin| Settled { begin, verdict }).or(self.seat.settled.take());
        if update || verdict != UpdateVerdict::Accepted {
            self.outcome(round, verdict, "", out);
        }
    }

    /// Turns the client's update down and ends its part in the round.
    fn refuse(&mut self, round: RoundId, fault: UpdateFault, message: &str, out: &mut Vec<Output>) {
        self.seat.part = Some((round, Part::Judged));
        out.push(Output::Tell(Command::Refuse(self.client, round, fault)));
        self.outcome(round, UpdateVerdict::Rejected(fault), message, out);
    }

    /// An update for a round that the client is not invited to.
    fn misplaced(&mut self, round: RoundId, out: &mut Vec<Output>) {
        let verdict = misplaced(&self.task.view.borrow().progress, round);
        self.outcome(round, verdict, "", out);
    }

    /// Tells the client what became of its update, and counts it.
    fn outcome(
        &mut self,
        round: RoundId,
        verdict: UpdateVerdict,
        message: &str,
        out: &mut Vec<Output>,
    ) {
        self.seat.over = Some(round);
        self.metrics.update(&self.task.metrics, verdict);
        out.push(Output::Send(outcome(round, verdict, message)));
    }
}

/// Without a message of its own an outcome that is not good gets the fault's.
fn outcome(round: RoundId, verdict: UpdateVerdict, message: &str) -> ServerMessage {
    let message = match verdict {
        UpdateVerdict::Rejected(fault) | UpdateVerdict::Discarded(fault) if message.is_empty() => {
            sentence(fault).to_owned()
        }
        _ => message.to_owned(),
    };
    ServerMessage::UpdateOutcome(UpdateOutcome { round, verdict, message })
}

fn request_message(request: &Request, deadline: Duration) -> (Stage, ServerMessage) {
    match request {
        Request::Shares(directory) => {
            let directory = KeyDirectory { deadline, ..directory.clone() };
            (Stage::Shares, ServerMessage::KeyDirectory(directory))
        }
        Request::MaskedInput(request) => {
            let request = MaskedInputRequest { deadline, ..request.clone() };
            (Stage::MaskedInput, ServerMessage::MaskedInputRequest(request))
        }
        Request::Unmasking(request) => {
            let request = UnmaskingRequest { deadline, ..request.clone() };
            (Stage::UnmaskingShares, ServerMessage::UnmaskingRequest(request))
        }
    }
}

fn sentence(fault: UpdateFault) -> &'static str {
    match fault {
        UpdateFault::RoundOver => "the round closed before the update was complete",
        UpdateFault::UnknownRound => "there is no such round",
        UpdateFault::NotInCohort => "the client is not in the cohort of this round",
        UpdateFault::Duplicate => "the client's update for this round has been dealt with",
        UpdateFault::WrongLength => "the update has another length than announced",
        UpdateFault::WrongOffset => "the chunk does not continue where the last one ended",
        UpdateFault::ChecksumMismatch => "the bytes do not match their checksum",
        UpdateFault::NotFinite => "the update has a value that is not finite",
        UpdateFault::OutOfRange => "the update has a value that is too large",
        UpdateFault::WeightOutOfRange => "the weight is outside what the task takes",
        UpdateFault::TooStale => "too many newer models exist for this update to count",
        UpdateFault::InvalidKeys => "the keys are not ones that an honest client makes",
        UpdateFault::InvalidShares => "the shares are not the ones that were asked for",
        UpdateFault::WrongStep => "the round does not wait for this now",
    }
}
