//! Bytes of a message that is not whole yet, counted below the WebSocket, which
//! keeps all of it in memory until the last piece is there.
//!
//! Each client has a little room. Beyond that it has room for the large message that
//! it was asked for, and else only what is left of a reserve that all share. Nor may
//! a message take for ever: control frames in between are signs of life, but they do
//! not finish it. It knows nothing of what messages mean.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::server::RESERVE_UNIT as UNIT;

/// Bytes of an unfinished message that need no room: more than any message has
/// that a client may send without being asked.
pub(super) const FREE: u64 = 16 << 10;
/// Most bytes that are read together while a large message arrives that was asked for: the
/// WebSocket takes them in small pieces, and a call of the system for each costs more than
/// the pieces. Never more than the message may have, so that many short ones do not take many
/// times their room.
const AHEAD: usize = 64 << 10;
/// Header and mask of a control frame from a client (RFC 6455, 5.2).
const CONTROL_FRAME: u64 = 6;

/// Reason to reject the rest of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Excess {
    #[error("a message takes too long to arrive")]
    TooSlow,
    #[error("there is no room for a message of this length now")]
    NoRoom,
}

/// A stream that counts what is read from it.
pub(super) struct Inflow<S> {
    stream: S,
    /// Read ahead, and not counted before it is passed on.
    ahead: Option<Ahead>,
    /// Bytes since the last whole message, less control frames.
    unfinished: u64,
    /// Arrival of the first of them.
    since: Option<Instant>,
    /// Longest time that a message may take.
    patience: Duration,
    /// Bytes that the message may have now, because it was asked for.
    expected: u64,
    reserve: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    /// Bytes read from now on are dropped.
    is_discarded: bool,
}

impl<S> Inflow<S> {
    /// `reserve` is in units of [`UNIT`] bytes.
    pub(super) fn new(stream: S, patience: Duration, reserve: Arc<Semaphore>) -> Self {
        Self {
            stream,
            ahead: None,
            unfinished: 0,
            since: None,
            patience,
            expected: 0,
            reserve,
            held: None,
            is_discarded: false,
        }
    }

    /// Expects a message of `bytes` bytes, for which room has been kept elsewhere.
    pub(super) fn expect(&mut self, bytes: u64) {
        self.expected = bytes;
    }

    /// A message is whole.
    pub(super) fn finished(&mut self) {
        self.unfinished = 0;
        self.since = None;
        self.held = None;
    }

    /// Counts a whole control frame with `payload` bytes of payload; a message may be
    /// half here.
    pub(super) fn control(&mut self, payload: usize) {
        self.unfinished = self.unfinished.saturating_sub(CONTROL_FRAME + payload as u64);
        if self.unfinished == 0 {
            self.finished();
        }
    }

    /// Drops all further bytes without counting them.
    pub(super) fn discard(&mut self) {
        self.finished();
        self.is_discarded = true;
    }

    fn count(&mut self, bytes: u64) -> Result<(), Excess> {
        if bytes == 0 || self.is_discarded {
            return Ok(());
        }
        self.unfinished += bytes;
        self.since.get_or_insert_with(Instant::now);
        let held = self.held.as_ref().map_or(0, |held| held.num_permits() as u64 * UNIT);
        let excess = self.unfinished.saturating_sub(self.expected.max(FREE) + held);
        if excess == 0 {
            return Ok(());
        }
        let units = u32::try_from(excess.div_ceil(UNIT)).map_err(|_| Excess::NoRoom)?;
        let more = Arc::clone(&self.reserve).try_acquire_many_owned(units);
        let more = more.map_err(|_| Excess::NoRoom)?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }

    /// True if so large a message is to come that reading ahead pays.
    fn expects_much(&self) -> bool {
        self.expected > FREE && !self.is_discarded
    }

    fn is_too_slow(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() > self.patience)
    }
}

/// Bytes that were read together and are passed on in pieces.
struct Ahead {
    bytes: Box<[u8]>,
    /// Place of the bytes that have not been passed on.
    rest: Range<usize>,
}

