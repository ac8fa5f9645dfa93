//! Connections that have not sent a request yet, oldest first. When the server is
//! full, the oldest of them makes room, so that silent connections do not keep out
//! a client that speaks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// All connections without a request.
#[derive(Debug, Default)]
pub(super) struct Silent {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connections: BTreeMap<u64, oneshot::Sender<()>>,
    next: u64,
}

/// A connection's entry, until it speaks or ends.
#[derive(Debug)]
pub(super) struct Silence {
    all: Arc<Silent>,
    number: u64,
}

impl Silent {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection. The receiver gets a value when it has to make room.
    pub(super) fn enter(self: &Arc<Self>) -> (Silence, oneshot::Receiver<()>) {
        let (cut, is_cut) = oneshot::channel();
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.connections.insert(number, cut);
        drop(state);
        (Silence { all: Arc::clone(self), number }, is_cut)
    }

    /// Ends the connection that has been silent for longest, if there is one.
    pub(super) fn make_room(&self) -> bool {
        let oldest = self.state().connections.pop_first();
        // One that ends by itself at this moment makes room as well.
        oldest.map(|(_, cut)| cut.send(())).is_some()
    }
}

impl Silence {
    /// The connection has sent a request: it need not make room any more.
    pub(super) fn end(&self) {
        self.all.state().connections.remove(&self.number);
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_has_not_spoken_makes_room() {
        let silent = Arc::new(Silent::default());
        assert!(!silent.make_room());
        let mut connections = [silent.enter(), silent.enter(), silent.enter()];
        connections[0].0.end();
        assert!(silent.make_room());
        let is_cut = connections.each_mut().map(|(_, is_cut)| is_cut.try_recv().is_ok());
        assert_eq!(is_cut, [false, true, false]);
        drop(connections);
        assert!(!silent.make_room(), "what has ended is forgotten");
    }
}
