//! Buffering: asynchronous rounds with a buffer (Nguyen et al. 2022, FedBuff).
//!
//! Any free client is invited by itself, from the newest stored model, and
//! reports at most once from it. Its report counts in the round that is open when it
//! arrives, if not too many models have been made in between. A round closes at
//! the report goal, or at its deadline with the fewest reports; one that has
//! not even those at its deadline goes on until it has, as its next attempt:
//! those whose invitation came to nothing are invited again.
//!
//! While the model of a closed round is being stored, the next round takes reports, but
//! no client is invited to it and it does not close, because its starting model is not
//! known yet. The round of an invitation thus says which model it starts from, and
//! staleness is a difference of rounds. If the model is not stored, the reports of that
//! round are lost; the open round takes its number, as the next attempt, and keeps its
//! reports.
//!
//! Under a privacy policy a client counts at most once in a round, because that is what a
//! debit pays for: once its report is in the open round, it is not invited before the next
//! one. It follows that no client is at work whose last report has not been paid for.
//!
//! Under secure aggregation a report says that a client has trained, and it waits. At the
//! report goal, or at the deadline with the fewest reports, the first of those who wait are
//! a masking group: the round's sum is theirs. While the group is at work, the next round
//! takes reports and invites clients from the model that there is, and no second group is
//! formed. A group that fails does so alone, and the open round takes its number. No client
//! of a group is invited before the group has come to its end.

use std::collections::{BTreeMap, BTreeSet};

use fedra_protocol::{Availability, RoundId, StandbyCause, UpdateFault, UpdateVerdict};

use super::cohort::Link;
use super::ended::{AbandonReason, Abandoned, next_attempt};
use super::finalizing::Finalizing;
use super::in_flight::{End, InFlight};
use super::pool::{Pool, sample};
use super::record::Ending;
use super::securing::Securing;
use super::waiting::Waiting;
use super::{
    Budget, ClientId, Context, Effect, Eligibility, Event, Phase, Progress, Protection,
    RoundCounts, RoundPlan, Stage, Time, pacing,
};

/// The round before the open one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Closing {
    /// Its masking group is at work.
    Securing(Box<Securing>),
    /// It is on its way to the store.
    Storing(Finalizing),
}

impl Closing {
    fn round(&self) -> RoundId {
        match self {
            Self::Securing(group) => group.round(),
            Self::Storing(storing) => storing.round(),
        }
    }

    fn into_phase(self) -> Phase {
        match self {
            Self::Securing(group) => Phase::Securing(*group),
            Self::Storing(storing) => Phase::Finalizing(storing),
        }
    }
}

/// A round that fills, and perhaps the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Buffering {
    round: RoundId,
    /// Time from which the minimum of reports closes the round; `None` once it is past.
    deadline: Option<Time>,
    /// The reports in the sum by the invitations that they answer: their weights.
    counted: BTreeMap<(ClientId, RoundId), u64>,
    weight: u64,
    /// Invitations that came to nothing since the round opened.
    left: usize,
    in_flight: InFlight,
    /// Clients that wait for a masking group.
    waiting: Waiting,
    /// The round before, until it is stored or has come to nothing.
    closing: Option<Closing>,
    /// True if clients have been invited since the round opened.
    has_invited: bool,
    /// Earliest time at which clients are invited to the round once more.
    renew_at: Option<Time>,
}

impl Buffering {
    pub(super) fn open(round: RoundId, context: &mut Context<'_>) -> Self {
        context.open(round);
        let deadline = context.now + context.plan.deadline;
        Self {
            round,
            deadline: Some(deadline),
            renew_at: Some(deadline),
            counted: BTreeMap::new(),
            weight: 0,
            left: 0,
            in_flight: InFlight::default(),
            waiting: Waiting::default(),
            closing: None,
            has_invited: false,
        }
    }

    pub(super) fn round(&self) -> RoundId {
        self.round
    }

    /// Rounds whose model is stored.
    pub(super) fn completed(&self) -> u64 {
        self.closing.as_ref().map_or(self.round, Closing::round).round - 1
    }

    /// The masking group at work, if there is one.
    pub(super) fn group(&self) -> Option<&Securing> {
        match &self.closing {
            Some(Closing::Securing(group)) => Some(group),
            Some(Closing::Storing(_)) | None => None,
        }
    }

