//! The bytes of one update as they arrive: in order, intact, no more than
//! announced. No I/O.

use bytes::{Bytes, BytesMut};
use crc32fast::Hasher;
use fedra_protocol::{UpdateBegin, UpdateChunk, UpdateFault};

/// An update that is being received.
pub(crate) struct Upload {
    begin: UpdateBegin,
    buffer: BytesMut,
    crc: Hasher,
}

/// After a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// There is more to come.
    Partly,
    /// The whole update, its checksum right.
    Whole(Bytes),
}

impl Upload {
    /// The announced length must have been checked: it is allocated here.
    pub(super) fn new(begin: UpdateBegin) -> Self {
        let length = usize::try_from(begin.bytes).unwrap_or(0);
        Self { begin, buffer: BytesMut::with_capacity(length), crc: Hasher::new() }
    }

    /// What was announced.
    pub(super) fn begin(&self) -> &UpdateBegin {
        &self.begin
    }

    /// Bytes that have arrived: the offset of the next chunk.
    pub(super) fn received(&self) -> u64 {
        self.buffer.len() as u64
    }

    /// Takes the next chunk.
    pub(super) fn take(&mut self, chunk: &UpdateChunk) -> Result<Received, UpdateFault> {
        let end = chunk.offset.saturating_add(chunk.data.len() as u64);
        if chunk.offset != self.buffer.len() as u64 {
            return Err(UpdateFault::WrongOffset);
        }
        if end > self.begin.bytes {
            return Err(UpdateFault::WrongLength);
        }
        let mut crc = Hasher::new();
        crc.update(&chunk.data);
        if crc.clone().finalize() != chunk.crc32 {
            return Err(UpdateFault::ChecksumMismatch);
        }
        self.crc.combine(&crc);
        self.buffer.extend_from_slice(&chunk.data);
        if end < self.begin.bytes {
            return Ok(Received::Partly);
        }
        if self.crc.clone().finalize() != self.begin.crc32 {
            return Err(UpdateFault::ChecksumMismatch);
        }
        Ok(Received::Whole(std::mem::take(&mut self.buffer).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use fedra_protocol::RoundId;

    use super::*;

    const ROUND: RoundId = RoundId { round: 1, attempt: 0 };

    fn upload(bytes: &[u8]) -> Upload {
        let crc32 = crc32fast::hash(bytes);
        Upload::new(UpdateBegin { round: ROUND, bytes: bytes.len() as u64, examples: 1, crc32 })
    }

    fn chunk(offset: u64, data: &'static [u8]) -> UpdateChunk {
        UpdateChunk::new(ROUND, offset, Bytes::from_static(data))
    }

    #[test]
    fn chunks_in_order_make_the_whole() {
        let mut upload = upload(b"abcdefgh");
        assert_eq!(upload.take(&chunk(0, b"abc")), Ok(Received::Partly));
        assert_eq!(upload.take(&chunk(3, b"")), Ok(Received::Partly));
        let whole = Bytes::from_static(b"abcdefgh");
        assert_eq!(upload.take(&chunk(3, b"defgh")), Ok(Received::Whole(whole)));
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(upload(b"abcd").take(&chunk(1, b"b")), Err(UpdateFault::WrongOffset));
        assert_eq!(upload(b"abcd").take(&chunk(0, b"abcde")), Err(UpdateFault::WrongLength));
        assert_eq!(upload(b"abcd").take(&chunk(u64::MAX, b"a")), Err(UpdateFault::WrongOffset));
        let torn = UpdateChunk { crc32: 1, ..chunk(0, b"ab") };
        assert_eq!(upload(b"abcd").take(&torn), Err(UpdateFault::ChecksumMismatch));
        // Every chunk intact, but not the update that was announced.
        assert_eq!(upload(b"abcd").take(&chunk(0, b"abcx")), Err(UpdateFault::ChecksumMismatch));
    }
}
