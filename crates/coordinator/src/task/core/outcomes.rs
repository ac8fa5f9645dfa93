//! Outcomes of invitations and attempts, for the task's health, its metrics and
//! its log. Nothing here changes what the rounds do.

use fedra_protocol::{RoundId, RoundPhase, StandbyCause, UpdateFault};

use super::{Step, TaskCore};
use crate::round::{AbandonReason, ClientId, Progress, Time};
use crate::status::InvitationFailure;
use crate::task::health::{Assessment, Supply};

impl TaskCore {
    /// Judges the task's health.
    pub(super) fn assess(&mut self, progress: &Progress, now: Time) -> Assessment {
        let plan = &self.settings.plan;
        let supply = || Supply {
            available: progress.available,
            left_out: progress.left_out,
            needed: if progress.phase == RoundPhase::Selecting { plan.minimum_cohort } else { 1 },
        };
        self.attempts.assess(progress, supply, now)
    }
}

impl Step<'_> {
    /// An invitation has come to nothing.
    pub(super) fn failed(&mut self, client: ClientId, cause: StandbyCause) {
        let failure = match (cause, self.detail) {
            (_, Some(detail)) if detail.kind() == cause => detail,
            (StandbyCause::Declined, _) => InvitationFailure::Declined(None),
            // Each rejection comes from a command or a verdict that names its fault.
            (StandbyCause::Rejected, _) => InvitationFailure::Rejected(UpdateFault::WrongStep),
            (StandbyCause::MissedDeadline, _) => InvitationFailure::MissedDeadline,
            (StandbyCause::Lost, _) => InvitationFailure::Lost,
        };
        self.core.attempts.fail(client, failure);
        self.core.metrics.invitation_failed(failure);
    }

    pub(super) fn abandon(&mut self, round: RoundId, reason: AbandonReason) {
        let why = self.core.attempts.abandon(round, reason, self.now);
        self.end_group(round);
        let (task, kind) = (&self.core.settings.id, reason.as_str());
        tracing::warn!(
            target: "fedra::events", event = "round-abandoned",
            %task, %round, kind, reason = &*why, "round abandoned"
        );
        self.core.metrics.abandoned(reason);
    }

    /// A buffered round goes on as its next attempt: all that were invited have failed.
    pub(super) fn renew(&mut self, round: RoundId) {
        let why = self.core.attempts.renew(self.now);
        let task = &self.core.settings.id;
        tracing::warn!(%task, %round, reason = &*why, "all that were invited have failed");
    }
}