    /// Takes the masking group out, if there is one.
    fn take_group(&mut self) -> Option<Securing> {
        match self.closing.take() {
            Some(Closing::Securing(group)) => Some(*group),
            other => {
                self.closing = other;
                None
            }
        }
    }

    /// Clients at work, in a group or waiting for one, and those that must be known as long
    /// as the round is open.
    pub(super) fn members(&self, plan: &RoundPlan) -> Vec<ClientId> {
        let counted = self.counted.keys().map(|(client, _)| *client);
        let barred = counted.filter(|client| self.is_barred(*client, plan));
        let grouped = self.group().into_iter().flat_map(Securing::grouped);
        let at_work = self.in_flight.clients().chain(self.waiting.clients()).chain(grouped);
        let members: BTreeSet<ClientId> = at_work.chain(barred).collect();
        members.into_iter().collect()
    }

    pub(super) fn wake_at(&self) -> Option<Time> {
        let own = self.deadline.into_iter().chain(self.renew_at);
        let clients = self.in_flight.wake_at().into_iter().chain(self.waiting.wake_at());
        own.chain(clients).chain(self.group().and_then(Securing::wake_at)).min()
    }

    pub(super) fn progress(&self, base: Progress) -> Progress {
        let RoundCounts { cohort, reported, weight } = self.counts();
        let left = cohort - reported - self.in_flight.working();
        Progress { cohort, reported, left, weight, deadline: self.deadline, ..base }
    }

    fn counts(&self) -> RoundCounts {
        let reported = self.counted.len() + self.waiting.len();
        RoundCounts {
            cohort: reported + self.left + self.in_flight.len(),
            reported,
            weight: self.weight + self.waiting.len() as u64,
        }
    }

    pub(super) fn handle(mut self, event: Event, context: &mut Context<'_>) -> Phase {
        if let Some(group) = self.take_group() {
            let phase = group.handle(event, context);
            self.follow_group(phase, context);
        }
        match event {
            Event::Stored(round) if self.is_storing(round) => {
                self.closing = None;
                context.effects.push(Effect::Complete(round));
            }
            Event::NotStored(round) if self.is_storing(round) => {
                self.renumber(round, AbandonReason::NotStored, context);
            }
            Event::NotFinite(round) if self.is_storing(round) => {
                self.renumber(round, AbandonReason::NotFinite, context);
            }
            Event::Lost(client) => {
                let grace = context.grace();
                self.in_flight.relink(client, |link| link.lost(grace));
                self.waiting.relink(client, Some(grace));
            }
            Event::Returned(client, Availability::Available) => {
                self.in_flight.relink(client, Link::returned);
                self.waiting.relink(client, None);
            }
            Event::Left(client) => {
                let ended = self.lose(client).is_some();
                self.failed(ended, client, StandbyCause::Lost, context);
            }
            Event::Returned(client, Availability::Paused)
            | Event::AvailabilityChanged(client, Availability::Paused) => {
                self.left += usize::from(self.lose(client).is_some());
            }
            Event::Declined(client, round) => {
                let ended = self.end_invitation(client, round);
                self.failed(ended, client, StandbyCause::Declined, context);
            }
            Event::Refused(client, round) => self.refused(client, round, context),
            Event::EligibilityChanged(client, Eligibility::Spent) => {
                // Its subject had another client, which is what was paid for.
                if let Some(round) = self.lose(client) {
                    self.left += 1;
                    context.effects.push(Effect::Dismiss(client, round));
                }
            }
            _ => {}
        }
        Phase::Buffering(self)
    }

    /// Goes on with what has become of the masking group.
    fn follow_group(&mut self, phase: Phase, context: &mut Context<'_>) {
        match phase {
            Phase::Securing(group) => self.closing = Some(Closing::Securing(Box::new(group))),
            Phase::Finalizing(storing) => self.closing = Some(Closing::Storing(storing)),
            Phase::Abandoned(group) => self.renumber(group.round(), group.reason(), context),
            // A group comes to nothing else.
            _ => {}
        }
    }

    /// Ends what the client does for its invitation, to this round: it works or waits.
    fn lose(&mut self, client: ClientId) -> Option<RoundId> {
        let round = self.in_flight.round_of(client).or(self.waiting.round_of(client))?;
        self.end_invitation(client, round).then_some(round)
    }

