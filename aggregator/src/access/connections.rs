//! Number of concurrent connections of each block of addresses. Each that is
//! counted holds a place, and gives it back by being dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::address::Block;

/// Counts places by block. It holds an entry only for blocks that have one.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCounts {
    counts: Mutex<HashMap<Block, usize>>,
}

/// One of the places of a block.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    connections: Arc<ConnectionCounts>,
    block: Block,
}

impl ConnectionCounts {
    /// A place, unless the block has `most` already.
    pub(crate) fn enter(self: &Arc<Self>, block: Block, most: usize) -> Option<ConnectionSlot> {
        let mut counts = self.lock();
        let count = counts.get(&block).copied().unwrap_or(0);
        if count >= most {
            return None;
        }
        counts.insert(block, count + 1);
        Some(ConnectionSlot { connections: Arc::clone(self), block })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Block, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut counts = self.connections.lock();
        match counts.get_mut(&self.block) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.remove(&self.block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back_and_nothing_is_left_over() {
        let connections = Arc::new(ConnectionCounts::default());
        let (here, there) = (Block::V4(1), Block::V4(2));
        let first = connections.enter(here, 2).expect("room");
        let second = connections.enter(here, 2).expect("room");
        assert!(connections.enter(here, 2).is_none());
        assert!(connections.enter(there, 2).is_some());
        drop(first);
        let third = connections.enter(here, 2).expect("room again");
        drop((second, third));
        assert!(connections.lock().is_empty());
    }
}
