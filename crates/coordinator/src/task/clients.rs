//! Clients of a task, and the connections that stand for them.
//!
//! A client keeps its [`ClientId`] when its connection breaks and another takes
//! its place. It is known again by its subject; a client without one is new each
//! time. Rounds are not known here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fedra_protocol::{Availability, RoundId, SubjectId, UpdateVerdict};

use crate::messages::{ConnectionId, Departure, Join, Leave, Notice, Order};
use crate::participation::Participation;
use crate::round::{ClientId, Stage, Time};

/// Clients without a connection that are remembered, with a few hundred bytes each.
/// Clients that no round waits for are forgotten first.
const MOST_ABSENT: usize = 1 << 16;

/// A client of the task.
struct Client {
    subject: Option<SubjectId>,
    connection: Option<ConnectionId>,
    /// The newest order, for a connection yet to come.
    order: Order,
    /// While there is no connection, if it has one.
    participation: Option<Box<Participation>>,
    /// The last verdict on a report of the client.
    judged: Option<(RoundId, Stage, UpdateVerdict)>,
    /// The next connection of the same subject, held until the current one is closed.
    successor: Option<Join>,
    /// The client closed its connection on purpose: for the rounds it is not there.
    left: bool,
    /// Its place among those without a connection.
    absent: Option<u64>,
}

/// Effect of a join or a departure on the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// A client that was not there.
    Joined(ClientId, Availability),
    /// A client is there again.
    Returned(ClientId, Availability),
    /// A client has lost its connection.
    Lost(ClientId),
    /// A client is gone for good; the subject that it stood for.
    Left(ClientId, Option<SubjectId>),
}

/// All clients of a task.
#[derive(Default)]
pub(super) struct Clients {
    clients: HashMap<ClientId, Client>,
    connections: HashMap<ConnectionId, ClientId>,
    /// The one client that stands for a subject now.
    live: HashMap<SubjectId, ClientId>,
    /// Clients without a connection, those that lost it first in front.
    absent: BTreeMap<u64, ClientId>,
    /// Times at which clients that were cut off in an upload lose it. Some may be back.
    uploads: BTreeSet<(Time, ClientId)>,
    next: u64,
    departures: u64,
    /// Notices for sessions, in this order.
    notices: Vec<(ConnectionId, Notice)>,
}

impl Clients {
    /// The later connection of a subject replaces the earlier: together they
    /// would count twice in a round.
    pub(super) fn join(&mut self, join: Join) -> Option<Change> {
        let known = join.subject.and_then(|subject| self.live.get(&subject).copied());
        let Some(client) = known else { return self.admit(join) };
        let connection = join.connection;
        let known = self.clients.get_mut(&client)?;
        if let Some(current) = known.connection {
            self.notices.push((current, Notice::Replaced));
            self.connections.insert(connection, client);
            if let Some(earlier) = known.successor.replace(join) {
                self.connections.remove(&earlier.connection);
                self.notices.push((earlier.connection, Notice::Replaced));
            }
            return None;
        }
        self.attach(client, &join)
    }

    fn admit(&mut self, join: Join) -> Option<Change> {
        self.next += 1;
        let client = ClientId(self.next);
        if let Some(subject) = join.subject {
            self.live.insert(subject, client);
        }
        let new = Client {
            subject: join.subject,
            connection: None,
            order: Order::Rest,
            participation: None,
            judged: None,
            successor: None,
            left: false,
            absent: None,
        };
        self.clients.insert(client, new);
        let availability = join.availability;
        self.attach(client, &join);
        Some(Change::Joined(client, availability))
    }

    /// The connection stands for the client from now on. If its session is gone
    /// already, its departure is on the way.
    fn attach(&mut self, client: ClientId, join: &Join) -> Option<Change> {
        let member = self.clients.get_mut(&client)?;
        let Join { connection, availability, .. } = *join;
        if let Some(place) = member.absent.take() {
            self.absent.remove(&place);
        }
        self.connections.insert(connection, client);
        let participation = member.participation.take().unwrap_or_default();
        let participation = Box::new(participation.attached(availability));
        self.notices.push((connection, Notice::Joined(client, participation)));
        self.notices.push((connection, Notice::Order(member.order.clone())));
        member.connection = Some(connection);
        let left = std::mem::take(&mut member.left);
        Some(match left {
            true => Change::Joined(client, availability),
            false => Change::Returned(client, availability),
        })
    }

    /// Ends a connection. The client stays for a while if it may come back.
    pub(super) fn leave(&mut self, leave: Leave) -> Option<Change> {
        let Leave { connection, departure, participation } = leave;
        let client = self.connections.remove(&connection)?;
        let member = self.clients.get_mut(&client)?;
        if member.successor.as_ref().is_some_and(|join| join.connection == connection) {
            member.successor = None;
            return None;
        }
        member.connection = None;
        if participation.is_worth_keeping() {
            member.participation = Some(Box::new(participation.detached(member.judged)));
        }
        if let Some(join) = member.successor.take() {
            return self.attach(client, &join);
        }
        let Some(kept) = member.participation.as_mut().filter(|kept| kept.is_worth_keeping())
        else {
            return self.forget(client);
        };
        if member.subject.is_none() {
            return self.forget(client);
        }
        self.departures += 1;
        member.absent = Some(self.departures);
        self.absent.insert(self.departures, client);
        if departure == Departure::Closed {
            // It is remembered all the same: who has reported and comes back at once
            // must not count again.
            member.left = true;
            member.order = Order::Rest;
            kept.close();
            return Some(Change::Left(client, member.subject));
        }
        // What the round has ordered meanwhile is news to its next connection.
        settle(kept, &member.order);
        self.uploads.extend(kept.upload_due().map(|due| (due, client)));
        Some(Change::Lost(client))
    }