    /// Ends the client's invitation to `round`, unless its report is in a sum or a group.
    fn end_invitation(&mut self, client: ClientId, round: RoundId) -> bool {
        if self.waiting.leave(client, round) {
            self.in_flight.strike_last(client);
            return true;
        }
        self.in_flight.end(client, round, End::Gone)
    }

    /// Counts an invitation that came to nothing, if it `ended` now.
    fn failed(
        &mut self,
        ended: bool,
        client: ClientId,
        cause: StandbyCause,
        context: &mut Context<'_>,
    ) {
        if ended {
            self.left += 1;
            context.note(client, Ending::Failed(cause));
        }
    }

    fn is_storing(&self, round: RoundId) -> bool {
        matches!(self.closing, Some(Closing::Storing(storing)) if storing.round() == round)
    }

    /// The round before has come to nothing: this one takes its number.
    fn renumber(&mut self, failed: RoundId, reason: AbandonReason, context: &mut Context<'_>) {
        self.closing = None;
        context.effects.push(Effect::Abandon(failed, reason));
        let (from, to) = (self.round, next_attempt(failed));
        self.round = to;
        context.effects.push(Effect::Renumber { from, to });
    }

    /// Ends an invitation because the client's answer, new or already counted, is
    /// worthless. If the round in which it counted has closed, it is too late to say
    /// so.
    fn refused(&mut self, client: ClientId, round: RoundId, context: &mut Context<'_>) {
        let mut ended = self.end_invitation(client, round);
        if !ended && let Some(weight) = self.counted.remove(&(client, round)) {
            self.weight -= weight;
            self.in_flight.strike(client, round);
            ended = true;
        }
        if self.in_flight.contains(client) {
            // It works on another invitation, which is not to be taken from it.
            self.left += usize::from(ended);
        } else {
            self.failed(ended, client, StandbyCause::Rejected, context);
        }
    }

    /// Judges a report for any round; with its staleness.
    pub(super) fn report(
        &mut self,
        client: ClientId,
        round: RoundId,
        (stage, weight): (Stage, u64),
        context: &mut Context<'_>,
    ) -> (UpdateVerdict, u32) {
        if let Some(Closing::Securing(group)) = &mut self.closing
            && group.groups(client)
            && group.invitation(client) == round
        {
            return (group.report(client, stage), 0);
        }
        if let Err(known) = self.in_flight.expects(client, round) {
            return (known.unwrap_or_else(|| self.misplaced(round, context)), 0);
        }
        if stage != context.plan.first_stage() {
            return (UpdateVerdict::Rejected(UpdateFault::WrongStep), 0);
        }
        if !context.plan.has_room_for(weight, self.weight) {
            self.left += usize::from(self.in_flight.end(client, round, End::Gone));
            return (UpdateVerdict::Rejected(UpdateFault::WeightOutOfRange), 0);
        }
        let away_until = self.in_flight.away_until(client, context.now);
        self.in_flight.end(client, round, End::Reported);
        if stage == Stage::Keys {
            self.waiting.join(client, round, away_until);
            return (UpdateVerdict::Accepted, 0);
        }
        context.note(client, Ending::Reported);
        self.counted.insert((client, round), weight);
        self.weight += weight;
        // A client at work is never staler than the plan allows.
        let staleness = self.round.round.saturating_sub(round.round);
        (UpdateVerdict::Accepted, u32::try_from(staleness).unwrap_or(u32::MAX))
    }

    /// The verdict on a report for an invitation that is not, or not any more.
    fn misplaced(&self, round: RoundId, context: &Context<'_>) -> UpdateVerdict {
        if round.round < self.oldest(context.plan) {
            UpdateVerdict::Discarded(UpdateFault::TooStale)
        } else if round == self.round {
            UpdateVerdict::Rejected(UpdateFault::NotInCohort)
        } else {
            context.misplaced(self.round, round)
        }
    }

    /// The first round whose invitations can still count in this one.
    fn oldest(&self, plan: &RoundPlan) -> u64 {
        self.round.round.saturating_sub(u64::from(plan.mode.max_staleness()))
    }

