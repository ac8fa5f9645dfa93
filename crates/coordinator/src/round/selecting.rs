//! Selecting: waiting until enough clients are there, then inviting a random
//! choice of them.

use std::collections::BTreeSet;

use fedra_protocol::RoundId;

use super::buffering::Buffering;
use super::collecting::Collecting;
use super::pool::sample;
use super::{ClientId, Context, Mode, Phase, RoundPlan, Time, pacing};

/// A round that has not started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selecting {
    round: RoundId,
    /// Since when the minimum has been there without a break.
    quorum_since: Option<Time>,
}

impl Selecting {
    pub(super) fn new(round: RoundId) -> Self {
        Self { round, quorum_since: None }
    }

    pub(super) fn round(&self) -> RoundId {
        self.round
    }

    pub(super) fn wake_at(&self, plan: &RoundPlan, held_until: Option<Time>) -> Option<Time> {
        self.quorum_since
            .map(|since| (since + plan.selection_window).max(held_until.unwrap_or(since)))
    }

    /// Starts the round if it is time to: at once when all that could be
    /// invited are there, after the selection window when the minimum is. A
    /// second attempt always waits for the window, and for the delay that grows with
    /// each failure.
    pub(super) fn review(mut self, context: &mut Context<'_>) -> Result<Phase, Self> {
        context.pool.come_to(self.round.round);
        let available = context.pool.available_count();
        if available + context.pool.on_trial_count() < context.plan.minimum_cohort {
            self.quorum_since = None;
            return Err(self);
        }
        let since = *self.quorum_since.get_or_insert(context.now);
        let waited = context.now >= since + context.plan.selection_window;
        let complete = available >= context.plan.invited && self.round.attempt == 0;
        let held_until = context.hold.until(context.pool.arrivals());
        let held = held_until.is_some_and(|until| context.now < until);
        if held || !waited && !complete {
            return Err(self);
        }
        Ok(match context.plan.mode {
            Mode::Synchronous => Phase::Collecting(self.start(context)),
            Mode::Buffered { .. } => Phase::Buffering(Buffering::open(self.round, context)),
        })
    }

    /// Invites full members, and clients on trial to the places that are left. Where
    /// there are too few full members, clients on trial make up the cohort with them.
    fn start(self, context: &mut Context<'_>) -> Collecting {
        let mut available: Vec<ClientId> = context.pool.available().collect();
        let mut on_trial: Vec<ClientId> = context.pool.on_trial().collect();
        if available.len() < context.plan.minimum_cohort {
            available.append(&mut on_trial);
            available.sort_unstable();
        }
        let cohort: BTreeSet<ClientId> =
            sample(&available, context.plan.invited, context.rng).into_iter().collect();
        let places = context.plan.invited - cohort.len();
        let trials = sample(&on_trial, places, context.rng).into_iter().collect();
        let waiting: Vec<ClientId> =
            available.into_iter().filter(|client| !cohort.contains(client)).collect();
        let collecting = Collecting::open(self.round, cohort, trials, context);
        pacing::steer(&waiting, context);
        collecting
    }
}
