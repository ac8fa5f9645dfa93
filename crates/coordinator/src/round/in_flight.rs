//! The clients at work in buffered rounds, each from its own invitation to its
//! own deadline.

use std::collections::{BTreeMap, BTreeSet};

use fedra_protocol::{RoundId, StandbyCause, UpdateFault, UpdateVerdict};

use super::cohort::Link;
use super::{ClientId, Time};

/// Outcome of an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With a report.
    Reported,
    /// At its deadline.
    TimedOut,
    /// The client left, declined, paused or was refused.
    Gone,
}

impl End {
    /// Verdict on a report that comes afterwards.
    fn verdict(self) -> UpdateVerdict {
        match self {
            Self::Reported => UpdateVerdict::Rejected(UpdateFault::Duplicate),
            Self::TimedOut => UpdateVerdict::Discarded(UpdateFault::RoundOver),
            Self::Gone => UpdateVerdict::Rejected(UpdateFault::NotInCohort),
        }
    }
}

/// An invitation that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Work {
    round: RoundId,
    deadline: Time,
    link: Link,
}

impl Work {
    /// Time of the client's next change if nothing happens.
    fn timer(&self) -> Time {
        match self.link {
            Link::Away(until) => until.min(self.deadline),
            Link::Here | Link::Missing | Link::OnTrial => self.deadline,
        }
    }

    fn is_waited_for(&self) -> bool {
        !matches!(self.link, Link::Missing | Link::OnTrial)
    }
}

/// Clients at work, and the outcome of each client's last invitation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct InFlight {
    at_work: BTreeMap<ClientId, Work>,
    past: BTreeMap<ClientId, (RoundId, End)>,
    /// One entry for each client at work.
    timers: BTreeSet<(Time, ClientId)>,
    waited_for: usize,
}

impl InFlight {
    /// Clients with an invitation, the missing ones too.
    pub(super) fn len(&self) -> usize {
        self.at_work.len()
    }

    /// Clients that are waited for: at work, or in their grace.
    pub(super) fn working(&self) -> usize {
        self.waited_for
    }

    /// The same, in the order of their ids.
    pub(super) fn clients(&self) -> impl Iterator<Item = ClientId> {
        self.at_work.keys().copied()
    }

    pub(super) fn contains(&self, client: ClientId) -> bool {
        self.at_work.contains_key(&client)
    }

    /// Round of the client's invitation, if it is at work.
    pub(super) fn round_of(&self, client: ClientId) -> Option<RoundId> {
        self.at_work.get(&client).map(|work| work.round)
    }

    /// End of the client's grace, if its connection is broken: `now` if that is over.
    pub(super) fn away_until(&self, client: ClientId, now: Time) -> Option<Time> {
        match self.at_work.get(&client)?.link {
            Link::Away(until) => Some(until),
            Link::Missing => Some(now),
            Link::Here | Link::OnTrial => None,
        }
    }