    /// Does what it is time to, and closes the phase when its last round is in.
    pub(super) fn review(mut self, context: &mut Context<'_>) -> Phase {
        let ended = self.in_flight.expire(context.now);
        for (client, round, cause) in ended {
            context.effects.push(Effect::Dismiss(client, round));
            self.failed(true, client, cause, context);
        }
        for (client, round) in self.waiting.expire(context.now) {
            self.in_flight.strike_last(client);
            context.effects.push(Effect::Dismiss(client, round));
            self.failed(true, client, StandbyCause::Lost, context);
        }
        if let Some(group) = self.take_group() {
            match group.review(context) {
                Ok(phase) => self.follow_group(phase, context),
                Err(group) => self.closing = Some(Closing::Securing(group)),
            }
        }
        self.deadline = self.deadline.filter(|deadline| context.now < *deadline);
        self.renew_at = self.renew_at.filter(|at| context.now < *at);
        if context.budget == Budget::Spent {
            return self.end(AbandonReason::BudgetSpent, context);
        }
        if self.closing.is_some() {
            if !context.is_to_rest() {
                self.invite(context);
            }
            return Phase::Buffering(self);
        }
        if self.is_complete(context) {
            return self.close(context);
        }
        if !context.is_to_rest() {
            self.renew(context);
            self.invite(context);
            return Phase::Buffering(self);
        }
        if self.in_flight.working() > 0 {
            return Phase::Buffering(self);
        }
        self.disband(context);
        Phase::Abandoned(Abandoned::new(self.round, AbandonReason::TooFewReports))
    }

    fn is_complete(&self, context: &Context<'_>) -> bool {
        let (reported, plan) = (self.counted.len() + self.waiting.ready(), context.plan);
        let is_last_call = context.is_to_rest() && self.in_flight.working() == 0;
        reported >= plan.report_goal
            || reported >= plan.minimum_reports && (self.deadline.is_none() || is_last_call)
    }

    /// Closes the round and opens the next, if there is to be one.
    fn close(mut self, context: &mut Context<'_>) -> Phase {
        let closing = match context.plan.forms_groups() {
            true => self.form_group(context),
            false => {
                context.effects.push(Effect::Finalize(self.round, self.counts()));
                Closing::Storing(Finalizing::new(self.round, self.counts()))
            }
        };
        let next = context.fresh(self.round.round + 1);
        let is_last = context.plan.rounds.is_some_and(|rounds| next.round > rounds);
        if is_last || context.is_to_rest() {
            self.disband(context);
            return closing.into_phase();
        }
        let (in_flight, waiting) = (self.in_flight, self.waiting);
        let mut opened = Self { in_flight, waiting, ..Self::open(next, context) };
        opened.closing = Some(closing);
        let oldest = opened.oldest(context.plan);
        dismiss(opened.in_flight.retire(oldest), context);
        dismiss(opened.waiting.retire(oldest), context);
        opened.invite(context);
        Phase::Buffering(opened)
    }

    /// Forms a masking group of the first of those who wait.
    fn form_group(&mut self, context: &mut Context<'_>) -> Closing {
        let invitations = self.waiting.take(context.plan.report_goal);
        let invited = invitations.len() + self.left;
        Closing::Securing(Box::new(Securing::group(self.round, invited, invitations, context)))
    }

    /// Renews a round that is past its deadline and for which no client works. The
    /// connected clients have been invited to it, in vain: it goes on as its next
    /// attempt, with its reports, and they are invited again.
    fn renew(&mut self, context: &mut Context<'_>) {
        if self.renew_at.is_some() || self.in_flight.working() > 0 {
            return;
        }
        let mut there = context.pool.available().chain(context.pool.on_trial());
        if !there.any(|client| self.in_flight.has_failed(client, self.round)) {
            return;
        }
        let (from, to) = (self.round, next_attempt(self.round));
        self.round = to;
        self.renew_at = Some(context.now + context.plan.deadline);
        self.in_flight.renew(from, to);
        context.effects.push(Effect::Renumber { from, to });
    }

    /// Round whose starting model is the newest one, if an update from it can count.
    fn starting(&self, plan: &RoundPlan) -> Option<RoundId> {
        match &self.closing {
            None => Some(self.round),
            Some(Closing::Securing(group)) => {
                Some(group.round()).filter(|round| round.round >= self.oldest(plan))
            }
            Some(Closing::Storing(_)) => None,
        }
    }

