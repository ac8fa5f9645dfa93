//! Hello, Welcome, CheckIn, CheckedIn: who the client is and which task it
//! wants to take part in.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use fedra_protocol::limits::MAX_CHUNK_BYTES;
use fedra_protocol::{
    Availability, Capabilities, CheckedIn, ClientMessage, Hello, PROTOCOL_VERSION, RefusalCode,
    ServerMessage, SubjectId, TaskId, Token, Welcome,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::End;
use super::conversation::Participant;
use super::seat::Seat;
use super::socket::{Incoming, Socket};
use crate::access::{Admission, Admitted};
use crate::coordinator::{Command, ConnectionId, Departure, Join, Joined, Leave, Link, Order};
use crate::server::Server;
use crate::task::Task;

/// A client that has checked in, and where it goes on from.
pub(super) struct CheckedInAs {
    pub(super) membership: Membership,
    pub(super) seat: Seat,
}

/// A connection's place among its task's clients. Dropping it tells the
/// coordinator.
pub(super) struct Membership {
    participant: Participant,
    task: Arc<Task>,
    orders: watch::Receiver<Order>,
    cut: CancellationToken,
    exit: Exit,
    /// Its place among those that the task lets in.
    _admission: Admission,
}

impl Membership {
    pub(super) fn participant(&self) -> Participant {
        self.participant
    }

    pub(super) fn task(&self) -> &Arc<Task> {
        &self.task
    }

    /// Cancelled when another connection takes this one's place.
    pub(super) fn cut(&self) -> CancellationToken {
        self.cut.clone()
    }

    /// The newest order, once there is a new one; `None` without a coordinator.
    /// Safe to cancel.
    pub(super) async fn order(&mut self) -> Option<Order> {
        self.orders.changed().await.ok()?;
        Some(self.orders.borrow_and_update().clone())
    }

    pub(super) async fn tell(&self, command: Command) -> Result<(), End> {
        self.task.commands.send(command).await.map_err(|_| End::GoingAway)
    }

    /// Gives the seat back.
    pub(super) fn leave(mut self, departure: Departure, seat: Seat) {
        self.exit.take(departure, seat);
    }
}

/// The way out: it is taken once, at the latest when this is dropped.
struct Exit {
    connection: ConnectionId,
    /// Reserved at the check-in, so that leaving never waits.
    permit: Option<mpsc::OwnedPermit<Command>>,
}

impl Exit {
    fn take(&mut self, departure: Departure, seat: Seat) {
        if let Some(permit) = self.permit.take() {
            let connection = self.connection;
            permit.send(Command::Leave(Leave { connection, departure, seat }));
        }
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        self.take(Departure::Lost, Seat::default());
    }
}

/// Takes the client up to its check-in.
pub(super) async fn perform<S>(
    socket: &mut Socket<S>,
    session_id: String,
    address: IpAddr,
    server: &Server,
) -> Result<CheckedInAs, End>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    match next(socket).await? {
        ClientMessage::Hello(hello) => greet(socket, hello, session_id, server).await?,
        _ => return Err(unexpected("the first message must be Hello")),
    }
    loop {
        match next(socket).await? {
            ClientMessage::CheckIn { task, availability, subject, token, capabilities } => {
                let who = Who { address, availability, subject, token, capabilities };
                return check_in(socket, who, &task, server).await;
            }
            ClientMessage::Ping { nonce } => socket.send(&ServerMessage::Pong { nonce }).await?,
            _ => return Err(unexpected("the message after Welcome must be CheckIn")),
        }
    }
}

async fn greet<S>(
    socket: &mut Socket<S>,
    hello: Hello,
    session_id: String,
    server: &Server,
) -> Result<(), End>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    if !hello.versions.contains(&PROTOCOL_VERSION) {
        return Err(End::refuse(
            RefusalCode::UnsupportedVersion,
            format!("this server speaks version {PROTOCOL_VERSION} of the protocol"),
        ));
    }
    tracing::debug!(software = hello.software, "hello");
    let welcome = Welcome {
        version: PROTOCOL_VERSION,
        session_id,
        heartbeat: server.config.idle_timeout / 3,
        max_chunk_bytes: MAX_CHUNK_BYTES as u32,
    };
    Ok(socket.send(&ServerMessage::Welcome(welcome)).await?)
}

