//! A clock that moves when everything waits for it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::lock::{Mutex, OwnedMutexGuard};

use crate::backend::Pace;

#[derive(Default)]
pub(super) struct VirtualTime {
    now: Cell<Duration>,
    timers: RefCell<BTreeSet<Duration>>,
    thread: Arc<Mutex<()>>,
}

/// Flag that is set when something happened that the future waits for.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl VirtualTime {
    /// The thread is busy for `duration`.
    pub fn advance(&self, duration: Duration) {
        self.now.set(self.now.get() + duration);
    }

    /// Runs a future. Panics if it waits for something other than time.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        loop {
            if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return done;
            }
            if woken.0.swap(false, Ordering::Relaxed) {
                continue;
            }
            let next = self.timers.borrow_mut().pop_first().expect("it waits for ever");
            self.now.set(self.now.get().max(next));
        }
    }
}

impl Pace for VirtualTime {
    type Turn = OwnedMutexGuard<()>;

    fn now(&self) -> Duration {
        self.now.get()
    }

    async fn sleep(&self, duration: Duration) {
        let end = self.now.get() + duration;
        poll_fn(|_| {
            if self.now.get() >= end {
                return Poll::Ready(());
            }
            self.timers.borrow_mut().insert(end);
            Poll::Pending
        })
        .await;
    }

    async fn turn(&self) -> OwnedMutexGuard<()> {
        self.thread.clone().lock_owned().await
    }
}
