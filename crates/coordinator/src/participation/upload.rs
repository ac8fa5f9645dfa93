//! The bytes of one update as they arrive: in order, intact, no more than
//! announced, and not too slowly for the room that they are kept in. No I/O.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use crc32fast::Hasher;
use fedra_protocol::{UpdateBegin, UpdateChunk, UpdateFault};

use crate::round::Time;

/// Minimum speed of an update that keeps its room, averaged since it was given the
/// room.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    grace: Duration,
    /// Bytes a second; 0 is as slow as it likes.
    least: u64,
}

impl Pace {
    /// `least` bytes a second on average once `grace` has passed; 0 is as slow as it
    /// likes.
    #[must_use]
    pub fn new(grace: Duration, least: u64) -> Self {
        Self { grace, least }
    }

    /// Time that `bytes` bytes may take.
    fn allows(self, bytes: u64) -> Option<Duration> {
        let seconds = (self.least > 0).then(|| bytes as f64 / self.least as f64)?;
        Some(self.grace.saturating_add(Duration::try_from_secs_f64(seconds).ok()?))
    }
}

/// An update that is being received.
pub struct Upload {
    begin: UpdateBegin,
    buffer: BytesMut,
    crc: Hasher,
    pace: Pace,
    since: Time,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (begin, received) = (&self.begin, self.received());
        f.debug_struct("Upload").field("begin", begin).field("received", &received).finish()
    }
}

/// After a chunk.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to come.
    Partly,
    /// The whole update, its checksum right.
    Whole(Bytes),
}

impl Upload {
    /// The announced length must have been checked: it is allocated here.
    pub fn new(begin: UpdateBegin, pace: Pace, since: Time) -> Self {
        let length = usize::try_from(begin.bytes).unwrap_or(0);
        let buffer = BytesMut::with_capacity(length);
        Self { begin, buffer, crc: Hasher::new(), pace, since }
    }

    /// Announcement of the update.
    pub fn begin(&self) -> &UpdateBegin {
        &self.begin
    }

    /// Bytes that have arrived: the offset of the next chunk.
    pub fn received(&self) -> u64 {
        self.buffer.len() as u64
    }

    /// Time at which the upload is too slow, unless more of it has come by then.
    pub fn due(&self) -> Option<Time> {
        Some(self.since + self.pace.allows(self.received())?)
    }

    /// Adds the next chunk.
    ///
    /// # Errors
    ///
    /// The [`UpdateFault`] of a chunk that does not fit.
    pub fn receive_chunk(&mut self, chunk: &UpdateChunk) -> Result<Progress, UpdateFault> {
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
            return Ok(Progress::Partly);
        }
        if self.crc.clone().finalize() != self.begin.crc32 {
            return Err(UpdateFault::ChecksumMismatch);
        }
        Ok(Progress::Whole(std::mem::take(&mut self.buffer).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use fedra_protocol::RoundId;

    use super::*;

    const ROUND: RoundId = RoundId { round: 1, attempt: 0 };
    const PACE: Pace = Pace { grace: Duration::from_secs(10), least: 2 };

    fn upload(bytes: &[u8]) -> Upload {
        upload_at(bytes, PACE)
    }

    fn upload_at(bytes: &[u8], pace: Pace) -> Upload {
        let (length, crc32) = (bytes.len() as u64, crc32fast::hash(bytes));
        let begin = UpdateBegin { round: ROUND, bytes: length, examples: 1, crc32 };
        Upload::new(begin, pace, Time(Duration::from_secs(100)))
    }

    fn chunk(offset: u64, data: &'static [u8]) -> UpdateChunk {
        UpdateChunk::new(ROUND, offset, Bytes::from_static(data))
    }

    #[test]
    fn chunks_in_order_make_the_whole() {
        let mut upload = upload(b"abcdefgh");
        assert_eq!(upload.receive_chunk(&chunk(0, b"abc")), Ok(Progress::Partly));
        assert_eq!(upload.receive_chunk(&chunk(3, b"")), Ok(Progress::Partly));
        let whole = Bytes::from_static(b"abcdefgh");
        assert_eq!(upload.receive_chunk(&chunk(3, b"defgh")), Ok(Progress::Whole(whole)));
    }

    #[test]
    fn what_arrives_buys_time() {
        let due = |upload: &Upload| upload.due().map(|time| time.0.as_secs());
        let mut steady = upload(b"abcdefgh");
        assert_eq!(due(&steady), Some(110));
        steady.receive_chunk(&chunk(0, b"abcdef")).expect("in order");
        assert_eq!(due(&steady), Some(113));
        let any = Pace { least: 0, ..PACE };
        assert_eq!(due(&upload_at(b"abcd", any)), None);
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(upload(b"abcd").receive_chunk(&chunk(1, b"b")), Err(UpdateFault::WrongOffset));
        assert_eq!(
            upload(b"abcd").receive_chunk(&chunk(0, b"abcde")),
            Err(UpdateFault::WrongLength)
        );
        assert_eq!(
            upload(b"abcd").receive_chunk(&chunk(u64::MAX, b"a")),
            Err(UpdateFault::WrongOffset)
        );
        let torn = UpdateChunk { crc32: 1, ..chunk(0, b"ab") };
        assert_eq!(upload(b"abcd").receive_chunk(&torn), Err(UpdateFault::ChecksumMismatch));
        // Every chunk intact, but not the update that was announced.
        assert_eq!(
            upload(b"abcd").receive_chunk(&chunk(0, b"abcx")),
            Err(UpdateFault::ChecksumMismatch)
        );
    }
}
