//! Messages over one WebSocket: encoding, size limits, and writes that do not
//! wait for ever.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fedra_protocol::limits::MAX_MESSAGE_BYTES;
use fedra_protocol::{Refusal, ServerMessage};
use futures_util::{SinkExt, StreamExt};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use super::inflow::{self, Excess, Inflow};
use crate::task::Task;

/// Every connection keeps one, so it is small: most messages fit, and the pieces of
/// an update are read in many.
const READ_BUFFER: usize = 512;
/// Room for the largest server message several times over.
const WRITE_BUFFER: usize = 256 << 10;
/// Longest time for a peer to close, and most bytes that it may still send meanwhile.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 8 << 20;
/// Longest reason in a close frame, bytes (RFC 6455: 125 with the code).
const REASON_BYTES: usize = 120;

/// Reason for which nothing more can be read or written.
#[derive(Debug, Error)]
pub(super) enum SocketError {
    #[error("the client has closed the connection")]
    Closed,
    #[error("the connection is broken")]
    Broken,
    #[error("the client does not read")]
    NotReading,
    #[error("not WebSocket: {0}")]
    Protocol(String),
    #[error("too big: {0}")]
    TooBig(String),
    #[error(transparent)]
    Excess(#[from] Excess),
}

/// Incoming frame or message.
#[derive(Debug)]
pub(super) enum Incoming {
    /// One binary message.
    Message(Bytes),
    /// A text message, which the protocol does not have.
    Text,
    /// A ping or pong: a sign of life.
    Control,
}

pub(super) struct Socket<S> {
    stream: WebSocketStream<Inflow<S>>,
    write_timeout: Duration,
    /// Framing is lost: no further WebSocket frame can be decoded.
    is_garbled: bool,
    /// Counts the bytes, once the client has checked in.
    task: Option<Arc<Task>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket<S> {
    /// A write, and the arrival of one message, may take `patience`. What is held of
    /// unfinished messages beyond the ordinary comes out of `reserve`.
    pub(super) async fn new(stream: S, patience: Duration, reserve: Arc<Semaphore>) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER)
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let stream = Inflow::new(stream, patience, reserve);
        let stream = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        Self { stream, write_timeout: patience, is_garbled: false, task: None }
    }

    /// Counts bytes for this task from now on.
    pub(super) fn count_for(&mut self, task: Arc<Task>) {
        self.task = Some(task);
    }

    /// Expects a message of `bytes` bytes that the client has been asked for. There is
    /// room for it.
    pub(super) fn expect(&mut self, bytes: u64) {
        self.stream.get_mut().expect(bytes);
    }

    /// The next frame that means something. Safe to cancel.
    pub(super) async fn receive(&mut self) -> Result<Incoming, SocketError> {
        match self.stream.next().await {
            None => Err(SocketError::Broken),
            Some(Err(error)) => {
                self.is_garbled = true;
                Err(sort(error))
            }
            Some(Ok(message)) => {
                if let Some(task) = &self.task {
                    task.received(message.len());
                }
                let inflow = self.stream.get_mut();
                match &message {
                    Message::Ping(payload) | Message::Pong(payload) => {
                        inflow.control(payload.len());
                    }
                    _ => inflow.finished(),
                }
                match message {
                    Message::Binary(bytes) => Ok(Incoming::Message(bytes)),
                    Message::Text(_) => Ok(Incoming::Text),
                    Message::Close(frame) if is_goodbye(frame.as_ref()) => Err(SocketError::Closed),
                    Message::Close(_) => Err(SocketError::Broken),
                    _ => Ok(Incoming::Control),
                }
            }
        }
    }

    /// Sends one message; a client that does not read is as good as gone.
    pub(super) async fn send(&mut self, message: &ServerMessage) -> Result<(), SocketError> {
        self.write(Message::Binary(message.encode())).await
    }

