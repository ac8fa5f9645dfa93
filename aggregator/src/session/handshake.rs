//! Hello, Welcome, CheckIn, CheckedIn: who the client is and which task it
//! wants to take part in.

use std::sync::Arc;

use fedra_protocol::limits::MAX_CHUNK_BYTES;
use fedra_protocol::{
    CheckedIn, ClientMessage, Hello, PROTOCOL_VERSION, Refusal, RefusalCode, RoundPhase,
    ServerMessage, SubjectId, TaskId, Welcome,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};

use super::End;
use super::socket::{Incoming, Socket};
use crate::coordinator::{Command, Order};
use crate::round::ClientId;
use crate::server::Server;
use crate::task::Task;

/// A client that has checked in. Dropping it tells the coordinator.
pub(super) struct Session {
    pub(super) client: ClientId,
    pub(super) task: Arc<Task>,
    pub(super) orders: watch::Receiver<Order>,
    /// Reserved at the check-in, so that leaving never waits.
    leave: Option<mpsc::OwnedPermit<Command>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(permit) = self.leave.take() {
            permit.send(Command::Leave(self.client));
        }
    }
}

/// Takes the client up to its check-in.
pub(super) async fn perform<S>(
    socket: &mut Socket<S>,
    client: ClientId,
    server: &Server,
) -> Result<Session, End>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    match next(socket).await? {
        ClientMessage::Hello(hello) => greet(socket, hello, server).await?,
        _ => return Err(unexpected("the first message must be Hello")),
    }
    loop {
        match next(socket).await? {
            ClientMessage::CheckIn { task, subject, .. } => {
                return check_in(socket, client, (&task, subject), server).await;
            }
            ClientMessage::Ping { nonce } => socket.send(&ServerMessage::Pong { nonce }).await?,
            _ => return Err(unexpected("the message after Welcome must be CheckIn")),
        }
    }
}

async fn greet<S>(socket: &mut Socket<S>, hello: Hello, server: &Server) -> Result<(), End>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    if !hello.versions.contains(&PROTOCOL_VERSION) {
        return Err(End::refuse(
            RefusalCode::UnsupportedVersion,
            format!("this server speaks version {PROTOCOL_VERSION} of the protocol"),
        ));
    }
    let session_id = format!("{:016x}", rand::random::<u64>());
    tracing::debug!(session = session_id, software = hello.software, "hello");
    let welcome = Welcome {
        version: PROTOCOL_VERSION,
        session_id,
        heartbeat: server.config.idle_timeout / 3,
        max_chunk_bytes: MAX_CHUNK_BYTES as u32,
    };
    Ok(socket.send(&ServerMessage::Welcome(welcome)).await?)
}

async fn check_in<S>(
    socket: &mut Socket<S>,
    client: ClientId,
    (id, subject): (&TaskId, Option<SubjectId>),
    server: &Server,
) -> Result<Session, End>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let Some(task) = server.tasks.get(id).cloned() else {
        let message = format!("there is no task {id} on this server");
        return Err(End::refuse(RefusalCode::UnknownTask, message));
    };
    socket.count_for(Arc::clone(&task));
    let status = task.status(&task.view.borrow().clone());
    if status.phase == RoundPhase::Finished {
        let message = format!("the task {id} has had its last round");
        return Err(End::refuse(RefusalCode::TaskClosed, message));
    }
    if task.config.privacy.is_some() && subject.is_none() {
        let message = "this task has a privacy policy: the check-in must name a subject";
        return Err(End::refuse(RefusalCode::UnexpectedMessage, message));
    }
    let description = task.description();
    let checked_in = CheckedIn { task: description, status };
    socket.send(&ServerMessage::CheckedIn(Box::new(checked_in))).await?;

    let gone = |_| End::GoingAway;
    let leave = task.commands.clone().reserve_owned().await.map_err(gone)?;
    let (sender, orders) = watch::channel(Order::Rest);
    let join = Command::Join(client, subject, sender);
    task.commands.send(join).await.map_err(|_| End::GoingAway)?;
    Ok(Session { client, task, orders, leave: Some(leave) })
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
    End::Refused(Refusal {
        code: RefusalCode::UnexpectedMessage,
        message: problem.to_owned(),
        retry_after: None,
    })
}
