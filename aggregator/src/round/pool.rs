//! Who is connected to a task and who of them may be invited.

use std::collections::BTreeMap;

use fedra_protocol::Availability;

use super::{ClientId, Event};

/// The connected clients. Ordered, so that a replay selects the same ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Pool {
    clients: BTreeMap<ClientId, Member>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    availability: Availability,
    /// Its subject has taken part as often as the task allows.
    spent: bool,
}

impl Pool {
    /// Follows an event.
    pub(super) fn apply(&mut self, event: Event) {
        match event {
            Event::Joined(client) => {
                let availability = Availability::Available;
                self.clients.insert(client, Member { availability, spent: false });
            }
            Event::Left(client) => {
                self.clients.remove(&client);
            }
            Event::AvailabilityChanged(client, availability) => {
                if let Some(known) = self.clients.get_mut(&client) {
                    known.availability = availability;
                }
            }
            Event::ParticipationsSpent(client) => {
                if let Some(known) = self.clients.get_mut(&client) {
                    known.spent = true;
                }
            }
            _ => {}
        }
    }

    /// Clients connected, paused ones too.
    pub(super) fn connected(&self) -> usize {
        self.clients.len()
    }

    /// Clients that may be invited, in the order of their ids.
    pub(super) fn available(&self) -> impl Iterator<Item = ClientId> {
        self.clients
            .iter()
            .filter(|(_, member)| member.availability == Availability::Available && !member.spent)
            .map(|(client, _)| *client)
    }
}
