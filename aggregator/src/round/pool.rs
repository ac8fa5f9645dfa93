//! Who is connected to a task and who of them may be invited.

use std::collections::BTreeMap;

use fedra_protocol::Availability;
use rand::Rng;
use rand::seq::index;

use super::{ClientId, Event};

/// The clients of a task. Ordered, so that a replay selects the same ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Pool {
    clients: BTreeMap<ClientId, Member>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    availability: Availability,
    /// Its connection broke, and it has not come back yet.
    is_lost: bool,
    /// Its subject has taken part as often as the task allows.
    is_spent: bool,
}

impl Pool {
    /// Follows an event.
    pub(super) fn apply(&mut self, event: Event) {
        match event {
            Event::Joined(client) => {
                let availability = Availability::Available;
                let member = Member { availability, is_lost: false, is_spent: false };
                self.clients.insert(client, member);
            }
            Event::Left(client) => self.forget(client),
            Event::Lost(client) => self.change(client, |member| member.is_lost = true),
            Event::Returned(client) => self.change(client, |member| {
                member.is_lost = false;
                member.availability = Availability::Available;
            }),
            Event::AvailabilityChanged(client, availability) => {
                self.change(client, |member| member.availability = availability);
            }
            Event::ParticipationsSpent(client) => {
                self.change(client, |member| member.is_spent = true);
            }
            _ => {}
        }
    }

    /// The client is no part of the task any more.
    pub(super) fn forget(&mut self, client: ClientId) {
        self.clients.remove(&client);
    }

    /// Clients connected, paused ones too.
    pub(super) fn connected(&self) -> usize {
        self.clients.values().filter(|member| !member.is_lost).count()
    }

    /// Clients that may be invited, in the order of their ids.
    pub(super) fn available(&self) -> impl Iterator<Item = ClientId> {
        self.clients.iter().filter(|(_, member)| member.is_available()).map(|(client, _)| *client)
    }

    fn change(&mut self, client: ClientId, change: impl FnOnce(&mut Member)) {
        if let Some(known) = self.clients.get_mut(&client) {
            change(known);
        }
    }
}

impl Member {
    fn is_available(self) -> bool {
        self.availability == Availability::Available && !self.is_lost && !self.is_spent
    }
}

/// A random choice of `amount` clients, or of all if there are fewer.
pub(super) fn sample(from: &[ClientId], amount: usize, rng: &mut dyn Rng) -> Vec<ClientId> {
    let amount = amount.min(from.len());
    index::sample(rng, from.len(), amount).into_iter().map(|i| from[i]).collect()
}
