//! Collecting: the cohort trains and reports. The stage closes at the report goal, but
//! not before the minimum duration; when no client is left to wait for; or at the
//! deadline.
//!
//! A report is an update or, under secure aggregation, the keys with which a
//! client that has trained takes part in it.

use std::collections::BTreeSet;

use fedra_protocol::{RoundId, UpdateFault, UpdateVerdict};

use super::cohort::Cohort;
use super::ended::{AbandonReason, Abandoned};
use super::finalizing::Finalizing;
use super::record::Ending;
use super::securing::Securing;
use super::{
    ClientId, Context, Effect, Event, Phase, Progress, Protection, RoundCounts, RoundPlan, Stage,
    Time,
};

/// A round whose cohort is at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Collecting {
    round: RoundId,
    /// `None` until the round's privacy debit is durable: no client is invited before
    /// that.
    term: Option<Term>,
    members: Cohort,
    weight: u64,
}

/// Times from which the stage may close and by which it has to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Term {
    /// Time from which the report goal closes the stage.
    goal_from: Time,
    deadline: Time,
}

impl Collecting {
    /// Invites the cohort and the clients on trial, or has the debit made that must
    /// come before that.
    pub(super) fn open(
        round: RoundId,
        cohort: BTreeSet<ClientId>,
        trials: BTreeSet<ClientId>,
        context: &mut Context<'_>,
    ) -> Self {
        context.open(round);
        let members = Cohort::new(cohort, trials);
        let mut collecting = Self { round, term: None, members, weight: 0 };
        if context.plan.protection == Protection::DebitFirst {
            context.effects.push(Effect::Advance(round, Stage::Update));
        } else {
            collecting.invite(context);
        }
        collecting
    }

    fn invite(&mut self, context: &mut Context<'_>) {
        let goal_from = context.now + context.plan.minimum_duration;
        let deadline = context.now + context.plan.deadline;
        self.term = Some(Term { goal_from, deadline });
        let trials: BTreeSet<ClientId> = self.members.stragglers().collect();
        let invite = |client| match trials.contains(&client) {
            true => Effect::InviteOnTrial(client, self.round, deadline),
            false => Effect::Invite(client, self.round, deadline),
        };
        context.effects.extend(self.members.late().map(invite));
    }

    pub(super) fn round(&self) -> RoundId {
        self.round
    }

    pub(super) fn members(&self) -> Vec<ClientId> {
        self.members.clients().collect()
    }

    pub(super) fn wake_at(&self, plan: &RoundPlan) -> Option<Time> {
        let goal = self.term.filter(|_| self.members.answered() >= plan.report_goal);
        let deadline = self.term.map(|term| term.deadline);
        [goal.map(|term| term.goal_from), deadline, self.members.wake_at()]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn progress(&self, base: Progress) -> Progress {
        Progress {
            cohort: self.members.len(),
            reported: self.members.answered(),
            left: self.members.len() - self.members.working() - self.members.answered(),
            weight: self.weight,
            deadline: self.term.map(|term| term.deadline),
            ..base
        }
    }

    pub(super) fn handle(mut self, event: Event, context: &mut Context<'_>) -> Phase {
        match event {
            Event::Prepared(round, Stage::Update) if round == self.round => self.invite(context),
            Event::NotPrepared(round, Stage::Update) if round == self.round => {
                let reason = AbandonReason::NotPrepared;
                return Phase::Abandoned(Abandoned::new(self.round, reason));
            }
            other => {
                let failed = self.members.follow(other, self.round, context.grace());
                // Before its invitation a client cannot fail.
                context.note_failure(failed.filter(|_| self.term.is_some()));
            }
        }
        Phase::Collecting(self)
    }

    /// Judges a report for this round. A rejected one ends the client's part.
    pub(super) fn report(
        mut self,
        client: ClientId,
        stage: Stage,
        weight: u64,
        plan: &RoundPlan,
    ) -> (Self, UpdateVerdict) {
        let fault = match self.members.expects(client) {
            Err(fault) => Some(fault),
            // Before the debit is durable no report is accepted, even if a client
            // guesses the round.
            Ok(()) if self.term.is_none() => Some(UpdateFault::WrongStep),
            Ok(()) if stage != plan.first_stage() => Some(UpdateFault::WrongStep),
            Ok(()) if !plan.has_room_for(weight, self.weight) => {
                self.members.lose(client);
                Some(UpdateFault::WeightOutOfRange)
            }
            Ok(()) => None,
        };
        if let Some(fault) = fault {
            return (self, UpdateVerdict::Rejected(fault));
        }
        self.members.count(client);
        self.weight += weight;
        (self, UpdateVerdict::Accepted)
    }

    /// Dismisses those who have not answered.
    pub(super) fn dismiss(&self, context: &mut Context<'_>) {
        context.dismiss(self.members.late(), self.round);
    }

    /// Ends the invitations of those who are not in the `next` stage. Those on trial
    /// go on until their deadline: what they answer does not count, but shows that they
    /// can.
    fn end_invitations(&self, deadline: Time, next: Option<&Cohort>, context: &mut Context<'_>) {
        let is_over = context.now >= deadline;
        let stragglers: BTreeSet<ClientId> =
            if is_over { BTreeSet::new() } else { self.members.stragglers().collect() };
        let ends = |client: &ClientId| !stragglers.contains(client);
        match next {
            None => context.dismiss(self.members.late().filter(ends), self.round),
            Some(next) => context.dismiss(self.members.left_behind(next).filter(ends), self.round),
        }
        for client in stragglers {
            context.pool.straggles(client, self.round, deadline);
        }
        let goes_on = |ending| next.is_some() && ending == Ending::Reported;
        context.note_all(self.members.endings(is_over).filter(|(_, ending)| !goes_on(*ending)));
    }

    /// Closes the stage if it is time to.
    pub(super) fn review(mut self, context: &mut Context<'_>) -> Result<Phase, Self> {
        self.members.expire(context.now);
        let Some(Term { goal_from, deadline }) = self.term else { return Err(self) };
        let (working, reported) = (self.members.working(), self.members.answered());
        let enough = reported >= context.plan.report_goal && context.now >= goal_from;
        let over = enough || working == 0 || context.now >= deadline;
        let hopeless = reported + working < context.plan.minimum_reports;
        if !over && !hopeless {
            return Err(self);
        }
        if reported < context.plan.minimum_reports {
            self.end_invitations(deadline, None, context);
            let reason = AbandonReason::TooFewReports;
            return Ok(Phase::Abandoned(Abandoned::new(self.round, reason)));
        }
        if let Protection::Secure { .. } = context.plan.protection {
            let members = self.members.going_on(context.now);
            self.end_invitations(deadline, Some(&members), context);
            return Ok(Phase::Securing(Securing::begin(
                self.round,
                self.members.len(),
                members,
                context,
            )));
        }
        self.end_invitations(deadline, None, context);
        let counts = RoundCounts { cohort: self.members.len(), reported, weight: self.weight };
        context.effects.push(Effect::Finalize(self.round, counts));
        Ok(Phase::Finalizing(Finalizing::new(self.round, counts)))
    }
}
