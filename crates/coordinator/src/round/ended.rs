//! Completed and Abandoned: how an attempt ends, and what comes after it.

use fedra_protocol::RoundId;

use super::paused::Paused;
use super::selecting::Selecting;
use super::{Budget, Context, Effect, Phase, RoundPlan, Standing};

/// Reason why an attempt came to nothing.
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
    /// The new model would have had a value that is not finite.
    NotFinite,
    /// The privacy budget has no room for the debit of this round.
    BudgetSpent,
    /// The operator stopped the task.
    Stopped,
    /// The operator or the task's gate went back to an earlier model.
    RolledBack,
}

impl AbandonReason {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::TooFewReports,
        Self::TooFewSurvivors,
        Self::NotPrepared,
        Self::NotStored,
        Self::NotFinite,
        Self::BudgetSpent,
        Self::Stopped,
        Self::RolledBack,
    ];

    /// True if the attempt failed by itself, and the next one may too.
    pub(crate) fn is_failure(self) -> bool {
        !matches!(self, Self::BudgetSpent | Self::Stopped | Self::RolledBack)
    }

    /// The reason in a log line or a metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooFewReports => "too_few_reports",
            Self::TooFewSurvivors => "too_few_survivors",
            Self::NotPrepared => "not_prepared",
            Self::NotStored => "not_stored",
            Self::NotFinite => "not_finite",
            Self::BudgetSpent => "budget_spent",
            Self::Stopped => "stopped",
            Self::RolledBack => "rolled_back",
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
        context.hold.completed();
        context.go_on_with(context.fresh(self.0.round + 1))
    }
}

impl Abandoned {
    pub(super) fn new(round: RoundId, reason: AbandonReason) -> Self {
        Self(round, reason)
    }

    pub(super) fn round(&self) -> RoundId {
        self.0
    }

    pub(super) fn reason(&self) -> AbandonReason {
        self.1
    }

    pub(super) fn next(self, context: &mut Context<'_>) -> Phase {
        let Self(round, reason) = self;
        context.effects.push(Effect::Abandon(round, reason));
        if reason.is_failure() {
            let arrivals = context.pool.arrivals();
            context.hold.failed(context.plan.selection_window, context.now, arrivals);
        }
        context.go_on_with(next_attempt(round))
    }
}

impl Finished {
    /// The last round, as its first attempt.
    pub(super) fn round(&self) -> RoundId {
        self.0
    }
}

pub(super) fn next_attempt(round: RoundId) -> RoundId {
    RoundId { attempt: round.attempt.saturating_add(1), ..round }
}

/// The phase between two rounds, before `next`; the end if there is to be none.
pub(super) fn before(next: RoundId, plan: &RoundPlan, budget: Budget, standing: Standing) -> Phase {
    let finished = Finished(RoundId { round: next.round - 1, attempt: 0 });
    if budget == Budget::Spent || plan.rounds.is_some_and(|rounds| next.round > rounds) {
        return Phase::Finished(finished);
    }
    match standing {
        Standing::Running => Phase::Selecting(Selecting::new(next)),
        Standing::Paused => Phase::Paused(Paused::new(next)),
        Standing::Stopped => Phase::Finished(finished),
    }
}
