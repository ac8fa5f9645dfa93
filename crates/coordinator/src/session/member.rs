//! Session of a client that has joined its task.

use std::sync::Arc;
use std::time::Duration;

use fedra_aggregation::accumulator::{Answer, Request};
use fedra_protocol::limits::MAX_MESSAGE_BYTES;
use fedra_protocol::{
    Availability, ClientMessage, DeclineCause, KeyDirectory, MaskedInputRequest, MaskingGroup,
    Refusal, RefusalCode, RoundAssignment, RoundId, RoundPhase, ServerMessage, Standby,
    StandbyCause, UnmaskingRequest, UpdateBegin, UpdateFault, UpdateOutcome, UpdateVerdict,
};

use super::refusal::{no_subject, unexpected};
use super::{Input, Output};
use crate::messages::{Command, Invitation, Notice, Order, Report};
use crate::participation::{Pace, Part, Participation};
use crate::round::{ClientId, Progress, Stage, Time};
use crate::settings::TaskSettings;
use crate::status::{TaskMetrics, TaskView};
use crate::writer::Contribution;

/// Upper bound on the overhead of a message and its frames, bytes.
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

/// Session of a client that has joined.
pub(super) struct Member {
    client: ClientId,
    /// True if the client named the subject that a privacy ledger counts for.
    has_subject: bool,
    pub(super) settings: Arc<TaskSettings>,
    metrics: Arc<dyn TaskMetrics>,
    view: Arc<TaskView>,
    pub(super) pace: Pace,
    pub(super) participation: Participation,
    /// No order was taken on this connection: the last one may be a repetition.
    fresh: bool,
    /// Round of the update that was announced on this connection.
    pub(super) announced: Option<RoundId>,
}

impl Member {
    /// Goes on from the participation that the client's last connection left.
    pub(super) fn new(
        client: ClientId,
        has_subject: bool,
        participation: Participation,
        settings: Arc<TaskSettings>,
        metrics: Arc<dyn TaskMetrics>,
        view: Arc<TaskView>,
        pace: Pace,
    ) -> Self {
        Self {
            client,
            has_subject,
            settings,
            metrics,
            view,
            pace,
            participation,
            fresh: true,
            announced: None,
        }
    }

    pub(super) fn client(&self) -> ClientId {
        self.client
    }

    pub(super) fn participation(&self) -> &Participation {
        &self.participation
    }

    pub(super) fn refresh(&mut self, view: &Arc<TaskView>) {
        self.view = Arc::clone(view);
    }

    /// Tells the verdict that the client's last connection has not heard.
    pub(super) fn repeat_verdict(&mut self, out: &mut Vec<Output>) {
        if let Some(verdict) = self.participation.unheard.take()
            && let Some((round, _)) = self.participation.part
        {
            self.judged(round, verdict, out);
        }
    }

    /// Time at which [`Input::TimePassed`] is to be handled, if nothing else comes.
    pub(super) fn wake_at(&self) -> Option<Time> {
        self.participation.upload_due()
    }

    pub(super) fn into_participation(self) -> Participation {
        self.participation
    }

    /// Bytes of an update that wait for room in the budget.
    pub(super) fn wants_room(&self) -> Option<u64> {
        match &self.participation.part {
            Some((_, Part::Queued(begin))) => Some(begin.bytes),
            _ => None,
        }
    }

    /// Bytes of the largest message that the client has been asked for: a piece of
    /// an update that has its room in the budget, or an answer to the whole cohort.
    pub(super) fn expects(&self) -> u64 {
        match &self.participation.part {
            Some((_, Part::Sending(upload, _))) => upload.begin().bytes + MESSAGE_HEAD,
            Some((_, Part::Working(Stage::Shares | Stage::UnmaskingShares))) => {
                MAX_MESSAGE_BYTES as u64
            }
            _ => 0,
        }
    }

    /// The round that the client is in, for the log.
    pub(super) fn round(&self) -> Option<RoundId> {
        self.participation.part.as_ref().map(|(round, _)| *round)
    }

