//! Collecting: the cohort trains and reports. The stage closes at the report
//! goal, when nobody is left to wait for, or at the deadline.
//!
//! A report is an update or, under secure aggregation, the keys with which a
//! client that has trained takes part in it.

use std::collections::BTreeSet;

use fedra_aggregation::MAX_TOTAL_WEIGHT;
use fedra_protocol::{RoundId, UpdateFault, UpdateVerdict};

use super::ended::{AbandonReason, Abandoned};
use super::finalizing::Finalizing;
use super::roster::Roster;
use super::securing::Securing;
use super::{
    ClientId, Context, Effect, Event, Phase, Progress, Protection, RoundPlan, Stage, Time,
};

/// A round whose cohort is at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Collecting {
    round: RoundId,
    /// `None` until the round's privacy debit is durable: nobody is invited
    /// before that.
    deadline: Option<Time>,
    roster: Roster,
    weight: u64,
}

impl Collecting {
    /// Invites the cohort, or has the debit made that must come before that.
    pub(super) fn open(
        round: RoundId,
        cohort: BTreeSet<ClientId>,
        context: &mut Context<'_>,
    ) -> Self {
        context.effects.push(Effect::Open(round));
        let mut collecting = Self { round, deadline: None, roster: Roster::new(cohort), weight: 0 };
        if context.plan.protection == Protection::DebitFirst {
            context.effects.push(Effect::Advance(round, Stage::Update));
        } else {
            collecting.invite(context);
        }
        collecting
    }

    fn invite(&mut self, context: &mut Context<'_>) {
        let deadline = context.now + context.plan.deadline;
        self.deadline = Some(deadline);
        let invite = |client| Effect::Invite(client, self.round, deadline);
        context.effects.extend(self.roster.late().map(invite));
    }

    pub(super) fn round(&self) -> RoundId {
        self.round
    }

    pub(super) fn members(&self) -> Vec<ClientId> {
        self.roster.clients().collect()
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    pub(super) fn progress(&self, base: Progress) -> Progress {
        Progress {
            cohort: self.roster.len(),
            reported: self.roster.answered(),
            left: self.roster.len() - self.roster.working() - self.roster.answered(),
            weight: self.weight,
            deadline: self.deadline,
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
            other => self.roster.follow(other, self.round),
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
        let fault = match self.roster.expects(client) {
            Err(fault) => Some(fault),
            Ok(()) if stage != plan.first_stage() => Some(UpdateFault::WrongStep),
            Ok(()) if !self.has_room_for(weight, plan) => {
                self.roster.lose(client);
                Some(UpdateFault::WeightOutOfRange)
            }
            Ok(()) => None,
        };
        if let Some(fault) = fault {
            return (self, UpdateVerdict::Rejected(fault));
        }
        self.roster.count(client);
        self.weight += weight;
        (self, UpdateVerdict::Accepted)
    }

    fn has_room_for(&self, weight: u64, plan: &RoundPlan) -> bool {
        (1..=plan.max_weight).contains(&weight) && weight <= MAX_TOTAL_WEIGHT - self.weight
    }

    /// Closes the stage if it is time to.
    pub(super) fn review(self, context: &mut Context<'_>) -> Result<Phase, Self> {
        let Some(deadline) = self.deadline else { return Err(self) };
        let (working, reported) = (self.roster.working(), self.roster.answered());
        let over = reported >= context.plan.report_goal || working == 0 || context.now >= deadline;
        let hopeless = reported + working < context.plan.minimum_reports;
        if !over && !hopeless {
            return Err(self);
        }
        let dismiss = |client| Effect::Dismiss(client, self.round);
        context.effects.extend(self.roster.late().map(dismiss));
        if reported < context.plan.minimum_reports {
            let reason = AbandonReason::TooFewReports;
            return Ok(Phase::Abandoned(Abandoned::new(self.round, reason)));
        }
        if let Protection::Secure { .. } = context.plan.protection {
            let members = self.roster.going_on();
            let securing = Securing::begin(self.round, self.roster.len(), members, context);
            return Ok(Phase::Securing(securing));
        }
        context.effects.push(Effect::Finalize(self.round));
        let figures = (self.roster.len(), reported, self.weight);
        Ok(Phase::Finalizing(Finalizing::new(self.round, figures)))
    }
}
