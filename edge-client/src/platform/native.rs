//! A native process: tokio, tokio-tungstenite, hyper.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fedra_learning::{Backend, LearningError, LocalTrainer};
use fedra_protocol::limits::MAX_MESSAGE_BYTES;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, Stream, StreamExt};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::Incoming;
use crate::training::{self, Progress, Stopped};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How long the other side may take to make room for a goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Keeps no connection: one that the server closes at the moment it is used again
/// would cost a round.
static HTTP: LazyLock<Client<HttpConnector, Empty<Bytes>>> =
    LazyLock::new(|| Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http());

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
pub(crate) async fn connect(url: &str) -> Result<(Sender, Receiver), String> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES))
        .read_buffer_size(16 << 10);
    let (socket, _) = connect_async_with_config(url, Some(config), true)
        .await
        .map_err(|error| error.to_string())?;
    let (sink, stream) = socket.split();
    Ok((Sender { sink, waiting: None }, Receiver(stream)))
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
    pub async fn sent(&mut self) -> Result<(), String> {
        let sent = poll_fn(|context| {
            if self.waiting.is_some() {
                ready!(self.sink.poll_ready_unpin(context))?;
            }
            if let Some(message) = self.waiting.take() {
                self.sink.start_send_unpin(message)?;
            }
            self.sink.poll_flush_unpin(context)
        });
        sent.await.map_err(|error| error.to_string())
    }

    /// Says goodbye in the background, after what of a message is on its way.
    /// What comes out is done when that is.
    pub fn close(mut self, code: u16) -> impl Future<Output = ()> + 'static {
        let frame = CloseFrame { code: code.into(), reason: "".into() };
        let closing = tokio::spawn(async move {
            // A peer that is gone, or takes nothing, needs no goodbye.
            let goodbye = self.sink.send(Message::Close(Some(frame)));
            let _ = tokio::time::timeout(GOODBYE_TIMEOUT, goodbye).await;
        });
        async move {
            // Fails only with the runtime, when nobody waits any more.
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

/// GETs at most `limit` bytes.
pub(crate) async fn fetch(url: &str, limit: u64) -> Result<Vec<u8>, String> {
    let uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
    let response = HTTP.get(uri).await.map_err(|error| error.to_string())?;
    if !response.status().is_success() {
        return Err(format!("the server answered {}", response.status()));
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let body = Limited::new(response.into_body(), limit).collect().await;
    Ok(body.map_err(|error| error.to_string())?.to_bytes().to_vec())
}

/// A turn to measure devices. Training has threads of its own here, so it need not wait.
pub(crate) struct Turn;

/// How many clients of this process may train at the same time.
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
    ) -> Result<T, String> {
        let slot = self.0.clone().acquire_owned().await;
        let running = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work()
        });
        running.await.map_err(|panic| panic.to_string())
    }

    /// Trains on a thread for blocking work. Dropping the future stops it.
    pub(crate) async fn train(
        &self,
        mut trainer: LocalTrainer,
        backend: Backend,
        report: impl FnMut(Progress) + Send + 'static,
    ) -> Result<Vec<f32>, LearningError> {
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
            pollster::block_on(training::run(&mut trainer, backend, &cancelled, report, pause))
        });
        let failed = |message: String| LearningError::Device { backend, message };
        match training.await {
            Ok(Ok(parameters)) => Ok(parameters),
            Ok(Err(Stopped::Failed(error))) => Err(error),
            Ok(Err(Stopped::Cancelled)) => Err(failed("training was cancelled".into())),
            Err(panic) => Err(failed(panic.to_string())),
        }
    }
}