    /// Handles an input.
    pub(super) fn handle(&mut self, input: Input, now: Time, out: &mut Vec<Output>) {
        match input {
            Input::Message(message) => self.message(message, out),
            Input::Notice(Notice::Order(order)) => self.ordered(order, now, out),
            Input::Notice(Notice::Verdict(round, verdict)) => self.judged(round, verdict, out),
            Input::News => {
                let status = self.view.status(&self.settings, now);
                out.push(Output::Send(ServerMessage::TaskStatus(Box::new(status))));
            }
            Input::Room(room) => self.start_upload(room, now, out),
            Input::Checked(result) => self.checked(result, out),
            Input::TimePassed => self.time_passed(now, out),
            Input::Admitted(_) | Input::Notice(_) => {}
        }
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
                self.answer(round, Stage::Keys, Answer::Keys(keys), out);
            }
            ClientMessage::ShareKeys { round, shares } => {
                self.answer(round, Stage::Shares, Answer::Shares(shares), out);
            }
            ClientMessage::UnmaskingShares { round, self_masks, pairwise } => {
                let answer = Answer::UnmaskingShares { self_masks, pairwise };
                self.answer(round, Stage::UnmaskingShares, answer, out);
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
                self.invited(*invitation, fresh, now, out);
            }
            Order::Asked { round, group, request, deadline } => {
                self.dismiss(Some(round), out);
                let request = request_message(round, group, &request, now.until(deadline));
                self.asked(round, request, fresh, out);
            }
            Order::LeftOut(round, fault) => {
                if self.participation.part.as_ref().is_some_and(|(known, _)| *known == round) {
                    self.participation.part = Some((round, Part::Left));
                    if let Some(settled) = self.participation.settled.as_mut()
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
            Order::Away(retry_after) => out.push(Output::End(Refusal {
                code: RefusalCode::NotSelected,
                message: "enough clients wait for the next round; come back later".to_owned(),
                retry_after: Some(retry_after),
            })),
        }
    }

    /// Ends the client's part in a round that is not `current`.
    fn dismiss(&mut self, current: Option<RoundId>, out: &mut Vec<Output>) {
        if let Some(round) = self.participation.dismiss(current) {
            let verdict = UpdateVerdict::Discarded(UpdateFault::RoundOver);
            self.outcome(round, verdict, "", out);
        }
    }

    fn invited(&mut self, invitation: Invitation, fresh: bool, now: Time, out: &mut Vec<Output>) {
        let Invitation { round, model, steps, drawn, control, deadline, max_staleness, privacy } =
            invitation;
        if let Some((known, part)) = &self.participation.part
            && *known == round
        {
            let in_work = matches!(part, Part::Working(_) | Part::Queued(_) | Part::Sending(..));
            if !(fresh && in_work) {
                return;
            }
        } else {
            let first = self.settings.plan.first_stage();
            self.participation.part = Some((round, Part::Working(first)));
            self.participation.asked = Some((round, first));
        }
        let training = self.settings.training(round);
        let deadline = now.until(deadline);
        let assignment = RoundAssignment {
            round,
            model,
            training,
            deadline,
            max_staleness,
            privacy,
            codec: self.settings.payload(round.round).codec.stated_name(),
            evaluates: self.settings.evaluation(round.round).is_some(),
            steps: steps.into(),
            drawn,
            control,
        };
        out.push(Output::Send(ServerMessage::RoundAssignment(assignment)));
    }

    /// Secure aggregation goes on: the client is asked for the next thing.
    fn asked(
        &mut self,
        round: RoundId,
        (stage, message): (Stage, ServerMessage),
        fresh: bool,
        out: &mut Vec<Output>,
    ) {
        let repeated = self.participation.asked == Some((round, stage));
        match &self.participation.part {
            Some((known, Part::Judged)) if *known == round && !repeated => {}
            Some((known, Part::Working(_))) if *known == round && repeated && fresh => {}
            // The client has left after its last answer: the next one need not wait.
            Some((known, Part::Left)) if *known == round && !repeated => {
                out.push(Output::Tell(Command::Decline(self.client, round, None)));
                return;
            }
            _ => return,
        }
        self.participation.part = Some((round, Part::Working(stage)));
        self.participation.asked = Some((round, stage));
        self.participation.over = None;
        out.push(Output::Send(message));
    }

    fn set_availability(&mut self, availability: Availability, out: &mut Vec<Output>) {
        if availability == self.participation.availability {
            return;
        }
        let takes_part = availability == Availability::Available;
        if takes_part && !self.has_subject && self.settings.privacy.is_some() {
            out.push(Output::End(no_subject()));
            return;
        }
        self.participation.availability = availability;
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
        let known = self.participation.part.as_ref().is_some_and(|(known, _)| *known == round);
        if !known || !self.leave_round() {
            return;
        }
        let is_private = self.settings.policy().is_some();
        let cause = cause.filter(|cause| !is_private || *cause == DeclineCause::NotNow);
        let reason = (!is_private).then_some(reason);
        tracing::debug!(%round, reason, ?cause, "declined");
        out.push(Output::Tell(Command::Decline(self.client, round, cause)));
    }

