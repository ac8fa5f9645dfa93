//! Context of a phase: the state that it may read, and the place for its effects.

use fedra_protocol::{RoundId, StandbyCause, UpdateFault, UpdateVerdict};
use rand::Rng;

use super::pacing::Hold;
use super::phase::Phase;
use super::pool::Pool;
use super::record::Ending;
use super::{Budget, ClientId, Effect, Event, RoundPlan, Standing, Time, ended};

/// The surroundings of a phase in one step.
pub(super) struct Context<'a> {
    pub(super) plan: &'a RoundPlan,
    pub(super) pool: &'a mut Pool,
    pub(super) budget: Budget,
    pub(super) standing: Standing,
    /// The highest attempt that was opened in this run.
    pub(super) opened: Option<RoundId>,
    /// Holds the next attempt back, after one that failed.
    pub(super) hold: &'a mut Hold,
    /// The client that this step removes from the task.
    pub(super) leaving: Option<ClientId>,
    pub(super) now: Time,
    pub(super) rng: &'a mut dyn Rng,
    pub(super) effects: &'a mut Vec<Effect>,
}

impl Context<'_> {
    /// Notes the consequences of an event that every phase shares.
    pub(super) fn follow(&mut self, event: Event) {
        self.pool.apply(event, self.now);
        match event {
            Event::BudgetSpent => self.budget = Budget::Spent,
            Event::Operated(operation) => self.standing = self.standing.after(operation),
            Event::Joined { client, .. } => {
                if let Some((cause, until)) = self.pool.exclusion(client) {
                    self.effects.push(Effect::StandBy(client, cause, until));
                }
            }
            _ => {}
        }
    }

    /// Notes what an event means that its phase has handled: the end of a straggler's
    /// invitation, and of a client's stay.
    pub(super) fn conclude(&mut self, event: Event) {
        match event {
            Event::Declined(client, round) if self.pool.awaits(client, round) => {
                self.note(client, Ending::Failed(StandbyCause::Declined));
            }
            Event::Refused(client, round) if self.pool.awaits(client, round) => {
                self.note(client, Ending::Failed(StandbyCause::Rejected));
            }
            Event::Left(client) => {
                if self.pool.is_straggler(client) {
                    self.note(client, Ending::Failed(StandbyCause::Lost));
                }
                self.forget(client);
            }
            _ => {}
        }
    }

    /// Ends what is over by now for clients that no phase waits for.
    pub(super) fn expire(&mut self) {
        for (client, round, cause) in self.pool.expire(self.now) {
            self.effects.push(Effect::Dismiss(client, round));
            self.note(client, Ending::Failed(cause));
        }
    }

    /// Removes a client from the task.
    pub(super) fn forget(&mut self, client: ClientId) {
        if let Some(record) = self.pool.forget(client) {
            self.effects.push(Effect::Remember(client, record));
        }
    }

    /// Notes how an invitation ended.
    pub(super) fn note(&mut self, client: ClientId, ending: Ending) {
        if let Ending::Failed(cause) = ending {
            self.effects.push(Effect::Failed(client, cause));
        }
        let exclusion = self.pool.note(client, ending, self.now);
        if let Some((cause, until)) = exclusion.filter(|_| self.leaving != Some(client)) {
            self.effects.push(Effect::StandBy(client, cause, until));
        }
    }

    pub(super) fn note_all(&mut self, endings: impl Iterator<Item = (ClientId, Ending)>) {
        endings.for_each(|(client, ending)| self.note(client, ending));
    }

    pub(super) fn note_failure(&mut self, failed: Option<(ClientId, StandbyCause)>) {
        if let Some((client, cause)) = failed {
            self.note(client, Ending::Failed(cause));
        }
    }

    pub(super) fn open(&mut self, round: RoundId) {
        self.opened = self.opened.max(Some(round));
        self.effects.push(Effect::Open(round));
    }

    pub(super) fn dismiss(&mut self, clients: impl Iterator<Item = ClientId>, round: RoundId) {
        self.effects.extend(clients.map(|client| Effect::Dismiss(client, round)));
    }

    /// End of the grace of a client whose connection breaks now.
    pub(super) fn grace(&self) -> Time {
        self.now + self.plan.reconnect_grace
    }

    /// True if no round is to be begun.
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
