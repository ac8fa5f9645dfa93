//! Connections whose peer must take what it is sent: one that takes nothing for too
//! long is broken off. Otherwise a client that never reads would keep an answer, and
//! its place, for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::keep_alive::Signals;

/// A stream with a limit on the time that a write may wait. The timer is there
/// only while one waits, so that an idle connection takes no more memory.
pub(super) struct Impatient<S> {
    stream: S,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    /// Are told of what comes in.
    signals: Arc<Signals>,
}

impl<S> Impatient<S> {
    pub(super) fn new(stream: S, patience: Duration, signals: Arc<Signals>) -> Self {
        Self { stream, patience, waiting: None, signals }
    }

    /// Passes on what came of a write, unless it has waited for too long.
    fn judge<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let timer = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.signals.hear();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(shut, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::poll;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_broken_off() {
        let (here, _there) = duplex(4);
        let mut stream = Impatient::new(here, Duration::from_millis(20), Arc::default());
        let error = stream.write_all(b"too much").await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_peer_that_takes_something_gets_its_time_again() {
        let (here, mut there) = duplex(1);
        let mut stream = Impatient::new(here, Duration::from_secs(3600), Arc::default());
        for byte in *b"slow" {
            stream.write_all(&[byte]).await.expect("there is room for one");
            assert!(stream.waiting.is_none());
            let next = [byte];
            let mut waiting = Box::pin(stream.write_all(&next));
            assert!(poll!(waiting.as_mut()).is_pending());
            assert_eq!(there.read_u8().await.expect("reads"), byte);
            waiting.await.expect("there is room again");
            assert_eq!(there.read_u8().await.expect("reads"), byte);
        }
        assert!(stream.waiting.is_none());
    }
}
