//! Who is expected to answer, and who has: the bookkeeping that every stage of
//! a round shares.

use std::collections::BTreeMap;

use fedra_protocol::{Availability, RoundId, UpdateFault};

use super::{ClientId, Event};

/// Where a client stands in a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Expected to answer.
    Working,
    /// Its answer was accepted.
    Answered,
    /// Its answer counts, but it has left since: nothing more is expected.
    AnsweredAndLeft,
    /// Left, declined, paused or was refused: nothing more is expected.
    Gone,
}

/// The clients of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Roster {
    parts: BTreeMap<ClientId, Part>,
    working: usize,
    answered: usize,
}

impl Roster {
    pub(super) fn new(clients: impl IntoIterator<Item = ClientId>) -> Self {
        let parts: BTreeMap<_, _> = clients.into_iter().map(|c| (c, Part::Working)).collect();
        Self { working: parts.len(), parts, answered: 0 }
    }

    /// Clients there were at the start of the stage.
    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }

    /// Clients at work.
    pub(super) fn working(&self) -> usize {
        self.working
    }

    /// Clients whose answer counts.
    pub(super) fn answered(&self) -> usize {
        self.answered
    }

    /// Everybody of the stage.
    pub(super) fn clients(&self) -> impl Iterator<Item = ClientId> {
        self.parts.keys().copied()
    }

    /// Those who are expected to answer.
    pub(super) fn late(&self) -> impl Iterator<Item = ClientId> {
        self.with(Part::Working)
    }

    /// Those who have answered and are still there: who can be asked again.
    pub(super) fn going_on(&self) -> impl Iterator<Item = ClientId> {
        self.with(Part::Answered)
    }

    fn with(&self, part: Part) -> impl Iterator<Item = ClientId> {
        self.parts.iter().filter(move |(_, is)| **is == part).map(|(client, _)| *client)
    }

    /// Whether the client's answer may count now; why not otherwise.
    pub(super) fn expects(&self, client: ClientId) -> Result<(), UpdateFault> {
        match self.parts.get(&client) {
            None | Some(Part::Gone) => Err(UpdateFault::NotInCohort),
            Some(Part::Answered | Part::AnsweredAndLeft) => Err(UpdateFault::Duplicate),
            Some(Part::Working) => Ok(()),
        }
    }

    /// Counts the answer of a client that was expected.
    pub(super) fn count(&mut self, client: ClientId) {
        if let Some(part @ Part::Working) = self.parts.get_mut(&client) {
            *part = Part::Answered;
            self.working -= 1;
            self.answered += 1;
        }
    }

    /// Nothing more is expected from the client. What it has answered counts.
    pub(super) fn lose(&mut self, client: ClientId) {
        match self.parts.get_mut(&client) {
            Some(part @ Part::Working) => {
                *part = Part::Gone;
                self.working -= 1;
            }
            Some(part @ Part::Answered) => *part = Part::AnsweredAndLeft,
            _ => {}
        }
    }

    /// The client's answer turned out to be worthless.
    pub(super) fn strike(&mut self, client: ClientId) {
        self.lose(client);
        if let Some(part @ Part::AnsweredAndLeft) = self.parts.get_mut(&client) {
            *part = Part::Gone;
            self.answered -= 1;
        }
    }

    /// Follows an event that ends a client's part in `round`.
    pub(super) fn follow(&mut self, event: Event, round: RoundId) {
        match event {
            Event::Left(client) | Event::AvailabilityChanged(client, Availability::Paused) => {
                self.lose(client);
            }
            Event::Declined(client, of) if of == round => self.lose(client),
            Event::Refused(client, of) if of == round => self.strike(client),
            _ => {}
        }
    }
}