/// Refusal of a participant that no ledger could count.
pub(super) const NO_SUBJECT: &str =
    "this task has a privacy policy: the check-in of a participant must name a subject";

/// What a check-in says of itself.
struct Who {
    address: IpAddr,
    availability: Availability,
    subject: Option<SubjectId>,
    token: Option<Token>,
    capabilities: Capabilities,
}

async fn check_in<S>(
    socket: &mut Socket<S>,
    who: Who,
    id: &TaskId,
    server: &Server,
) -> Result<CheckedInAs, End>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let Some(task) = server.task(id) else {
        if server.set_aside.reason(id).is_some() {
            return Err(End::set_aside());
        }
        let message = format!("there is no task {id} on this server");
        return Err(End::refuse(RefusalCode::UnknownTask, message));
    };
    socket.count_for(Arc::clone(&task));
    let status = task.status(&task.view.borrow().clone(), task.now());
    let Who { address, availability, subject, token, capabilities } = who;
    if let Some(missing) = capabilities.missing(&task.config.needs()) {
        // Before admission, so that no token is used up.
        let message = format!("this client does not know {missing}; update this client");
        return Err(End::refuse(RefusalCode::UnsupportedClient, message));
    }
    let now = SystemTime::now();
    let admitted = server.access.admit(&task.config, token.as_ref(), subject, address, now);
    let Admitted { subject, guard } = admitted.map_err(|denied| End::Refused(denied.into()))?;
    let observes = availability == Availability::Paused;
    if task.config.privacy.is_some() && subject.is_none() && !observes {
        return Err(unexpected(NO_SUBJECT));
    }
    let description = task.description();
    let checked_in = CheckedIn { task: description, status };
    socket.send(&ServerMessage::CheckedIn(Box::new(checked_in))).await?;
    join(task, subject, availability, guard).await
}

/// Takes a place among the task's clients. The coordinator may first have to
/// wait for an earlier connection of the same subject to give up its own.
async fn join(
    task: Arc<Task>,
    subject: Option<SubjectId>,
    availability: Availability,
    admission: Admission,
) -> Result<CheckedInAs, End> {
    let permit = task.commands.clone().reserve_owned().await.map_err(|_| End::GoingAway)?;
    let (order, orders) = watch::channel(Order::Rest);
    let (connection, cut) = (ConnectionId::next(), CancellationToken::new());
    let exit = Exit { connection, permit: Some(permit) };
    let (answer, joined) = oneshot::channel();
    let link = Link { connection, order, cut: cut.clone() };
    let command = Command::Join(Join { subject, availability, link, answer });
    task.commands.send(command).await.map_err(|_| End::GoingAway)?;
    let Ok(Joined { client, seat }) = joined.await else {
        return Err(match &*orders.borrow() {
            // The earlier connection stays.
            Order::Away(wait) => End::contested(*wait),
            // Yet another connection has come for the same place.
            _ if cut.is_cancelled() => End::replaced(),
            _ => End::GoingAway,
        });
    };
    tracing::debug!(client = client.0, "checked in");
    let participant = Participant { client, has_subject: subject.is_some() };
    let membership = Membership { participant, task, orders, cut, exit, _admission: admission };
    Ok(CheckedInAs { membership, seat })
}

/// The next message, decoded.
async fn next<S>(socket: &mut Socket<S>) -> Result<ClientMessage, End>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    loop {
        match socket.receive().await? {
            Incoming::Message(bytes) => {
                return ClientMessage::decode(bytes).map_err(|error| malformed(&error.to_string()));
            }
            Incoming::Text => return Err(malformed("messages are binary")),
            Incoming::Control => {}
        }
    }
}

pub(super) fn malformed(problem: &str) -> End {
    let end = problem.floor_char_boundary(fedra_protocol::limits::MAX_TEXT_BYTES);
    End::refuse(RefusalCode::MalformedMessage, &problem[..end])
}

pub(super) fn unexpected(problem: &str) -> End {
    End::refuse(RefusalCode::UnexpectedMessage, problem)
}