    pub(super) fn wake_at(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// True if the client may be invited to `round`: it is not at work, and this is not
    /// the round of its last invitation.
    pub(super) fn is_free(&self, client: ClientId, round: RoundId) -> bool {
        !self.contains(client) && self.past.get(&client).is_none_or(|(last, _)| *last < round)
    }

    /// True if the client's invitation to `round` came to nothing.
    pub(super) fn has_failed(&self, client: ClientId, round: RoundId) -> bool {
        let past = self.past.get(&client).filter(|(last, _)| *last == round);
        past.is_some_and(|(_, end)| *end != End::Reported)
    }

    /// Renames the round `from` to `to`: clients that have reported in it are not free
    /// for it under its new name either.
    pub(super) fn renew(&mut self, from: RoundId, to: RoundId) {
        for (round, end) in self.past.values_mut() {
            if *round == from && *end == End::Reported {
                *round = to;
            }
        }
    }

    /// Invites a connected client; `link` says whether it is on trial.
    pub(super) fn invite(&mut self, client: ClientId, round: RoundId, deadline: Time, link: Link) {
        self.past.remove(&client);
        self.set(client, Some(Work { round, deadline, link }));
    }

    /// Checks that a report of the client may count. If not, the error is the verdict;
    /// `None` if no such invitation is known.
    pub(super) fn expects(
        &self,
        client: ClientId,
        round: RoundId,
    ) -> Result<(), Option<UpdateVerdict>> {
        if self.at_work.get(&client).is_some_and(|work| work.round == round) {
            return Ok(());
        }
        let past = self.past.get(&client).filter(|(last, _)| *last == round);
        Err(past.map(|(_, end)| end.verdict()))
    }

    /// Ends the client's invitation to `round`; false if there is none.
    pub(super) fn end(&mut self, client: ClientId, round: RoundId, end: End) -> bool {
        if self.at_work.get(&client).is_none_or(|work| work.round != round) {
            return false;
        }
        self.set(client, None);
        self.past.insert(client, (round, end));
        true
    }

    /// The client's report turned out to be worthless.
    pub(super) fn strike(&mut self, client: ClientId, round: RoundId) {
        if let Some((_, end)) = self.past.get_mut(&client).filter(|(last, _)| *last == round) {
            *end = End::Gone;
        }
    }

    /// The report of the client's last invitation came to nothing before it was in a sum or a
    /// group, whatever the round is called by now.
    pub(super) fn strike_last(&mut self, client: ClientId) {
        if let Some((_, end)) = self.past.get_mut(&client) {
            *end = End::Gone;
        }
    }

    /// Changes how the client can be reached.
    pub(super) fn relink(&mut self, client: ClientId, into: impl FnOnce(Link) -> Link) {
        if let Some(work) = self.at_work.get(&client).copied() {
            self.set(client, Some(Work { link: into(work.link), ..work }));
        }
    }

    /// Stops to wait for those whose grace is over, and ends the invitations
    /// whose deadline has passed: those are returned, with how they failed.
    pub(super) fn expire(&mut self, now: Time) -> Vec<(ClientId, RoundId, StandbyCause)> {
        let mut ended = Vec::new();
        while let Some((at, client)) = self.timers.first().copied()
            && at <= now
        {
            let Some(work) = self.at_work.get(&client).copied() else { break };
            if work.deadline <= now {
                self.end(client, work.round, End::TimedOut);
                ended.push((client, work.round, work.link.missed()));
            } else {
                self.relink(client, |_| Link::Missing);
            }
        }
        ended
    }

    /// Ends the invitations to rounds before `oldest`, which are returned, and
    /// forgets how those before had ended.
    pub(super) fn retire(&mut self, oldest: u64) -> Vec<(ClientId, RoundId)> {
        let stale = |(client, work): (&ClientId, &Work)| {
            (work.round.round < oldest).then_some((*client, work.round))
        };
        let ended: Vec<_> = self.at_work.iter().filter_map(stale).collect();
        ended.iter().for_each(|(client, _)| self.set(*client, None));
        self.past.retain(|_, (round, _)| round.round >= oldest);
        ended
    }

    /// Ends every invitation; they are returned.
    pub(super) fn disband(&mut self) -> Vec<(ClientId, RoundId)> {
        let ended = self.at_work.iter().map(|(client, work)| (*client, work.round)).collect();
        *self = Self::default();
        ended
    }

    /// Puts down what a client works on, with its timer and the count.
    fn set(&mut self, client: ClientId, work: Option<Work>) {
        let old = match work {
            Some(work) => self.at_work.insert(client, work),
            None => self.at_work.remove(&client),
        };
        if let Some(old) = old {
            self.timers.remove(&(old.timer(), client));
            self.waited_for -= usize::from(old.is_waited_for());
        }
        if let Some(work) = work {
            self.timers.insert((work.timer(), client));
            self.waited_for += usize::from(work.is_waited_for());
        }
    }
}
