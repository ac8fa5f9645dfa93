//! Selecting: waiting until enough clients are there, then inviting a random
//! choice of them.

use std::collections::BTreeSet;

use fedra_protocol::RoundId;
use rand::seq::index;

use super::collecting::Collecting;
use super::{ClientId, Context, RoundPlan, Time};

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

    pub(super) fn wake_at(&self, plan: &RoundPlan) -> Option<Time> {
        self.quorum_since.map(|since| since + plan.selection_window)
    }

    /// Starts the round if it is time to: at once when all that could be
    /// invited are there, after the selection window when the minimum is. A
    /// second attempt always waits for the window, so that clients which
    /// decline at once do not make rounds spin.
    pub(super) fn review(mut self, context: &mut Context<'_>) -> Result<Collecting, Self> {
        let available = context.pool.available().count();
        if available < context.plan.minimum_cohort {
            self.quorum_since = None;
            return Err(self);
        }
        let since = *self.quorum_since.get_or_insert(context.now);
        let waited = context.now >= since + context.plan.selection_window;
        let complete = available >= context.plan.invited && self.round.attempt == 0;
        if !waited && !complete {
            return Err(self);
        }
        Ok(self.start(context))
    }

    fn start(self, context: &mut Context<'_>) -> Collecting {
        let available: Vec<ClientId> = context.pool.available().collect();
        let amount = available.len().min(context.plan.invited);
        let cohort: BTreeSet<ClientId> = index::sample(context.rng, available.len(), amount)
            .into_iter()
            .map(|i| available[i])
            .collect();
        Collecting::open(self.round, cohort, context)
    }
}
