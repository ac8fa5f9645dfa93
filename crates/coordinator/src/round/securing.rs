//! Secure aggregation: those who reported exchange key shares, send masked
//! updates, and help to take the masks off the sum.
//!
//! This machine counts answers and watches the clock. What the answers say, and
//! whether they suffice, is for the writer: it prepares the requests
//! of a stage, and strikes clients whose answers are worthless.
//!
//! In buffered rounds these clients are a masking group: each has an invitation of its own,
//! to the round that it started from, and the group's sum is that of another round.

use std::collections::BTreeMap;

use fedra_protocol::{RoundId, RoundPhase, UpdateFault, UpdateVerdict};

use super::cohort::Cohort;
use super::ended::{AbandonReason, Abandoned};
use super::finalizing::Finalizing;
use super::record::Ending;
use super::{
    ClientId, Context, Effect, Event, Phase, Progress, RoundCounts, RoundPlan, Stage, Time,
};

/// A stage of secure aggregation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Securing {
    round: RoundId,
    stage: Stage,
    /// `None` while the stage's requests are being prepared.
    deadline: Option<Time>,
    members: Cohort,
    /// Invitations of a masking group. Any other client was invited to this round.
    invitations: BTreeMap<ClientId, RoundId>,
    /// Clients that were invited into the round.
    invited: usize,
    /// Masked updates in the sum, once they are counted.
    survivors: usize,
}

impl Securing {
    /// Starts with those who advertised keys.
    pub(super) fn begin(
        round: RoundId,
        invited: usize,
        members: Cohort,
        context: &mut Context<'_>,
    ) -> Self {
        context.effects.push(Effect::Advance(round, Stage::Shares));
        Self {
            round,
            stage: Stage::Shares,
            deadline: None,
            members,
            invitations: BTreeMap::new(),
            invited,
            survivors: 0,
        }
    }

    /// Starts with a masking group, by the invitations of its clients.
    pub(super) fn group(
        round: RoundId,
        invited: usize,
        invitations: BTreeMap<ClientId, RoundId>,
        context: &mut Context<'_>,
    ) -> Self {
        let members = Cohort::new(invitations.keys().copied(), []);
        Self { invitations, ..Self::begin(round, invited, members, context) }
    }

    /// Round of the client's invitation.
    pub(super) fn invitation(&self, client: ClientId) -> RoundId {
        self.invitations.get(&client).copied().unwrap_or(self.round)
    }

    /// True if the client is in the masking group, or was and has left.
    pub(super) fn groups(&self, client: ClientId) -> bool {
        self.invitations.contains_key(&client)
    }

    /// All clients of the masking group, those that have left too.
    pub(super) fn grouped(&self) -> impl Iterator<Item = ClientId> {
        self.invitations.keys().copied()
    }

    pub(super) fn round(&self) -> RoundId {
        self.round
    }

    pub(super) fn members(&self) -> Vec<ClientId> {
        self.members.clients().collect()
    }

    pub(super) fn wake_at(&self) -> Option<Time> {
        self.deadline.into_iter().chain(self.members.wake_at()).min()
    }

    pub(super) fn phase(&self) -> RoundPhase {
        match self.stage {
            Stage::MaskedInput => RoundPhase::Masking,
            Stage::UnmaskingShares => RoundPhase::Unmasking,
            Stage::Update | Stage::Keys | Stage::Shares => RoundPhase::Sharing,
        }
    }

    pub(super) fn progress(&self, base: Progress) -> Progress {
        // Updates in the sum stay there, no matter which clients help to unmask it.
        let (reported, there) = match self.stage {
            Stage::UnmaskingShares => (self.survivors, self.survivors),
            _ => (self.members.answered(), self.members.working() + self.members.answered()),
        };
        Progress {
            cohort: self.invited,
            reported,
            left: self.invited - there,
            weight: reported as u64,
            deadline: self.deadline,
            ..base
        }
    }

