//! A native process: tokio, tokio-tungstenite, hyper, rustls.

mod dial;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fedra_protocol::limits::MAX_MESSAGE_BYTES;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, Stream, StreamExt};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderMap, LOCATION};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use self::dial::{Connection, dial, is_encrypted};
use super::Incoming;
use crate::devices::{Trainer, TrainingError};
use crate::training::{self, Progress, Stopped};
use crate::transport::TransportError;

pub use self::dial::Trust;

type Socket = WebSocketStream<Connection>;

/// Time that the other side may take to make room for a goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Time since the first call.
pub(crate) fn now() -> Duration {
    START.elapsed()
}

/// Uniform in [0, 1).
pub(crate) fn jitter() -> f64 {
    rand::random()
}

pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Lets other tasks of this thread run.
pub(crate) async fn yield_now() {
    tokio::task::yield_now().await;
}

/// Opens a WebSocket.
pub(crate) async fn connect(
    url: &str,
    trust: &Trust,
) -> Result<(Sender, Receiver), TransportError> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES))
        .read_buffer_size(16 << 10);
    let address = address(url)?;
    let connection = dial(&address, trust).await?;
    let (socket, _) = client_async_with_config(url, connection, Some(config))
        .await
        .map_err(|error| not_opened(error, &address))?;
    let (sink, stream) = socket.split();
    Ok((Sender { sink, waiting: None }, Receiver(stream)))
}

fn not_opened(error: SocketError, address: &Uri) -> TransportError {
    match error {
        SocketError::Http(answer) => refused(answer.status(), answer.headers(), address),
        SocketError::Protocol(
            ProtocolError::HttparseError(_) | ProtocolError::HandshakeIncomplete,
        ) => not_http(&error, address),
        error => TransportError::Network(error.to_string()),
    }
}

/// The sending half of a socket.
pub(crate) struct Sender {
    sink: SplitSink<Socket, Message>,
    /// Does not go into the socket before the last message is out.
    waiting: Option<Message>,
}

impl Sender {
    /// Takes one binary message; the next one when this is [`Self::sent`].
    pub fn start(&mut self, message: Bytes) {
        self.waiting = Some(Message::Binary(message));
    }

    /// Waits until the message is sent. Nothing is lost if it is dropped on the way.
    ///
    /// # Errors
    ///
    /// [`TransportError::Network`] if the connection is gone.
    pub async fn sent(&mut self) -> Result<(), TransportError> {
        let sent = poll_fn(|context| {
            if self.waiting.is_some() {
                ready!(self.sink.poll_ready_unpin(context))?;
            }
            if let Some(message) = self.waiting.take() {
                self.sink.start_send_unpin(message)?;
            }
            self.sink.poll_flush_unpin(context)
        });
        sent.await.map_err(|error: SocketError| TransportError::Network(error.to_string()))
    }

    /// Says goodbye in the background, after the rest of a message that is on its way.
    /// The future is ready when that is done.
    pub fn close(mut self, code: u16) -> impl Future<Output = ()> + 'static {
        let frame = CloseFrame { code: code.into(), reason: "".into() };
        let closing = tokio::spawn(async move {
            // A peer that is gone, or takes nothing, needs no goodbye.
            let goodbye = self.sink.send(Message::Close(Some(frame)));
            let _ = tokio::time::timeout(GOODBYE_TIMEOUT, goodbye).await;
        });
        async move {
            // Fails only with the runtime, when no task waits any more.
            let _ = closing.await;
        }
    }
}

/// The receiving half of a socket.
pub(crate) struct Receiver(SplitStream<Socket>);

impl Stream for Receiver {
    type Item = Incoming;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Incoming>> {
        loop {
            let Some(item) = ready!(self.0.poll_next_unpin(context)) else {
                return Poll::Ready(None);
            };
            return Poll::Ready(Some(match item {
                Ok(Message::Binary(bytes)) => Incoming::Message(bytes),
                // Answered by the library.
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                Ok(Message::Close(frame)) => Incoming::Closed(
                    frame.map_or_else(|| "closed".into(), |frame| frame.to_string()),
                ),
                Ok(Message::Text(_)) => Incoming::Closed("the server sent text".into()),
                Err(error) => Incoming::Closed(error.to_string()),
            }));
        }
    }
}

