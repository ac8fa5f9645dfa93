//! One client's WebSocket from the upgrade to the close.
//!
//! A session checks what the client sends, collects its update within the
//! server's budget of bytes in flight, and passes events to the coordinator. It
//! decides nothing about rounds, and whatever a client does ends at worst its
//! own session, with a typed refusal.

mod handshake;
mod participation;
mod socket;
mod upload;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fedra_protocol::{Refusal, RefusalCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::round::ClientId;
use crate::server::Server;
use handshake::Session;
use socket::{Socket, SocketError};

static NEXT_CLIENT: AtomicU64 = AtomicU64::new(1);

/// How a session ends.
#[derive(Debug)]
pub(super) enum End {
    /// The client closed, or its connection broke.
    Gone,
    /// The server says no.
    Refused(Refusal),
    /// The bytes are not WebSocket.
    Protocol(String),
    /// A frame or message over the size limit.
    TooBig(String),
    /// The server stops.
    GoingAway,
}

impl End {
    fn refuse(code: RefusalCode, message: impl Into<String>) -> Self {
        Self::Refused(Refusal { code, message: message.into(), retry_after: None })
    }
}

impl From<SocketError> for End {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Closed => Self::Gone,
            SocketError::Protocol(problem) => Self::Protocol(problem),
            SocketError::TooBig(problem) => Self::TooBig(problem),
        }
    }
}

/// Serves one client over an upgraded connection that was accepted at `accepted`
/// and comes from `address`.
pub(crate) async fn serve<S>(stream: S, accepted: Instant, address: IpAddr, server: Arc<Server>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let client = ClientId(NEXT_CLIENT.fetch_add(1, Ordering::Relaxed));
    let mut socket = Socket::new(stream, server.config.idle_timeout).await;
    let end = match converse(&mut socket, client, (accepted, address), &server).await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    tracing::debug!(client = client.0, ?end, "session ended");
    match end {
        End::Gone => {}
        End::Refused(refusal) => {
            server.metrics.refused(refusal.code);
            let close = CloseCode::from(refusal.code.close_code());
            socket.refuse(refusal, close).await;
        }
        End::TooBig(problem) => {
            let refusal =
                Refusal { code: RefusalCode::MessageTooLarge, message: problem, retry_after: None };
            server.metrics.refused(refusal.code);
            socket.refuse(refusal, CloseCode::Size).await;
        }
        End::Protocol(problem) => socket.close(CloseCode::Protocol, &problem).await,
        End::GoingAway => socket.close(CloseCode::Away, "the server is going away").await,
    }
}

/// Talks to the client until there is a reason to stop.
async fn converse<S>(
    socket: &mut Socket<S>,
    client: ClientId,
    (accepted, address): (Instant, IpAddr),
    server: &Arc<Server>,
) -> Result<std::convert::Infallible, End>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let deadline = accepted + server.config.handshake_timeout;
    let handshake = handshake::perform(socket, client, address, server);
    let session: Session = tokio::select! {
        () = server.shutdown.cancelled() => return Err(End::GoingAway),
        done = tokio::time::timeout_at(deadline, handshake) => done.unwrap_or_else(|_| {
            Err(End::refuse(RefusalCode::Timeout, "no check-in in time"))
        })?,
    };
    participation::run(socket, session, server).await
}