impl Ahead {
    fn new(bytes: usize) -> Self {
        Self { bytes: vec![0; bytes].into(), rest: 0..0 }
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads once; nothing at the end of the stream.
    fn poll_fill(
        &mut self,
        stream: Pin<&mut impl AsyncRead>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut buffer = ReadBuf::new(&mut self.bytes);
        ready!(stream.poll_read(context, &mut buffer))?;
        self.rest = 0..buffer.filled().len();
        Poll::Ready(Ok(()))
    }

    fn pass_on(&mut self, buffer: &mut ReadBuf<'_>) {
        let end = self.rest.end.min(self.rest.start + buffer.remaining());
        buffer.put_slice(&self.bytes[self.rest.start..end]);
        self.rest.start = end;
    }
}

/// The excess behind an error of this stream, if it is one.
pub(super) fn excess(error: &io::Error) -> Option<Excess> {
    error.get_ref()?.downcast_ref().copied()
}

impl<S: AsyncRead + Unpin> AsyncRead for Inflow<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let has_more = self.ahead.as_ref().is_some_and(|ahead| !ahead.is_empty());
        // Not for each piece of what is here already: the clock costs more than the piece.
        if !has_more && self.is_too_slow() {
            return Poll::Ready(Err(io::Error::other(Excess::TooSlow)));
        }
        let before = buffer.filled().len();
        let expects_much = self.expects_much();
        let Self { stream, ahead, expected, .. } = &mut *self;
        if expects_much || has_more {
            let ahead =
                ahead.get_or_insert_with(|| Ahead::new((*expected).min(AHEAD as u64) as usize));
            if ahead.is_empty() {
                ready!(ahead.poll_fill(Pin::new(stream), context))?;
            }
            ahead.pass_on(buffer);
        } else {
            *ahead = None;
            ready!(Pin::new(stream).poll_read(context, buffer))?;
        }
        let read = buffer.filled().len() - before;
        Poll::Ready(self.count(read as u64).map_err(io::Error::other))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Inflow<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn pair(reserve: usize) -> (DuplexStream, Inflow<DuplexStream>, Arc<Semaphore>) {
        let (client, server) = duplex(1 << 20);
        let reserve = Arc::new(Semaphore::new(reserve));
        (client, Inflow::new(server, PATIENCE, Arc::clone(&reserve)), reserve)
    }

    /// Sends `bytes` bytes and reads them.
    async fn pass(
        client: &mut DuplexStream,
        inflow: &mut Inflow<DuplexStream>,
        bytes: u64,
    ) -> Result<(), Excess> {
        let bytes = vec![7; bytes as usize];
        client.write_all(&bytes).await.expect("there is room");
        let mut read = vec![0; bytes.len()];
        inflow
            .read_exact(&mut read)
            .await
            .map(|_| ())
            .map_err(|error| excess(&error).expect("an excess"))
    }

    #[tokio::test]
    async fn a_little_is_free_and_more_comes_from_the_reserve_until_the_message_is_whole() {
        let (mut client, mut inflow, reserve) = pair(8);
        pass(&mut client, &mut inflow, FREE).await.expect("free");
        assert_eq!(reserve.available_permits(), 8);
        pass(&mut client, &mut inflow, 1).await.expect("from the reserve");
        pass(&mut client, &mut inflow, 2 * UNIT).await.expect("from the reserve");
        assert_eq!(reserve.available_permits(), 5);
        inflow.finished();
        assert_eq!(reserve.available_permits(), 8);
        let much = FREE + 9 * UNIT;
        assert_eq!(pass(&mut client, &mut inflow, much).await, Err(Excess::NoRoom));
        drop(inflow);
        assert_eq!(reserve.available_permits(), 8);
    }

    #[tokio::test]
    async fn what_was_asked_for_needs_no_reserve() {
        let (mut client, mut inflow, _reserve) = pair(0);
        inflow.expect(256 << 10);
        pass(&mut client, &mut inflow, 256 << 10).await.expect("expected");
        assert_eq!(pass(&mut client, &mut inflow, 1).await, Err(Excess::NoRoom));
        inflow.finished();
        inflow.expect(0);
        assert_eq!(pass(&mut client, &mut inflow, FREE + 1).await, Err(Excess::NoRoom));
    }

