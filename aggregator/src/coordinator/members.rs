//! Who takes part in a task: clients, and the connections that stand for them.
//!
//! A client keeps its [`ClientId`] when its connection breaks and another takes
//! its place. It is known again by its subject; a client without one is new each
//! time. Nothing here knows of rounds.

use std::collections::{HashMap, VecDeque};

use fedra_protocol::SubjectId;

use super::{ConnectionId, Departure, Join, Joined, Leave, Link, Order};
use crate::round::{ClientId, Time};
use crate::session::Seat;

/// Clients without a connection that are remembered.
const MOST_ABSENT: usize = 1 << 10;

/// A client of the task.
struct Member {
    subject: Option<SubjectId>,
    link: Option<Link>,
    /// The newest order, for a connection yet to come.
    order: Order,
    /// While there is no connection.
    seat: Seat,
    /// A connection that waits for the earlier one to go.
    successor: Option<Join>,
    /// It has gone in words: for the rounds it is not there.
    left: bool,
}

/// What a join or a departure means to the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// A client that was not there.
    Joined(ClientId),
    /// A client is there again.
    Returned(ClientId),
    /// A client has lost its connection.
    Lost(ClientId),
    /// A client is gone for good.
    Left(ClientId),
}

/// All clients of a task.
#[derive(Default)]
pub(super) struct Members {
    clients: HashMap<ClientId, Member>,
    connections: HashMap<ConnectionId, ClientId>,
    /// The one client that stands for a subject now.
    live: HashMap<SubjectId, ClientId>,
    /// Clients without a connection, those that lost it first in front.
    absent: VecDeque<ClientId>,
    next: u64,
}

impl Members {
    /// The later connection of a subject replaces the earlier: together they
    /// would count twice in a round.
    pub(super) fn join(&mut self, join: Join) -> Option<Change> {
        let known = join.subject.and_then(|subject| self.live.get(&subject).copied());
        let Some(client) = known else { return self.admit(join) };
        let connection = join.link.connection;
        let member = self.clients.get_mut(&client)?;
        if let Some(link) = &member.link {
            link.cut.cancel();
            self.connections.insert(connection, client);
            if let Some(earlier) = member.successor.replace(join) {
                self.connections.remove(&earlier.link.connection);
                earlier.link.cut.cancel();
            }
            return None;
        }
        self.attach(client, join)
    }

    fn admit(&mut self, join: Join) -> Option<Change> {
        self.next += 1;
        let client = ClientId(self.next);
        if let Some(subject) = join.subject {
            self.live.insert(subject, client);
        }
        let member = Member {
            subject: join.subject,
            link: None,
            order: Order::Rest,
            seat: Seat::default(),
            successor: None,
            left: false,
        };
        self.clients.insert(client, member);
        self.attach(client, join);
        Some(Change::Joined(client))
    }

    /// The connection stands for the client from now on. If its session is gone
    /// already, its departure is on the way.
    fn attach(&mut self, client: ClientId, join: Join) -> Option<Change> {
        let member = self.clients.get_mut(&client)?;
        let Join { link, answer, .. } = join;
        self.absent.retain(|absent| *absent != client);
        self.connections.insert(link.connection, client);
        link.order.send_replace(member.order.clone());
        let seat = std::mem::take(&mut member.seat);
        if let Err(Joined { seat, .. }) = answer.send(Joined { client, seat }) {
            member.seat = seat;
        }
        member.link = Some(link);
        let left = std::mem::take(&mut member.left);
        Some(if left { Change::Joined(client) } else { Change::Returned(client) })
    }

    /// Ends a connection. The client stays for a while if it may come back.
    pub(super) fn leave(&mut self, leave: Leave) -> Option<Change> {
        let Leave { connection, departure, seat } = leave;
        let client = self.connections.remove(&connection)?;
        let member = self.clients.get_mut(&client)?;
        if member.successor.as_ref().is_some_and(|join| join.link.connection == connection) {
            member.successor = None;
            return None;
        }
        member.link = None;
        if seat.is_worth_keeping() {
            member.seat = seat.detached();
        }
        if let Some(join) = member.successor.take() {
            return self.attach(client, join);
        }
        if member.subject.is_none() || !member.seat.is_worth_keeping() {
            return self.forget(client);
        }
        self.absent.push_back(client);
        if departure == Departure::Closed {
            // It is remembered all the same: who has reported and comes back at once
            // must not count again.
            member.left = true;
            member.order = Order::Rest;
            member.seat.close();
            return Some(Change::Left(client));
        }
        // What the round has ordered meanwhile is news to its next connection.
        let order = member.order.clone();
        settle(&mut member.seat, &order);
        Some(Change::Lost(client))
    }

    /// Sends a client away: it is gone as far as rounds are concerned.
    pub(super) fn dismiss(&mut self, client: ClientId, order: Order) {
        self.notify(client, order);
        self.forget(client);
    }

    /// Forgets those who have been away for too long, or are too many.
    pub(super) fn forget_one_of_many(&mut self) -> Option<Change> {
        if self.absent.len() <= MOST_ABSENT {
            return None;
        }
        let client = self.absent.front().copied()?;
        self.forget(client)
    }

    /// Those without a connection, longest first.
    pub(super) fn absent(&self) -> Vec<ClientId> {
        self.absent.iter().copied().collect()
    }

    /// When the next client without a connection loses what it has uploaded.
    pub(super) fn wake_at(&self) -> Option<Time> {
        let seat = |client| Some(&self.clients.get(client)?.seat);
        self.absent.iter().filter_map(seat).filter_map(Seat::upload_due).min()
    }

    /// Those who were cut off in an upload keep its room as long as those who are
    /// slow, and no longer.
    pub(super) fn drop_slow_uploads(&mut self, now: Time) {
        for client in &self.absent {
            if let Some(member) = self.clients.get_mut(client) {
                member.seat.drop_slow_upload(now);
            }
        }
    }

    /// Forgets a client. A connection of it that is still there is no longer heard.
    pub(super) fn forget(&mut self, client: ClientId) -> Option<Change> {
        let member = self.clients.remove(&client)?;
        self.absent.retain(|absent| *absent != client);
        if let Some(subject) = member.subject
            && self.live.get(&subject) == Some(&client)
        {
            self.live.remove(&subject);
        }
        let joins = member.successor.map(|join| join.link.connection);
        for connection in member.link.map(|link| link.connection).into_iter().chain(joins) {
            self.connections.remove(&connection);
        }
        Some(Change::Left(client))
    }

    /// Tells a client its newest order, now or when it is there again.
    pub(super) fn notify(&mut self, client: ClientId, order: Order) {
        let Some(member) = self.clients.get_mut(&client) else { return };
        match &member.link {
            Some(link) => {
                link.order.send_replace(order.clone());
            }
            None => settle(&mut member.seat, &order),
        }
        member.order = order;
    }

    pub(super) fn subject(&self, client: ClientId) -> Option<SubjectId> {
        self.clients.get(&client)?.subject
    }

    pub(super) fn of_subject(&self, subject: &SubjectId) -> Option<ClientId> {
        self.live.get(subject).copied()
    }
}

/// An upload that no round waits for any more gives its room back, though there
/// is no connection to say so.
fn settle(seat: &mut Seat, order: &Order) {
    let current = match order {
        Order::Invited(invitation) => Some(invitation.round),
        Order::Asked { round, .. } => Some(*round),
        Order::Struck(..) => return,
        Order::Rest | Order::Away(_) => None,
    };
    seat.dismiss(current);
}