    async fn write(&mut self, message: Message) -> Result<(), SocketError> {
        if let Some(task) = &self.task {
            task.sent(message.len());
        }
        match timeout(self.write_timeout, self.stream.send(message)).await {
            Ok(sent) => sent.map_err(sort),
            Err(_) => Err(SocketError::NotReading),
        }
    }

    /// Sends the refusal, then closes.
    pub(super) async fn refuse(mut self, refusal: Refusal, code: CloseCode) {
        let reason = refusal.message.clone();
        if self.send(&ServerMessage::Refusal(refusal)).await.is_ok() {
            self.close(code, &reason).await;
        }
    }

    /// Closes and gives the client a moment to take note: a socket that is
    /// dropped with unread bytes is reset, and the reason would be lost.
    pub(super) async fn close(mut self, code: CloseCode, reason: &str) {
        let end = reason.floor_char_boundary(REASON_BYTES);
        let frame = CloseFrame { code, reason: reason[..end].into() };
        if self.write(Message::Close(Some(frame))).await.is_err() {
            return;
        }
        // A client that is slow to answer is dropped all the same.
        let _ = timeout(LINGER, self.drain()).await;
    }

    async fn drain(mut self) {
        while !self.is_garbled {
            match self.stream.next().await {
                Some(Ok(_)) => {}
                Some(Err(_)) => self.is_garbled = true,
                None => return,
            }
        }
        // The rest is thrown away, and so is the beginning of a message.
        let mut stream = self.stream.into_inner();
        stream.discard();
        let mut rest = stream.take(LINGER_BYTES);
        let mut buffer = [0; 4096];
        while rest.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    }
}

/// True if a client that closes like this will not go on with its round on another
/// connection.
fn is_goodbye(frame: Option<&CloseFrame>) -> bool {
    frame.is_none_or(|frame| matches!(frame.code, CloseCode::Normal | CloseCode::Away))
}

fn sort(error: WsError) -> SocketError {
    match error {
        WsError::Capacity(error) => SocketError::TooBig(error.to_string()),
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => SocketError::Broken,
        WsError::Protocol(error) => SocketError::Protocol(error.to_string()),
        WsError::Utf8(_) => SocketError::Protocol("a text is not UTF-8".to_owned()),
        WsError::Io(error) => inflow::excess(&error).map_or(SocketError::Broken, Into::into),
        _ => SocketError::Broken,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// A socket that is dropped with unread bytes is reset, and what it has said
    /// may be lost.
    #[tokio::test]
    async fn the_rest_of_a_message_that_is_too_big_is_read_and_thrown_away() {
        let (mut client, server) = tokio::io::duplex(1 << 10);
        let reserve = Arc::new(Semaphore::new(0));
        let mut socket = Socket::new(server, Duration::from_secs(60), reserve).await;
        let length = (MAX_MESSAGE_BYTES as u64 + 1).to_be_bytes();
        let head = [&[0x82, 0xff][..], &length, &[0; 4]].concat();
        let peer = async {
            client.write_all(&head).await?;
            client.write_all(&vec![0; MAX_MESSAGE_BYTES + 1]).await?;
            client.shutdown().await?;
            let mut said = Vec::new();
            client.read_to_end(&mut said).await.map(|_| said)
        };
        let server = async {
            assert!(matches!(socket.receive().await, Err(SocketError::TooBig(_))));
            socket.close(CloseCode::Size, "too big").await;
        };
        let (said, ()) = tokio::join!(peer, server);
        let said = said.expect("all of it was read");
        assert_eq!(said[..4], [0x88, 9, 0x03, 0xf1], "a close with code 1009");
    }

    #[test]
    fn a_client_that_means_to_come_back_does_not_say_goodbye() {
        let with = |code: u16| Some(CloseFrame { code: code.into(), reason: "".into() });
        for (frame, goodbye) in [
            (None, true),
            (with(1000), true),
            (with(1001), true),
            (with(1002), false),
            (with(4000), false),
        ] {
            assert_eq!(is_goodbye(frame.as_ref()), goodbye, "{frame:?}");
        }
    }
}