    /// Sends a client away: for the rounds it is gone.
    pub(super) fn dismiss(&mut self, client: ClientId, order: Order) {
        let successor = self.clients.get_mut(&client).and_then(|member| member.successor.take());
        self.notify(client, order);
        if let Some(join) = successor {
            // It would wait in vain for the earlier connection to go.
            self.attach(client, &join);
        }
        self.forget(client);
    }

    /// True if more clients are without a connection than are remembered.
    pub(super) fn are_too_many_absent(&self) -> bool {
        self.absent.len() > MOST_ABSENT
    }

    /// Forgets the client that has been away for longest, and rather one that no
    /// round waits for.
    pub(super) fn forget_one_of_many(&mut self, busy: &BTreeSet<ClientId>) -> Option<Change> {
        let idle = self.absent.values().find(|client| !busy.contains(client));
        let client = *idle.or_else(|| self.absent.values().next())?;
        self.forget(client)
    }

    /// Clients without a connection.
    pub(super) fn absent(&self) -> BTreeSet<ClientId> {
        self.absent.values().copied().collect()
    }

    /// Time at which the next client without a connection loses what it has uploaded.
    pub(super) fn wake_at(&self) -> Option<Time> {
        self.uploads.first().map(|(due, _)| *due)
    }

    /// Drops the slow uploads of clients without a connection: a client that was cut
    /// off in an upload keeps its room as long as a slow one, and no longer.
    pub(super) fn drop_slow_uploads(&mut self, now: Time) {
        while let Some((_, client)) = self.uploads.first().filter(|(due, _)| *due <= now).copied() {
            self.uploads.pop_first();
            let member = self.clients.get_mut(&client);
            // One that is back has left its participation to the connection.
            if let Some(kept) = member.and_then(|member| member.participation.as_mut()) {
                kept.drop_slow_upload(now);
            }
        }
    }

    /// Forgets a client. A connection of it that is still there is no longer heard.
    pub(super) fn forget(&mut self, client: ClientId) -> Option<Change> {
        let member = self.clients.remove(&client)?;
        if let Some(place) = member.absent {
            self.absent.remove(&place);
        }
        if let Some(subject) = member.subject
            && self.live.get(&subject) == Some(&client)
        {
            self.live.remove(&subject);
        }
        let joins = member.successor.map(|join| join.connection);
        for connection in member.connection.into_iter().chain(joins) {
            self.connections.remove(&connection);
        }
        Some(Change::Left(client, member.subject))
    }

    /// Tells a client its newest order, now or when it is there again.
    pub(super) fn notify(&mut self, client: ClientId, order: Order) {
        let Some(member) = self.clients.get_mut(&client) else { return };
        match member.connection {
            Some(connection) => self.notices.push((connection, Notice::Order(order.clone()))),
            None => member.participation.iter_mut().for_each(|kept| settle(kept, &order)),
        }
        member.order = order;
    }

    /// Tells a client the verdict on its report, now or when it is there again.
    pub(super) fn judge(
        &mut self,
        client: ClientId,
        round: RoundId,
        stage: Stage,
        verdict: UpdateVerdict,
    ) {
        let Some(known) = self.clients.get_mut(&client) else { return };
        known.judged = Some((round, stage, verdict));
        if let Some(connection) = known.connection {
            self.notices.push((connection, Notice::Verdict(round, verdict)));
        }
    }

    /// Notices for sessions since the last call, in this order.
    pub(super) fn take_notices(&mut self) -> Vec<(ConnectionId, Notice)> {
        std::mem::take(&mut self.notices)
    }

    pub(super) fn subject(&self, client: ClientId) -> Option<SubjectId> {
        self.clients.get(&client)?.subject
    }

    /// True if a client of this subject has a connection.
    pub(super) fn is_connected(&self, subject: &SubjectId) -> bool {
        let client = self.of_subject(subject).and_then(|client| self.clients.get(&client));
        client.is_some_and(|member| member.connection.is_some())
    }

    pub(super) fn of_subject(&self, subject: &SubjectId) -> Option<ClientId> {
        self.live.get(subject).copied()
    }
}

/// An upload that no round waits for any more gives its room back, though there
/// is no connection to say so.
fn settle(participation: &mut Participation, order: &Order) {
    let current = match order {
        Order::Invited(invitation) => Some(invitation.round),
        Order::Asked { round, .. } => Some(*round),
        Order::LeftOut(..) => return,
        Order::Rest | Order::StandBy(..) | Order::Away(_) => None,
    };
    participation.dismiss(current);
}