    /// Invites free clients, chosen at random, as long as not too many are at
    /// work: full members first, then clients on trial. Those who wait beyond the waiting room are sent away once a round.
    fn invite(&mut self, context: &mut Context<'_>) {
        let Some(round) = self.starting(context.plan) else { return };
        let engaged = self.in_flight.working() + self.waiting.len();
        let places = context.plan.invited.saturating_sub(engaged);
        if places > 0 {
            let is_free = |client: &ClientId| self.is_free(*client, round, context.plan);
            let members: Vec<ClientId> = context.pool.available().filter(is_free).collect();
            let members = sample(&members, places, context.rng);
            let on_trial: Vec<ClientId> = context.pool.on_trial().filter(is_free).collect();
            let trials = sample(&on_trial, places - members.len(), context.rng);
            let deadline = context.now + context.plan.deadline;
            let members = members.into_iter().map(|client| (client, Link::Here));
            let trials = trials.into_iter().map(|client| (client, Link::OnTrial));
            for (client, link) in members.chain(trials) {
                self.in_flight.invite(client, round, deadline, link);
                context.effects.push(Effect::Invite(client, round, deadline));
            }
        }
        if !self.has_invited {
            self.has_invited = true;
            // A client that is sent away is a new one when it comes back. One that must not
            // count again stays, so that it is known.
            let is_idle = |client: &ClientId| {
                !self.is_engaged(*client) && !self.is_barred(*client, context.plan)
            };
            let waiting = context.pool.available().filter(is_idle);
            pacing::steer(&waiting.collect::<Vec<ClientId>>(), context);
        }
    }

    /// True if the client may be invited to `round`.
    fn is_free(&self, client: ClientId, round: RoundId, plan: &RoundPlan) -> bool {
        self.in_flight.is_free(client, round)
            && !self.is_engaged(client)
            && !self.is_barred(client, plan)
    }

    /// True if the client works, waits for a masking group or is in one.
    fn is_engaged(&self, client: ClientId) -> bool {
        self.in_flight.contains(client)
            || self.waiting.contains(client)
            || self.group().is_some_and(|group| group.groups(client))
    }

    /// True if a report of the client is in the sum, and a second one must not be.
    fn is_barred(&self, client: ClientId, plan: &RoundPlan) -> bool {
        let first = RoundId { round: 0, attempt: 0 };
        let next = || self.counted.range((client, first)..).next();
        plan.protection == Protection::DebitLast
            && next().is_some_and(|((counted, _), _)| *counted == client)
    }

    /// Available clients for which that is true.
    pub(super) fn barred(&self, pool: &Pool, plan: &RoundPlan) -> usize {
        let clients = self.counted.keys().map(|(client, _)| *client);
        clients.filter(|c| self.is_barred(*c, plan) && pool.has_available(*c)).count()
    }

    /// Ends buffering: the open round comes to nothing. The one before it ends as it would
    /// have, but a masking group that is stopped.
    pub(super) fn end(mut self, reason: AbandonReason, context: &mut Context<'_>) -> Phase {
        self.disband(context);
        let Some(closing) = self.closing else {
            return Phase::Abandoned(Abandoned::new(self.round, reason));
        };
        context.effects.push(Effect::Abandon(self.round, reason));
        match closing {
            Closing::Securing(group) if reason == AbandonReason::Stopped => {
                group.dismiss(context);
                Phase::Abandoned(Abandoned::new(group.round(), reason))
            }
            other => other.into_phase(),
        }
    }

    /// Dismisses all clients; returns the attempts that were under way.
    pub(super) fn give_up(mut self, context: &mut Context<'_>) -> Vec<RoundId> {
        self.disband(context);
        if let Some(group) = self.group() {
            group.dismiss(context);
        }
        self.closing.as_ref().map(Closing::round).into_iter().chain([self.round]).collect()
    }

    /// Ends every invitation but those of the masking group.
    fn disband(&mut self, context: &mut Context<'_>) {
        dismiss(self.in_flight.disband(), context);
        dismiss(self.waiting.disband(), context);
    }
}

fn dismiss(ended: Vec<(ClientId, RoundId)>, context: &mut Context<'_>) {
    let dismiss = |(client, round)| Effect::Dismiss(client, round);
    context.effects.extend(ended.into_iter().map(dismiss));
}
