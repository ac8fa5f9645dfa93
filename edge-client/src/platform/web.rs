//! A browser's dedicated worker: WebSocket, fetch, performance.now.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fedra_data::memory::with_room;
use futures_channel::{mpsc, oneshot};
use futures_util::lock::{Mutex, OwnedMutexGuard};
use futures_util::{Stream, StreamExt};
use js_sys::{ArrayBuffer, Uint8Array};
use wasm_bindgen::prelude::{Closure, JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    BinaryType, CloseEvent, MessageChannel, MessageEvent, MessagePort, Performance, Response,
    WebSocket, WorkerGlobalScope,
};

use super::Incoming;
use crate::devices::{Trainer, TrainingError};
use crate::training::{self, Progress, Stopped};
use crate::transport::TransportError;

/// Bytes in the browser's send buffer above which the next message waits: every later
/// message, a ping too, comes after them. There is no event for room in the buffer, so
/// it is looked at again after [`LOOK_AGAIN`].
const SEND_BUFFER: u32 = 128 << 10;
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Close code where there is no better one. A close without a code is a goodbye.
const NO_GOODBYE: u16 = 4000;

thread_local! {
    static SCOPE: WorkerGlobalScope = js_sys::global().unchecked_into();
    static PERFORMANCE: Option<Performance> = SCOPE.with(WorkerGlobalScope::performance);
    static YIELDER: Option<Yielder> = Yielder::new().ok();
}

/// Time since the worker started.
pub(crate) fn now() -> Duration {
    let ms = PERFORMANCE.with(|p| p.as_ref().map_or_else(js_sys::Date::now, Performance::now));
    Duration::from_secs_f64(ms / 1e3)
}

/// Uniform in [0, 1). Spreads reconnects; nothing secret hangs on it.
pub(crate) fn jitter() -> f64 {
    js_sys::Math::random()
}

pub(crate) async fn sleep(duration: Duration) {
    gloo_timers::future::sleep(duration).await;
}

/// Lets messages and timers of this worker run.
pub(crate) async fn yield_now() {
    match YIELDER.with(|yielder| yielder.as_ref().and_then(Yielder::ask)) {
        // Dropped only with the channel, when there is nothing to yield to.
        Some(answer) => drop(answer.await),
        None => sleep(Duration::ZERO).await,
    }
}

/// A message to ourselves: unlike a timer, browsers do not delay it by 4 ms.
struct Yielder {
    port: MessagePort,
    waiting: Rc<RefCell<Vec<oneshot::Sender<()>>>>,
    _other: MessagePort,
    _listener: Closure<dyn FnMut()>,
}

impl Yielder {
    fn new() -> Result<Self, JsValue> {
        let channel = MessageChannel::new()?;
        let waiting = Rc::<RefCell<Vec<oneshot::Sender<()>>>>::default();
        let wake = waiting.clone();
        let listener = Closure::<dyn FnMut()>::new(move || {
            for waiter in wake.borrow_mut().drain(..) {
                let _ = waiter.send(());
            }
        });
        let other = channel.port2();
        other.set_onmessage(Some(listener.as_ref().unchecked_ref()));
        Ok(Self { port: channel.port1(), waiting, _other: other, _listener: listener })
    }

    fn ask(&self) -> Option<oneshot::Receiver<()>> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().push(sender);
        self.port.post_message(&JsValue::NULL).ok()?;
        Some(receiver)
    }
}

/// The browser decides by itself which authorities it trusts.
#[derive(Clone, Debug, Default)]
pub struct Trust;

/// Opens a WebSocket.
pub(crate) async fn connect(
    url: &str,
    _trust: &Trust,
) -> Result<(Sender, Receiver), TransportError> {
    let socket = WebSocket::new(url).map_err(|error| failed(&error))?;
    socket.set_binary_type(BinaryType::Arraybuffer);
    let (incoming, queue) = mpsc::unbounded();
    let (opened, open) = oneshot::channel();
    let socket = Socket::listen(socket, incoming, opened);
    match open.await {
        Ok(()) => {
            let sender = Sender { socket: socket.clone(), waiting: None };
            Ok((sender, Receiver { queue, _socket: socket }))
        }
        // The browser tells a page nothing about why.
        Err(_) => Err(TransportError::Network("no server answers there, or it refused".into())),
    }
}

/// A socket and the callbacks that it holds.
struct Socket {
    socket: WebSocket,
    _on_open: Closure<dyn FnMut()>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_close: Closure<dyn FnMut(CloseEvent)>,
}

