//! The clients of a stage of a synchronous round: which are expected to answer, and
//! which have.

use std::collections::{BTreeMap, BTreeSet};

use fedra_protocol::{Availability, RoundId, StandbyCause, UpdateFault};

use super::record::{Ending, missed};
use super::{ClientId, Event, Time};

/// Reachability of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Here,
    /// Its connection broke; it is waited for until then.
    Away(Time),
    /// Its connection broke too long ago to be waited for.
    Missing,
    /// It is invited on trial: it is not waited for, connected or not.
    OnTrial,
}

impl Link {
    /// The connection broke; the grace ends at `until`.
    pub(super) fn lost(self, until: Time) -> Self {
        match self {
            Self::Here => Self::Away(until),
            other => other,
        }
    }

    /// The client is back.
    pub(super) fn returned(self) -> Self {
        match self {
            Self::OnTrial => Self::OnTrial,
            Self::Here | Self::Away(_) | Self::Missing => Self::Here,
        }
    }

    /// Failure of an invitation whose time is over.
    pub(super) fn missed(self) -> StandbyCause {
        missed(matches!(self, Self::Away(_) | Self::Missing))
    }
}

/// State of a client in a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Has not answered.
    Expected(Link),
    /// Its answer was accepted.
    Answered(Link),
    /// Its answer counts, but it has left since: nothing more is expected.
    AnsweredAndLeft,
    /// Left, declined, paused or was refused: nothing more is expected.
    Gone,
}

impl Part {
    fn is_waited_for(self) -> bool {
        matches!(self, Self::Expected(Link::Here | Link::Away(_)))
    }

    fn counts(self) -> bool {
        matches!(self, Self::Answered(_) | Self::AnsweredAndLeft)
    }

    /// Time at which the stage stops waiting for the client, if its connection is
    /// broken.
    fn grace(self) -> Option<Time> {
        match self {
            Self::Expected(Link::Away(until)) => Some(until),
            _ => None,
        }
    }
}

/// The clients of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cohort {
    parts: BTreeMap<ClientId, Part>,
    /// The ends of the graces that run.
    graces: BTreeSet<(Time, ClientId)>,
    working: usize,
    answered: usize,
}

impl Cohort {
    /// A cohort, and clients on trial beside it.
    pub(super) fn new(
        cohort: impl IntoIterator<Item = ClientId>,
        trials: impl IntoIterator<Item = ClientId>,
    ) -> Self {
        let cohort = cohort.into_iter().map(|client| (client, Link::Here));
        Self::with(cohort.chain(trials.into_iter().map(|client| (client, Link::OnTrial))))
    }

    fn with(clients: impl Iterator<Item = (ClientId, Link)>) -> Self {
        let parts: BTreeMap<_, _> = clients.map(|(c, link)| (c, Part::Expected(link))).collect();
        let grace = |(client, part): (&ClientId, &Part)| Some((part.grace()?, *client));
        let graces = parts.iter().filter_map(grace).collect();
        let working = parts.values().filter(|part| part.is_waited_for()).count();
        Self { parts, graces, working, answered: 0 }
    }

    /// The next stage, with those who have answered and can still be asked: the
    /// connected ones, and those whose grace runs. A client on trial that has
    /// answered is a full member from here on.
    pub(super) fn going_on(&self, now: Time) -> Self {
        Self::with(self.parts.iter().filter_map(|(client, part)| match part {
            Part::Answered(Link::Here | Link::OnTrial) => Some((*client, Link::Here)),
            Part::Answered(link @ Link::Away(until)) if *until > now => Some((*client, *link)),
            _ => None,
        }))
    }

