//! An update on its way: cut into chunks as the socket has room.
//!
//! However often it is announced and sent, it is the same bytes.

use bytes::Bytes;
use fedra_protocol::{RoundId, UpdateBegin, UpdateChunk, checksum};

/// Nothing is sent before the server says that it has room.
#[derive(Debug)]
pub(super) struct Upload {
    begin: UpdateBegin,
    update: Bytes,
    /// Announced on the connection that there is now.
    announced: bool,
    /// The next byte to send on it.
    next: Option<usize>,
    /// All of it was sent, on some connection.
    sent: bool,
}

impl Upload {
    pub fn new(round: RoundId, update: Bytes, examples: u64) -> Self {
        let begin =
            UpdateBegin { round, bytes: update.len() as u64, examples, crc32: checksum(&update) };
        Self { begin, update, announced: false, next: None, sent: false }
    }

    /// The announcement, once a connection.
    pub fn announce(&mut self) -> Option<UpdateBegin> {
        (!std::mem::replace(&mut self.announced, true)).then(|| self.begin.clone())
    }

    /// The server wants the bytes from `offset` on.
    pub fn start(&mut self, offset: u64) {
        if self.announced {
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            self.next = Some(offset.min(self.update.len()));
        }
    }

    /// The next chunk of at most `max` bytes, until all are sent.
    pub fn next_chunk(&mut self, max: usize) -> Option<UpdateChunk> {
        let start = self.next?;
        let end = (start + max.max(1)).min(self.update.len());
        if start == end {
            return None;
        }
        self.next = Some(end);
        self.sent |= end == self.update.len();
        Some(UpdateChunk::new(self.begin.round, start as u64, self.update.slice(start..end)))
    }

    /// True if the server may have all of it.
    pub fn is_sent(&self) -> bool {
        self.sent
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.announced = false;
        self.next = None;
    }
}