    /// A stream of zeros that counts how often it is read.
    struct Counted(usize);

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.0 += 1;
            buffer.initialize_unfilled();
            buffer.advance(buffer.remaining());
            Poll::Ready(Ok(()))
        }
    }

    /// Reads as the WebSocket does.
    async fn read_in_pieces(inflow: &mut Inflow<Counted>, bytes: usize) {
        let mut piece = [0; 512];
        for _ in 0..bytes / piece.len() {
            inflow.read_exact(&mut piece).await.expect("there is room");
        }
    }

    #[tokio::test]
    async fn a_large_message_that_was_asked_for_is_read_in_large_pieces() {
        let mut inflow = Inflow::new(Counted(0), PATIENCE, Arc::new(Semaphore::new(0)));
        read_in_pieces(&mut inflow, 8 << 10).await;
        assert_eq!(inflow.stream.0, 16);
        inflow.finished();
        inflow.expect(256 << 10);
        read_in_pieces(&mut inflow, 256 << 10).await;
        assert_eq!(inflow.stream.0, 16 + (256 << 10) / AHEAD);
        inflow.finished();
        inflow.expect(0);
        read_in_pieces(&mut inflow, 512).await;
        assert_eq!(inflow.stream.0, 16 + (256 << 10) / AHEAD + 1);
        assert!(inflow.ahead.is_none(), "an idle connection keeps no buffer");
        inflow.expect(FREE + 1);
        read_in_pieces(&mut inflow, 512).await;
        let buffer = inflow.ahead.as_ref().map(|ahead| ahead.bytes.len() as u64);
        assert_eq!(buffer, Some(FREE + 1), "no more than the message may have");
    }

    #[tokio::test]
    async fn what_was_read_ahead_keeps_its_order_and_counts_when_it_is_passed_on() {
        let (mut client, mut inflow, _reserve) = pair(0);
        let sent: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        client.write_all(&sent).await.expect("there is room");
        drop(client);
        let mut read = vec![0; 100];
        inflow.expect(150_000);
        inflow.read_exact(&mut read).await.expect("expected");
        assert_eq!(inflow.unfinished, 100);
        // No more is expected: what was read ahead comes first, then the rest.
        inflow.expect(0);
        inflow.finished();
        inflow.discard();
        inflow.read_to_end(&mut read).await.expect("thrown away");
        assert_eq!(read, sent);
    }

    /// A stream whose messages have no time at all.
    fn impatient() -> (DuplexStream, Inflow<DuplexStream>) {
        let (client, server) = duplex(1 << 20);
        (client, Inflow::new(server, Duration::ZERO, Arc::new(Semaphore::new(0))))
    }

    #[tokio::test]
    async fn signs_of_life_do_not_give_an_unfinished_message_more_time() {
        let (mut client, mut inflow) = impatient();
        pass(&mut client, &mut inflow, 100 + 6 + 5).await.expect("a beginning, and a ping");
        inflow.control(5);
        let since = inflow.since.expect("something is unfinished");
        while since.elapsed() == Duration::ZERO {}
        assert_eq!(pass(&mut client, &mut inflow, 1).await, Err(Excess::TooSlow));
    }

    #[tokio::test]
    async fn signs_of_life_alone_are_no_message_and_each_message_has_its_own_time() {
        let (mut client, mut inflow) = impatient();
        for payload in [0, 5, 125] {
            pass(&mut client, &mut inflow, 6 + payload).await.expect("a ping");
            inflow.control(payload as usize);
            pass(&mut client, &mut inflow, 50).await.expect("a message");
            inflow.finished();
        }
    }

    #[tokio::test]
    async fn what_is_thrown_away_is_not_counted() {
        let (mut client, mut inflow, _reserve) = pair(0);
        assert_eq!(pass(&mut client, &mut inflow, FREE + 1).await, Err(Excess::NoRoom));
        inflow.discard();
        pass(&mut client, &mut inflow, 2 * FREE).await.expect("thrown away");
    }
}
