//! The clients of buffered rounds that have trained and wait for a masking group.
//!
//! A client whose connection breaks is passed over until it is back, and leaves when its
//! grace is over. Its place is that of its arrival.

use std::collections::{BTreeMap, BTreeSet};

use fedra_protocol::RoundId;

use super::{ClientId, Time};

/// Place of a client that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    arrival: u64,
    /// Round of its invitation.
    round: RoundId,
    /// End of its grace, if its connection is broken.
    away_until: Option<Time>,
}

/// Clients that wait, in the order of their arrival.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Waiting {
    places: BTreeMap<ClientId, Place>,
    /// Places of those that are connected.
    ready: BTreeSet<(u64, ClientId)>,
    /// Ends of the graces of the others.
    graces: BTreeSet<(Time, ClientId)>,
    arrivals: u64,
}

impl Waiting {
    /// Adds a client that has reported for its invitation to `round`, with the end of its grace
    /// if its connection is broken.
    pub(super) fn join(&mut self, client: ClientId, round: RoundId, away_until: Option<Time>) {
        self.arrivals += 1;
        let place = Place { arrival: self.arrivals, round, away_until };
        self.set(client, Some(place));
    }

    /// Clients that wait, connected or not.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Connected clients that wait.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn contains(&self, client: ClientId) -> bool {
        self.places.contains_key(&client)
    }

    /// Round of the client's invitation, if it waits.
    pub(super) fn round_of(&self, client: ClientId) -> Option<RoundId> {
        self.places.get(&client).map(|place| place.round)
    }

    /// Clients that wait, in the order of their ids.
    pub(super) fn clients(&self) -> impl Iterator<Item = ClientId> {
        self.places.keys().copied()
    }

    /// Time at which the next grace ends.
    pub(super) fn wake_at(&self) -> Option<Time> {
        self.graces.first().map(|(until, _)| *until)
    }

    /// Removes a client that was invited to `round`; false if it does not wait.
    pub(super) fn leave(&mut self, client: ClientId, round: RoundId) -> bool {
        let waits = self.round_of(client) == Some(round);
        if waits {
            self.set(client, None);
        }
        waits
    }

    /// The client's connection broke, with a grace until then; or it is back.
    pub(super) fn relink(&mut self, client: ClientId, away_until: Option<Time>) {
        if let Some(place) = self.places.get(&client).copied() {
            self.set(client, Some(Place { away_until, ..place }));
        }
    }

    /// Takes the first connected clients, `count` at most, with their invitations.
    pub(super) fn take(&mut self, count: usize) -> BTreeMap<ClientId, RoundId> {
        let first: Vec<ClientId> = self.ready.iter().take(count).map(|(_, c)| *c).collect();
        let taken = first.into_iter().filter_map(|client| Some((client, self.remove(client)?)));
        taken.collect()
    }

    /// Removes those whose grace is over; they are returned.
    pub(super) fn expire(&mut self, now: Time) -> Vec<(ClientId, RoundId)> {
        let over = self.graces.iter().take_while(|(until, _)| *until <= now);
        let over: Vec<ClientId> = over.map(|(_, client)| *client).collect();
        over.into_iter().filter_map(|client| Some((client, self.remove(client)?))).collect()
    }

    /// Removes those that were invited to rounds before `oldest`; they are returned.
    pub(super) fn retire(&mut self, oldest: u64) -> Vec<(ClientId, RoundId)> {
        let stale = self.places.iter().filter(|(_, place)| place.round.round < oldest);
        let stale: Vec<ClientId> = stale.map(|(client, _)| *client).collect();
        stale.into_iter().filter_map(|client| Some((client, self.remove(client)?))).collect()
    }

    /// Removes all; they are returned.
    pub(super) fn disband(&mut self) -> Vec<(ClientId, RoundId)> {
        let all = self.places.iter().map(|(client, place)| (*client, place.round)).collect();
        (self.places, self.ready, self.graces) = Default::default();
        all
    }

    fn remove(&mut self, client: ClientId) -> Option<RoundId> {
        let round = self.round_of(client);
        self.set(client, None);
        round
    }

    /// Sets a client's place, and keeps the other sets right.
    fn set(&mut self, client: ClientId, place: Option<Place>) {
        let old = match place {
            Some(place) => self.places.insert(client, place),
            None => self.places.remove(&client),
        };
        match old {
            Some(Place { away_until: Some(until), .. }) => {
                self.graces.remove(&(until, client));
            }
            Some(Place { arrival, .. }) => {
                self.ready.remove(&(arrival, client));
            }
            None => {}
        }
        match place {
            Some(Place { away_until: Some(until), .. }) => {
                self.graces.insert((until, client));
            }
            Some(Place { arrival, .. }) => {
                self.ready.insert((arrival, client));
            }
            None => {}
        }
    }
}
