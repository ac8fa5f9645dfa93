//! Completed and Abandoned: how an attempt ends, and what comes after it.

use fedra_protocol::RoundId;

use super::selecting::Selecting;
use super::{Budget, Context, Effect, Phase, RoundPlan};

/// Why an attempt came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbandonReason {
    /// Fewer accepted reports than the task needs.
    TooFewReports,
    /// Too many left during secure aggregation: what is in the sum stays masked.
    TooFewSurvivors,
    /// The next step of the round could not be prepared: the privacy debit
    /// could not be made, or secure aggregation failed.
    NotPrepared,
    /// The new model could not be made or stored.
    NotStored,
}

impl AbandonReason {
    /// The reason in a log line or a metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooFewReports => "too_few_reports",
            Self::TooFewSurvivors => "too_few_survivors",
            Self::NotPrepared => "not_prepared",
            Self::NotStored => "not_stored",
        }
    }
}

/// A round whose model is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Completed(RoundId);

/// An attempt that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Abandoned(RoundId, AbandonReason);

/// A task after its last round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finished(RoundId);

impl Completed {
    pub(super) fn new(round: RoundId) -> Self {
        Self(round)
    }

    pub(super) fn round(&self) -> RoundId {
        self.0
    }

    pub(super) fn next(self, context: &mut Context<'_>) -> Phase {
        context.effects.push(Effect::Complete(self.0));
        after(context.plan, self.0.round, 0, context.budget)
    }
}

impl Abandoned {
    pub(super) fn new(round: RoundId, reason: AbandonReason) -> Self {
        Self(round, reason)
    }

    pub(super) fn round(&self) -> RoundId {
        self.0
    }

    pub(super) fn next(self, context: &mut Context<'_>) -> Phase {
        let Self(round, reason) = self;
        context.effects.push(Effect::Abandon(round, reason));
        if context.budget == Budget::Spent {
            return after(context.plan, round.round - 1, 0, Budget::Spent);
        }
        let attempt = round.attempt.saturating_add(1);
        Phase::Selecting(Selecting::new(RoundId { attempt, ..round }))
    }
}

impl Finished {
    pub(super) fn round(&self) -> RoundId {
        self.0
    }
}

/// The phase of a task with so many completed rounds; the next one begins with
/// this attempt.
pub(super) fn after(plan: &RoundPlan, completed: u64, attempt: u32, budget: Budget) -> Phase {
    if budget == Budget::Spent || plan.rounds.is_some_and(|rounds| completed >= rounds) {
        return Phase::Finished(Finished(RoundId { round: completed, attempt: 0 }));
    }
    Phase::Selecting(Selecting::new(RoundId { round: completed + 1, attempt }))
}