impl Socket {
    fn listen(
        socket: WebSocket,
        incoming: mpsc::UnboundedSender<Incoming>,
        opened: oneshot::Sender<()>,
    ) -> Rc<Self> {
        let opened = Rc::new(RefCell::new(Some(opened)));
        let open = opened.clone();
        let on_open = Closure::<dyn FnMut()>::new(move || {
            if let Some(opened) = open.borrow_mut().take() {
                let _ = opened.send(());
            }
        });
        let messages = incoming.clone();
        let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
            let item = match event.data().dyn_into::<ArrayBuffer>() {
                Ok(buffer) => Incoming::Message(Uint8Array::new(&buffer).to_vec().into()),
                Err(_) => Incoming::Closed("the server sent text".into()),
            };
            // Fails only when the receiver is gone.
            let _ = messages.unbounded_send(item);
        });
        let on_close = Closure::<dyn FnMut(CloseEvent)>::new(move |event: CloseEvent| {
            // Dropping the sender tells a waiting `connect` that it failed.
            opened.borrow_mut().take();
            let reason = format!("closed with code {} {}", event.code(), event.reason());
            let _ = incoming.unbounded_send(Incoming::Closed(reason.trim_end().into()));
        });
        socket.set_onopen(Some(on_open.as_ref().unchecked_ref()));
        socket.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        socket.set_onclose(Some(on_close.as_ref().unchecked_ref()));
        Rc::new(Self { socket, _on_open: on_open, _on_message: on_message, _on_close: on_close })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.socket.set_onopen(None);
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
        // Closing a closed socket is allowed and does nothing.
        let _ = self.socket.close_with_code(NO_GOODBYE);
    }
}

/// The sending half of a socket.
pub(crate) struct Sender {
    socket: Rc<Socket>,
    /// Waits until the browser's buffer has room.
    waiting: Option<Bytes>,
}

impl Sender {
    /// Takes one binary message; the next one when this is [`Self::sent`].
    pub fn start(&mut self, message: Bytes) {
        self.waiting = Some(message);
    }

    /// Waits until the browser has the message. Nothing is lost if it is dropped on
    /// the way.
    ///
    /// # Errors
    ///
    /// [`TransportError::Network`] if the connection is gone.
    pub async fn sent(&mut self) -> Result<(), TransportError> {
        let socket = &self.socket.socket;
        while socket.buffered_amount() > SEND_BUFFER {
            sleep(LOOK_AGAIN).await;
        }
        if socket.ready_state() != WebSocket::OPEN {
            return Err(TransportError::Network("the connection is closed".into()));
        }
        match self.waiting.take() {
            Some(message) => socket.send_with_u8_array(&message).map_err(|error| failed(&error)),
            None => Ok(()),
        }
    }

    /// Says goodbye. The browser sends what it has first, and the caller need not wait.
    pub fn close(self, code: u16) -> future::Ready<()> {
        // Pages may send 1000 and 3000 to 4999 only.
        let code = if code == 1000 || code >= 3000 { code } else { NO_GOODBYE };
        let _ = self.socket.socket.close_with_code(code);
        future::ready(())
    }
}

/// The receiving half of a socket.
pub(crate) struct Receiver {
    queue: mpsc::UnboundedReceiver<Incoming>,
    _socket: Rc<Socket>,
}

impl Stream for Receiver {
    type Item = Incoming;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Incoming>> {
        self.queue.poll_next_unpin(context)
    }
}

/// GETs at most `limit` bytes.
pub(crate) async fn fetch(
    url: &str,
    limit: u64,
    _trust: &Trust,
) -> Result<Vec<u8>, TransportError> {
    let promise = SCOPE.with(|scope| scope.fetch_with_str(url));
    let response = JsFuture::from(promise).await.map_err(|error| failed(&error))?;
    let response: Response = response.unchecked_into();
    if !response.ok() {
        return Err(TransportError::Status { status: response.status(), hint: String::new() });
    }
    let body = response.array_buffer().map_err(|error| failed(&error))?;
    let body = Uint8Array::new(&JsFuture::from(body).await.map_err(|error| failed(&error))?);
    if u64::from(body.length()) > limit {
        return Err(TransportError::TooLong(limit));
    }
    let length = body.length() as usize;
    let mut bytes = with_room(length)?;
    bytes.resize(length, 0);
    body.copy_to(&mut bytes);
    Ok(bytes)
}

fn failed(error: &JsValue) -> TransportError {
    TransportError::Network(text(error))
}

fn text(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => format!("{error:?}"),
    }
}

/// Work on the worker's one thread does not stop early.
pub(crate) type WorkStopped = Infallible;

/// A turn on the worker's one thread, of training or of measuring devices.
pub(crate) type Turn = OwnedMutexGuard<()>;

/// A worker has one thread, for which training and measuring take turns.
#[derive(Clone, Debug, Default)]
pub struct TrainingSlots(Arc<Mutex<()>>);

impl TrainingSlots {
    pub(crate) async fn turn(&self) -> Turn {
        self.0.clone().lock_owned().await
    }

    /// Runs something that takes long here and now: there is no other thread.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkStopped> {
        yield_now().await;
        Ok(work())
    }

    /// Trains on this thread, yielding often. Dropping the future stops it.
    pub(crate) async fn train(
        &self,
        trainer: Trainer,
        report: impl FnMut(Progress) + Send + 'static,
    ) -> Result<Vec<f32>, TrainingError> {
        let never = AtomicBool::new(false);
        let mut turn = Some(self.turn().await);
        let pause = async || {
            turn = None;
            yield_now().await;
            turn = Some(self.turn().await);
        };
        match training::run(trainer, &never, report, pause).await {
            Ok(parameters) => Ok(parameters),
            Err(Stopped::Failed(error)) => Err(error),
            Err(Stopped::Cancelled) => unreachable!("nobody sets this flag"),
        }
    }
}