    pub(super) fn handle(mut self, event: Event, context: &mut Context<'_>) -> Phase {
        match event {
            Event::Prepared(round, stage) if (round, stage) == (self.round, self.stage) => {
                self.deadline = Some(context.now + context.plan.step_deadline());
            }
            Event::NotPrepared(round, stage) if (round, stage) == (self.round, self.stage) => {
                self.dismiss(context);
                let reason = AbandonReason::NotPrepared;
                return Phase::Abandoned(Abandoned::new(self.round, reason));
            }
            other => {
                let round = match other {
                    Event::Declined(client, _)
                    | Event::Refused(client, _)
                    | Event::Excluded(client, _) => self.invitation(client),
                    _ => self.round,
                };
                let failed = self.members.follow(other, round, context.grace());
                context.note_failure(failed);
            }
        }
        Phase::Securing(self)
    }

    /// Judges an answer. One to another stage changes nothing.
    pub(super) fn report(&mut self, client: ClientId, stage: Stage) -> UpdateVerdict {
        match self.members.expects(client) {
            Err(fault) => UpdateVerdict::Rejected(fault),
            Ok(()) if stage != self.stage || self.deadline.is_none() => {
                UpdateVerdict::Rejected(UpdateFault::WrongStep)
            }
            Ok(()) => {
                self.members.count(client);
                UpdateVerdict::Accepted
            }
        }
    }

    /// Fewest answers with which the round can go on. Whether enough masks can
    /// be taken off is seen when it is tried.
    fn minimum(&self, plan: &RoundPlan) -> usize {
        if self.stage == Stage::UnmaskingShares { 1 } else { plan.minimum_reports }
    }

    /// Dismisses all, because the attempt comes to nothing.
    pub(super) fn dismiss(&self, context: &mut Context<'_>) {
        self.dismiss_each(self.members.there(), context);
    }

    fn dismiss_each(&self, clients: impl Iterator<Item = ClientId>, context: &mut Context<'_>) {
        let dismiss = |client| Effect::Dismiss(client, self.invitation(client));
        context.effects.extend(clients.map(dismiss));
    }

    /// Closes the stage if it is time to.
    pub(super) fn review(mut self, context: &mut Context<'_>) -> Result<Phase, Box<Self>> {
        self.members.expire(context.now);
        let Some(deadline) = self.deadline else { return Err(Box::new(self)) };
        let (working, answered) = (self.members.working(), self.members.answered());
        let minimum = self.minimum(context.plan);
        let over = working == 0 || context.now >= deadline;
        let hopeless = answered + working < minimum;
        if !over && !hopeless {
            return Err(Box::new(self));
        }
        let is_over = context.now >= deadline;
        if answered < minimum {
            self.dismiss(context);
            context.note_all(self.members.endings(is_over));
            let reason = AbandonReason::TooFewSurvivors;
            return Ok(Phase::Abandoned(Abandoned::new(self.round, reason)));
        }
        self.stage = match self.stage {
            Stage::MaskedInput => {
                self.survivors = answered;
                Stage::UnmaskingShares
            }
            Stage::UnmaskingShares => return Ok(self.finalize(is_over, context)),
            Stage::Update | Stage::Keys | Stage::Shares => Stage::MaskedInput,
        };
        let members = self.members.going_on(context.now);
        self.dismiss_each(self.members.left_behind(&members), context);
        let failed = |(_, ending): &(ClientId, Ending)| *ending != Ending::Reported;
        context.note_all(self.members.endings(is_over).filter(failed));
        self.members = members;
        self.deadline = None;
        context.effects.push(Effect::Advance(self.round, self.stage));
        Ok(Phase::Securing(self))
    }

    fn finalize(self, is_over: bool, context: &mut Context<'_>) -> Phase {
        self.dismiss_each(self.members.late(), context);
        context.note_all(self.members.endings(is_over));
        let (cohort, reported) = (self.invited, self.survivors);
        let counts = RoundCounts { cohort, reported, weight: reported as u64 };
        context.effects.push(Effect::Finalize(self.round, counts));
        Phase::Finalizing(Finalizing::new(self.round, counts))
    }
}