    /// Clients there were at the start of the stage.
    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }

    /// Clients at work, those in their grace too.
    pub(super) fn working(&self) -> usize {
        self.working
    }

    /// Clients whose answer counts.
    pub(super) fn answered(&self) -> usize {
        self.answered
    }

    /// Time at which the next grace ends.
    pub(super) fn wake_at(&self) -> Option<Time> {
        self.graces.first().map(|(until, _)| *until)
    }

    /// All clients of the stage.
    pub(super) fn clients(&self) -> impl Iterator<Item = ClientId> {
        self.parts.keys().copied()
    }

    /// Clients that have not answered and may still try to, the missing ones too.
    pub(super) fn late(&self) -> impl Iterator<Item = ClientId> {
        self.parts
            .iter()
            .filter(|(_, part)| matches!(part, Part::Expected(_)))
            .map(|(client, _)| *client)
    }

    /// Clients that may still be asked, or try to answer: those that have answered and not
    /// left, too.
    pub(super) fn there(&self) -> impl Iterator<Item = ClientId> {
        self.parts
            .iter()
            .filter(|(_, part)| matches!(part, Part::Expected(_) | Part::Answered(_)))
            .map(|(client, _)| *client)
    }

    /// Clients on trial that have not answered.
    pub(super) fn stragglers(&self) -> impl Iterator<Item = ClientId> {
        self.parts
            .iter()
            .filter(|(_, part)| matches!(part, Part::Expected(Link::OnTrial)))
            .map(|(client, _)| *client)
    }

    /// Outcomes of the invitations, if known, when the round ends with this stage: a
    /// client that still works has not failed before the deadline, which `is_over` says
    /// has passed.
    pub(super) fn endings(&self, is_over: bool) -> impl Iterator<Item = (ClientId, Ending)> {
        self.parts.iter().filter_map(move |(client, part)| {
            let ending = match part {
                Part::Answered(_) | Part::AnsweredAndLeft => Ending::Reported,
                Part::Expected(link @ Link::Missing) => Ending::Failed(link.missed()),
                Part::Expected(link) if is_over => Ending::Failed(link.missed()),
                Part::Expected(_) | Part::Gone => return None,
            };
            Some((*client, ending))
        })
    }

    /// Clients that are not in the next stage and may still try to answer in it.
    pub(super) fn left_behind(&self, next: &Self) -> impl Iterator<Item = ClientId> {
        self.parts
            .iter()
            .filter(|(client, part)| {
                matches!(part, Part::Expected(_) | Part::Answered(_))
                    && !next.parts.contains_key(client)
            })
            .map(|(client, _)| *client)
    }

    /// Checks that the client's answer may count now; the error says why not.
    pub(super) fn expects(&self, client: ClientId) -> Result<(), UpdateFault> {
        match self.parts.get(&client) {
            None | Some(Part::Gone) => Err(UpdateFault::NotInCohort),
            Some(Part::Answered(_) | Part::AnsweredAndLeft) => Err(UpdateFault::Duplicate),
            Some(Part::Expected(_)) => Ok(()),
        }
    }

    /// Counts the answer of a client that was expected.
    pub(super) fn count(&mut self, client: ClientId) {
        self.turn(client, |part| match part {
            Part::Expected(link) => Part::Answered(link),
            other => other,
        });
    }

    /// Nothing more is expected from the client. What it has answered counts.
    pub(super) fn lose(&mut self, client: ClientId) {
        self.turn(client, |part| match part {
            Part::Expected(_) | Part::Gone => Part::Gone,
            Part::Answered(_) | Part::AnsweredAndLeft => Part::AnsweredAndLeft,
        });
    }

    /// The client's answer turned out to be worthless.
    pub(super) fn strike(&mut self, client: ClientId) {
        self.turn(client, |_| Part::Gone);
    }

    /// Stops to wait for those whose grace is over.
    pub(super) fn expire(&mut self, now: Time) {
        while let Some((until, client)) = self.graces.first().copied()
            && until <= now
        {
            self.relink(client, |_| Link::Missing);
        }
    }

    /// Follows what happens to the clients of `round`; a grace that starts now
    /// ends at `grace`. The failure that ends an invitation, if one does.
    pub(super) fn follow(
        &mut self,
        event: Event,
        round: RoundId,
        grace: Time,
    ) -> Option<(ClientId, StandbyCause)> {
        let expected = |client| matches!(self.parts.get(&client), Some(Part::Expected(_)));
        let failed = match event {
            Event::Left(client) if expected(client) => Some((client, StandbyCause::Lost)),
            Event::Declined(client, of) if of == round && expected(client) => {
                Some((client, StandbyCause::Declined))
            }
            Event::Refused(client, of) if of == round && self.parts.contains_key(&client) => {
                Some((client, StandbyCause::Rejected))
            }
            _ => None,
        };
        match event {
            Event::Lost(client) => self.relink(client, |link| link.lost(grace)),
            Event::Returned(client, availability) => {
                self.relink(client, Link::returned);
                if availability == Availability::Paused {
                    self.lose(client);
                }
            }
            Event::Left(client) | Event::AvailabilityChanged(client, Availability::Paused) => {
                self.lose(client);
            }
            Event::Declined(client, of) if of == round => self.lose(client),
            Event::Refused(client, of) | Event::Excluded(client, of) if of == round => {
                self.strike(client);
            }
            _ => {}
        }
        failed
    }

    fn relink(&mut self, client: ClientId, into: impl FnOnce(Link) -> Link) {
        self.turn(client, |part| match part {
            Part::Expected(link) => Part::Expected(into(link)),
            Part::Answered(link) => Part::Answered(into(link)),
            other => other,
        });
    }

    /// Changes a client's part, and the counts with it.
    fn turn(&mut self, client: ClientId, into: impl FnOnce(Part) -> Part) {
        let Some(part) = self.parts.get_mut(&client) else { return };
        let (old, new) = (*part, into(*part));
        *part = new;
        self.working =
            self.working - usize::from(old.is_waited_for()) + usize::from(new.is_waited_for());
        self.answered = self.answered - usize::from(old.counts()) + usize::from(new.counts());
        if let Some(until) = old.grace() {
            self.graces.remove(&(until, client));
        }
        if let Some(until) = new.grace() {
            self.graces.insert((until, client));
        }
    }
}