/// GETs at most `limit` bytes. Follows no redirect. Keeps no connection: one that the
/// server closes at the moment it is used again would cost a round.
pub(crate) async fn fetch(url: &str, limit: u64, trust: &Trust) -> Result<Vec<u8>, TransportError> {
    let address = address(url)?;
    let connection = dial(&address, trust).await?;
    let broken = |error: hyper::Error| {
        if error.is_parse() || error.is_incomplete_message() {
            return not_http(&error, &address);
        }
        TransportError::Network(error.to_string())
    };
    let (mut requests, connection) =
        http1::handshake(TokioIo::new(connection)).await.map_err(broken)?;
    // Ends with this function.
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let path = address.path_and_query().map_or("/", |path| path.as_str());
    let host = address.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(path).header(HOST, host).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| TransportError::Network(error.to_string()))?;
    let answer = requests.send_request(request).await.map_err(broken)?;
    if answer.status() != StatusCode::OK {
        return Err(refused(answer.status(), answer.headers(), &address));
    }
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    match Limited::new(answer.into_body(), most).collect().await {
        Ok(body) => Ok(body.to_bytes().to_vec()),
        Err(error) if error.is::<LengthLimitError>() => Err(TransportError::TooLong(limit)),
        Err(error) => Err(TransportError::Network(error.to_string())),
    }
}

fn address(url: &str) -> Result<Uri, TransportError> {
    url.parse().map_err(|error| TransportError::Network(format!("{url}: {error}")))
}

/// Meaning of an answer that is not the one that was asked for.
fn refused(status: StatusCode, headers: &HeaderMap, address: &Uri) -> TransportError {
    let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
    let hint = match location {
        Some(location) if status.is_redirection() => {
            format!(" and points to {location}, which is not followed; give that address instead")
        }
        _ if status == StatusCode::BAD_REQUEST && !is_encrypted(address) => {
            "; if it speaks TLS on this port, the address begins with https:// or wss://".to_owned()
        }
        _ => String::new(),
    };
    TransportError::Status { status: status.as_u16(), hint }
}

/// Under TLS an answer that is not HTTP is just a broken one.
fn not_http(error: &dyn std::error::Error, address: &Uri) -> TransportError {
    match is_encrypted(address) {
        true => TransportError::Network(error.to_string()),
        false => TransportError::NotHttp,
    }
}

/// The thread of some work has panicked.
pub(crate) type WorkStopped = tokio::task::JoinError;

/// A turn to measure devices. Training has threads of its own here, so it need not wait.
pub(crate) struct Turn;

/// Number of clients of this process that may train at the same time.
#[derive(Clone, Debug)]
pub struct TrainingSlots(Arc<Semaphore>);

impl TrainingSlots {
    /// `slots` threads' worth.
    pub fn new(slots: usize) -> Self {
        Self(Arc::new(Semaphore::new(slots)))
    }

    pub(crate) async fn turn(&self) -> Turn {
        Turn
    }

    /// Runs something that takes long on a thread for blocking work.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkStopped> {
        let slot = self.0.clone().acquire_owned().await;
        let running = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work()
        });
        running.await
    }

    /// Trains on a thread for blocking work. Dropping the future stops it.
    pub(crate) async fn train(
        &self,
        trainer: Trainer,
        report: impl FnMut(Progress) + Send + 'static,
    ) -> Result<Vec<f32>, TrainingError> {
        struct StopOnDrop(Arc<AtomicBool>);
        impl Drop for StopOnDrop {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let slot = self.0.clone().acquire_owned().await;
        let cancelled = Arc::new(AtomicBool::new(false));
        let _stop = StopOnDrop(cancelled.clone());
        let training = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            // Nothing else waits for this thread.
            let pause = async || {};
            pollster::block_on(training::run(trainer, &cancelled, report, pause))
        });
        match training.await {
            Ok(Ok(parameters)) => Ok(parameters),
            Ok(Err(Stopped::Failed(error))) => Err(error),
            Ok(Err(Stopped::Cancelled)) => Err(TrainingError::Ended("it was cancelled".into())),
            Err(panic) => Err(TrainingError::Ended(panic.to_string())),
        }
    }
}