    /// Ends the client's part in its round, if it has not ended yet.
    fn leave_round(&mut self) -> bool {
        let secure = self.settings.plan.first_stage() == Stage::Keys;
        match &mut self.participation.part {
            // What it has reported counts, unless secure aggregation needs it on.
            Some((_, Part::Judged | Part::Judging(..))) if !secure => false,
            Some((round, part)) if !matches!(part, Part::Left | Part::Dismissed) => {
                *part = Part::Left;
                self.participation.over = Some(*round);
                true
            }
            _ => false,
        }
    }

    /// An answer of secure aggregation that is not an upload.
    fn answer(&mut self, round: RoundId, stage: Stage, answer: Answer, out: &mut Vec<Output>) {
        match &self.participation.part {
            Some((known, Part::Working(expected))) if *known == round => {
                if *expected == stage {
                    self.report(round, stage, None, Contribution::Answer(answer), out);
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

    /// Passes a complete answer on to the task's core, which judges it.
    pub(super) fn report(
        &mut self,
        round: RoundId,
        stage: Stage,
        begin: Option<UpdateBegin>,
        contribution: Contribution,
        out: &mut Vec<Output>,
    ) {
        let weight = begin.as_ref().map_or(1, |begin| begin.examples);
        self.participation.part = Some((round, Part::Judging(begin, stage)));
        let client = self.client;
        let report = Report { client, round, stage, weight, contribution };
        out.push(Output::Tell(Command::Report(report)));
    }

    /// An accepted answer that is not an update needs no message.
    fn judged(&mut self, round: RoundId, verdict: UpdateVerdict, out: &mut Vec<Output>) {
        let Some(is_update) = self.participation.judge(round, verdict) else { return };
        if is_update || verdict != UpdateVerdict::Accepted {
            self.outcome(round, verdict, "", out);
        }
    }

    /// Turns the client's update down and ends its part in the round.
    pub(super) fn refuse(
        &mut self,
        round: RoundId,
        fault: UpdateFault,
        message: &str,
        out: &mut Vec<Output>,
    ) {
        self.participation.part = Some((round, Part::Judged));
        out.push(Output::Tell(Command::Refuse(self.client, round, fault)));
        self.outcome(round, UpdateVerdict::Rejected(fault), message, out);
    }

    /// An update for a round that the client is not invited to.
    pub(super) fn misplaced(&mut self, round: RoundId, out: &mut Vec<Output>) {
        let verdict = misplaced(&self.view.progress, round);
        self.outcome(round, verdict, "", out);
    }

    /// Tells the client what became of its update, and counts it.
    pub(super) fn outcome(
        &mut self,
        round: RoundId,
        verdict: UpdateVerdict,
        message: &str,
        out: &mut Vec<Output>,
    ) {
        self.participation.over = Some(round);
        self.metrics.judged(verdict);
        out.push(Output::Send(outcome(round, verdict, message)));
    }
}

/// Verdict on an update for a round that the client is not invited to.
fn misplaced(progress: &Progress, round: RoundId) -> UpdateVerdict {
    let current = progress.round;
    match round.cmp(&current) {
        std::cmp::Ordering::Less => UpdateVerdict::Discarded(UpdateFault::RoundOver),
        std::cmp::Ordering::Equal if progress.phase == RoundPhase::Finished => {
            UpdateVerdict::Discarded(UpdateFault::RoundOver)
        }
        std::cmp::Ordering::Equal
            if !matches!(progress.phase, RoundPhase::Selecting | RoundPhase::Paused) =>
        {
            UpdateVerdict::Rejected(UpdateFault::NotInCohort)
        }
        _ => UpdateVerdict::Rejected(UpdateFault::UnknownRound),
    }
}

/// Without a message of its own an outcome that is not good gets the fault's.
pub(super) fn outcome(round: RoundId, verdict: UpdateVerdict, message: &str) -> ServerMessage {
    let message = match verdict {
        UpdateVerdict::Rejected(fault) | UpdateVerdict::Discarded(fault) if message.is_empty() => {
            sentence(fault).to_owned()
        }
        _ => message.to_owned(),
    };
    ServerMessage::UpdateOutcome(UpdateOutcome { round, verdict, message })
}

/// A request of secure aggregation to a client that was invited to `round`.
fn request_message(
    round: RoundId,
    group: Option<MaskingGroup>,
    request: &Request,
    deadline: Duration,
) -> (Stage, ServerMessage) {
    match request {
        Request::Shares(directory) => {
            let directory = KeyDirectory { round, group, deadline, ..directory.clone() };
            (Stage::Shares, ServerMessage::KeyDirectory(directory))
        }
        Request::MaskedInput(request) => {
            let request = MaskedInputRequest { round, deadline, ..request.clone() };
            (Stage::MaskedInput, ServerMessage::MaskedInputRequest(request))
        }
        Request::Unmasking(request) => {
            let request = UnmaskingRequest { round, deadline, ..request.clone() };
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
