//! What every phase may look at, and where it leaves its effects.

use fedra_protocol::{RoundId, UpdateFault, UpdateVerdict};
use rand::Rng;

use super::phase::Phase;
use super::pool::Pool;
use super::{Budget, ClientId, Effect, Event, RoundPlan, Standing, Time, ended};

/// The surroundings of a phase in one step.
pub(super) struct Context<'a> {
    pub(super) plan: &'a RoundPlan,
    pub(super) pool: &'a mut Pool,
    pub(super) budget: Budget,
    pub(super) standing: Standing,
    /// The highest attempt that was opened in this run.
    pub(super) opened: Option<RoundId>,
    pub(super) now: Time,
    pub(super) rng: &'a mut dyn Rng,
    pub(super) effects: &'a mut Vec<Effect>,
}

impl Context<'_> {
    /// Notes what an event means whatever the phase.
    pub(super) fn follow(&mut self, event: Event) {
        self.pool.apply(event);
        match event {
            Event::BudgetSpent => self.budget = Budget::Spent,
            Event::Operated(operation) => self.standing = self.standing.after(operation),
            _ => {}
        }
    }

    pub(super) fn open(&mut self, round: RoundId) {
        self.opened = self.opened.max(Some(round));
        self.effects.push(Effect::Open(round));
    }

    pub(super) fn dismiss(&mut self, clients: impl Iterator<Item = ClientId>, round: RoundId) {
        self.effects.extend(clients.map(|client| Effect::Dismiss(client, round)));
    }

    /// When the grace of a client ends whose connection breaks now.
    pub(super) fn grace(&self) -> Time {
        self.now + self.plan.reconnect_grace
    }

    /// Whether no round is to be begun.
    pub(super) fn is_to_rest(&self) -> bool {
        self.standing != Standing::Running || self.budget == Budget::Spent
    }

    /// The first attempt of a round that was not opened in this run.
    pub(super) fn fresh(&self, round: u64) -> RoundId {
        match self.opened.filter(|opened| opened.round == round) {
            Some(opened) => ended::next_attempt(opened),
            None => RoundId { round, attempt: 0 },
        }
    }

    /// The phase between two rounds, before `next`; the end if there is to be
    /// none.
    pub(super) fn go_on_with(&self, next: RoundId) -> Phase {
        ended::before(next, self.plan, self.budget, self.standing)
    }

    /// The verdict on a report for a round other than the `current` one, or for
    /// that one when it does not take reports.
    pub(super) fn misplaced(&self, current: RoundId, round: RoundId) -> UpdateVerdict {
        let was_open = self.opened.is_some_and(|opened| round <= opened);
        if round < current || was_open {
            UpdateVerdict::Discarded(UpdateFault::RoundOver)
        } else {
            UpdateVerdict::Rejected(UpdateFault::UnknownRound)
        }
    }
}
