//! Time limits on waiting for a request: one for its head, and a longer one for a
//! connection that has had an answer and is kept for the next request.
//!
//! The longer one ends with the first byte of a head. When all places for connections
//! are taken, the connection that has been idle longest is closed first.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt;
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};

/// Signals between a connection's stream, its timer and its task.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// Bytes have come since the wait for a request began.
    heard: AtomicBool,
    dismissal: Notify,
}

impl Signals {
    /// Notes that the peer has sent something.
    pub(super) fn hear(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Resolves when the connection is to make room for another.
    pub(super) async fn dismissed(&self) {
        self.dismissal.notified().await;
    }
}

/// Connections that have had an answer and wait for the next request, the one that
/// has waited longest first.
#[derive(Debug, Default)]
pub(super) struct IdleConnections {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    connections: BTreeMap<u64, Arc<Signals>>,
}

impl IdleConnections {
    /// Asks the connection that has been idle longest to close. Returns whether there
    /// was one.
    pub(super) fn dismiss_oldest(&self) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = waiting.connections.pop_first();
        oldest.inspect(|(_, signals)| signals.dismissal.notify_one()).is_some()
    }

    fn enter(self: &Arc<Self>, signals: &Arc<Signals>) -> Entry {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let number = waiting.next;
        waiting.next += 1;
        waiting.connections.insert(number, Arc::clone(signals));
        Entry { number, idle: Arc::clone(self) }
    }
}

/// A connection's entry among the idle ones, for as long as it is one.
struct Entry {
    number: u64,
    idle: Arc<IdleConnections>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut waiting = self.idle.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.connections.remove(&self.number);
    }
}

/// The timer of one connection. hyper starts it when it begins to wait for a request
/// and drops it when it has the whole head.
pub(super) struct RequestTimer {
    signals: Arc<Signals>,
    idle: Arc<IdleConnections>,
    /// Time from the connection, or from the first byte, to the whole head of a request.
    head: Duration,
    /// Time from an answer to the first byte of the next request.
    keep_alive: Duration,
    answered: AtomicBool,
}

impl RequestTimer {
    pub(super) fn new(
        signals: Arc<Signals>,
        idle: Arc<IdleConnections>,
        head: Duration,
        keep_alive: Duration,
    ) -> Self {
        Self { signals, idle, head, keep_alive, answered: AtomicBool::new(false) }
    }
}

impl rt::Timer for RequestTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn rt::Sleep>> {
        self.signals.heard.store(false, Ordering::Relaxed);
        let is_idle = self.answered.swap(true, Ordering::Relaxed);
        Box::pin(RequestWait {
            sleep: Box::pin(sleep(if is_idle { self.keep_alive } else { self.head })),
            signals: Arc::clone(&self.signals),
            head: self.head,
            stage: if is_idle { Stage::Answered(Arc::clone(&self.idle)) } else { Stage::Head },
        })
    }

    /// The deadline is hyper's idea of the time for a head.
    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn rt::Sleep>> {
        self.sleep(self.head)
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }
}

/// The wait for one request.
struct RequestWait {
    sleep: Pin<Box<Sleep>>,
    signals: Arc<Signals>,
    head: Duration,
    stage: Stage,
}

enum Stage {
    /// There was an answer, and the next request may be there already.
    Answered(Arc<IdleConnections>),
    Idle {
        _entry: Entry,
    },
    /// The head of a request is coming.
    Head,
}

impl Future for RequestWait {
    type Output = ();

    /// Runs each time that hyper has not got a whole head.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let heard = self.signals.heard.load(Ordering::Relaxed);
        match &self.stage {
            Stage::Head => {}
            Stage::Answered(_) | Stage::Idle { .. } if heard => {
                let deadline = tokio::time::Instant::now() + self.head;
                self.sleep.as_mut().reset(deadline);
                self.stage = Stage::Head;
            }
            Stage::Answered(idle) => {
                let entry = idle.enter(&self.signals);
                self.stage = Stage::Idle { _entry: entry };
            }
            Stage::Idle { .. } => {}
        }
        self.sleep.as_mut().poll(context)
    }
}

impl rt::Sleep for RequestWait {}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn is_dismissed(signals: &Signals) -> bool {
        signals.dismissed().now_or_never().is_some()
    }

    #[test]
    fn the_connection_that_has_been_idle_longest_is_dismissed_first() {
        let idle = Arc::<IdleConnections>::default();
        let [first, second, third] = [(); 3].map(|()| Arc::<Signals>::default());
        let _first = idle.enter(&first);
        let second_waits = idle.enter(&second);
        let _third = idle.enter(&third);
        drop(second_waits);
        let _second = idle.enter(&second);
        for signals in [&first, &third, &second] {
            assert!(!is_dismissed(signals));
            assert!(idle.dismiss_oldest());
            assert!(is_dismissed(signals));
        }
        assert!(!idle.dismiss_oldest());
    }
}
