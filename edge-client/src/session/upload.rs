//! An update on its way: cut into chunks as the socket has room.

use bytes::Bytes;
use fedra_protocol::{RoundId, UpdateChunk};

/// Nothing is sent before the server says that it has room.
#[derive(Debug)]
pub(super) struct Upload {
    round: RoundId,
    update: Bytes,
    next: Option<usize>,
}

impl Upload {
    pub fn new(round: RoundId, update: Bytes) -> Self {
        Self { round, update, next: None }
    }

    pub fn round(&self) -> RoundId {
        self.round
    }

    /// The server wants the bytes from `offset` on.
    pub fn start(&mut self, offset: u64) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.next = Some(offset.min(self.update.len()));
    }

    /// The next chunk of at most `max` bytes, until all are sent.
    pub fn next_chunk(&mut self, max: usize) -> Option<UpdateChunk> {
        let start = self.next?;
        let end = (start + max.max(1)).min(self.update.len());
        if start == end {
            return None;
        }
        self.next = Some(end);
        Some(UpdateChunk::new(self.round, start as u64, self.update.slice(start..end)))
    }
}
