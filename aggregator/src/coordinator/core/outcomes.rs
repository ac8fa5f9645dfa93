//! What becomes of invitations and attempts, for the task's health, its metrics and
//! its log. Nothing here changes what the rounds do.

use fedra_protocol::{DeclineCause, RoundId, RoundPhase, UpdateFault, UpdateVerdict};

use super::{Core, Step};
use crate::coordinator::failure::InvitationFailure;
use crate::coordinator::health::{Assessment, Supply};
use crate::round::{AbandonReason, ClientId, Progress, Time};

impl Core {
    /// Judges the task's health.
    pub(super) fn assess(&mut self, progress: &Progress, now: Time) -> Assessment {
        let rounds = self.rounds.as_ref().expect("every step puts it back");
        let plan = &self.task.config.plan;
        let supply = || Supply {
            available: rounds.available(),
            needed: if progress.phase == RoundPhase::Selecting { plan.minimum_cohort } else { 1 },
        };
        self.attempts.assess(progress, supply, now)
    }
}

impl Step<'_> {
    pub(super) fn invited(&mut self, client: ClientId, round: RoundId, deadline: Time) {
        self.core.task.metrics.invitations.increment(1);
        self.core.invitations.invite(client, round, deadline);
        self.core.attempts.invite(client);
    }

    /// The clients of the round will be asked for the next thing.
    pub(super) fn next_stage(&mut self, round: RoundId) {
        for client in self.core.rounds().members() {
            self.core.invitations.ask(client, round, None);
        }
    }

    pub(super) fn declined(
        &mut self,
        client: ClientId,
        round: RoundId,
        cause: Option<DeclineCause>,
    ) {
        if self.core.invitations.decline(client, round) {
            self.failed(client, InvitationFailure::Declined(cause));
        }
    }

    pub(super) fn rejected(&mut self, client: ClientId, round: RoundId, fault: UpdateFault) {
        if self.core.invitations.reject(client, round) {
            self.failed(client, InvitationFailure::Rejected(fault));
        }
    }

    /// The rounds have judged what the client sent.
    pub(super) fn judged(&mut self, client: ClientId, round: RoundId, verdict: UpdateVerdict) {
        match verdict {
            UpdateVerdict::Accepted => self.core.invitations.answer(client, round),
            UpdateVerdict::Rejected(fault) if self.core.invitations.decline(client, round) => {
                self.failed(client, InvitationFailure::Rejected(fault));
            }
            UpdateVerdict::Rejected(_) | UpdateVerdict::Discarded(_) => {}
        }
    }

    pub(super) fn dismissed(&mut self, client: ClientId, round: RoundId) {
        if let Some(failure) = self.core.invitations.dismiss(client, round, self.now) {
            self.failed(client, failure);
        }
    }

    pub(super) fn gone(&mut self, client: ClientId) {
        if let Some(failure) = self.core.invitations.leave(client) {
            self.failed(client, failure);
        }
    }

    /// An invitation has come to nothing.
    fn failed(&mut self, client: ClientId, failure: InvitationFailure) {
        self.core.attempts.fail(client, failure);
        self.core.task.metrics.invitation_failed(failure);
    }

    pub(super) fn abandon(&mut self, round: RoundId, reason: AbandonReason) {
        let why = self.core.attempts.abandon(round, reason, self.now);
        let (task, kind) = (&self.core.task.config.id, reason.as_str());
        tracing::warn!(%task, %round, kind, reason = &*why, "round abandoned");
        self.core.metrics.abandoned(&self.core.task.metrics, reason);
    }

    /// A buffered round goes on as its next attempt: all that were invited have failed.
    pub(super) fn renew(&mut self, round: RoundId) {
        let why = self.core.attempts.renew(self.now);
        let task = &self.core.task.config.id;
        tracing::warn!(%task, %round, reason = &*why, "all that were invited have failed");
    }
}
