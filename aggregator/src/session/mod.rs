//! One client's WebSocket from the upgrade to the close.
//!
//! The session itself is a machine of `fedra-coordinator`; here are its socket, its
//! driver, and the end of the connection.

mod admission;
mod drive;
mod inflow;
mod socket;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fedra_protocol::{Refusal, RefusalCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tracing::Instrument;

use fedra_coordinator::messages::Departure;

use crate::metrics::SessionEnd;
use crate::server::Server;
use drive::SessionDriver;
use inflow::Excess;
use socket::{Socket, SocketError};

/// End of a session.
#[derive(Debug)]
pub(crate) enum End {
    /// The client said goodbye.
    Closed,
    /// The connection broke.
    Lost,
    /// The client does not read what it is sent.
    NotReading,
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

    /// The kind of departure: it tells if the client may come back to where it was.
    pub(crate) fn departure(&self) -> Departure {
        match self {
            Self::Lost | Self::NotReading => Departure::Lost,
            Self::Refused(refusal) => Departure::after(refusal),
            _ => Departure::Closed,
        }
    }

    /// The reason for the session's end, for the metrics.
    fn reason(&self) -> SessionEnd {
        match self {
            Self::Closed => SessionEnd::Closed,
            Self::Lost => SessionEnd::Lost,
            Self::NotReading => SessionEnd::Slow,
            Self::Refused(refusal) => match refusal.code {
                RefusalCode::Timeout => SessionEnd::Idle,
                RefusalCode::Replaced => SessionEnd::Replaced,
                RefusalCode::NotSelected => SessionEnd::SentAway,
                _ => SessionEnd::Refused,
            },
            Self::Protocol(_) => SessionEnd::Protocol,
            Self::TooBig(_) => SessionEnd::TooBig,
            Self::GoingAway => SessionEnd::GoingAway,
        }
    }
}

impl From<SocketError> for End {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Closed => Self::Closed,
            SocketError::Broken => Self::Lost,
            SocketError::NotReading => Self::NotReading,
            SocketError::Protocol(problem) => Self::Protocol(problem),
            SocketError::TooBig(problem) => Self::TooBig(problem),
            SocketError::Excess(excess) => {
                let (code, retry_after) = match excess {
                    Excess::TooSlow => (RefusalCode::Timeout, None),
                    Excess::NoRoom => (RefusalCode::Overloaded, Some(RETRY)),
                };
                Self::Refused(Refusal { code, message: excess.to_string(), retry_after })
            }
        }
    }
}

/// Time until a client may come back to a server that stops, or has no room.
const RETRY: Duration = Duration::from_secs(5);

/// Source address of a WebSocket, and the time of its opening.
#[derive(Debug, Clone, Copy)]
struct Origin {
    opened: Instant,
    address: IpAddr,
}

/// Serves one client over its connection, once that is upgraded.
///
/// Most sessions wait, and each keeps this future: what is handed down by value would be in
/// it once more for each function.
pub(crate) async fn serve(
    upgrade: OnUpgrade,
    opened: Instant,
    address: IpAddr,
    server: Arc<Server>,
) {
    let stream = match upgrade.await {
        Ok(stream) => TokioIo::new(stream),
        Err(error) => return tracing::debug!(%error, "the upgrade failed"),
    };
    let id = format!("{:016x}", rand::random::<u64>());
    let span = tracing::info_span!("session", session = id, round = tracing::field::Empty);
    server.metrics.sessions.up();
    let (patience, reserve) = (server.config.idle_timeout, Arc::clone(&server.reserve));
    let mut socket = Socket::new(stream, patience, reserve).await;
    let mut driver = SessionDriver::new(&mut socket, Origin { opened, address }, id, &server);
    let end = driver.run().instrument(span.clone()).await;
    driver.leave(&end);
    span.in_scope(|| tracing::debug!(?end, "session ended"));
    server.metrics.session_ended(end.reason());
    // Its buffers must not be part of every session's future.
    Box::pin(farewell(socket, end, &server).instrument(span)).await;
    server.metrics.sessions.down();
}

/// Tells the client, if it is still connected, why the session ends.
async fn farewell<S>(socket: Socket<S>, end: End, server: &Server)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    match end {
        End::Closed | End::Lost | End::NotReading => {}
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
        End::GoingAway => {
            let refusal = Refusal {
                code: RefusalCode::ShuttingDown,
                message: "the server is going away; come back in a moment".to_owned(),
                retry_after: Some(RETRY),
            };
            socket.refuse(refusal, CloseCode::Away).await;
        }
    }
}
