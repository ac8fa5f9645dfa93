//! Words of a distributed or local privacy policy: 1 to 32 bits each, bit by bit, masked
//! or not. The words themselves are `differential-privacy`'s.

use fedra_protocol::CodecName;
use fedra_secure_aggregation::{PackingError, add_packed, check_packed, pack, packed_len};

use super::{CodecBounds, UpdateCodec, UpdateError, UpdateLength};

/// Codec `packed`: `bits` bits a word, the last byte filled up with zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    len: usize,
    bits: u32,
}

impl Packed {
    /// Codec of `len` words of `bits` bits.
    ///
    /// # Panics
    ///
    /// If `bits` is not in `1..=32`.
    #[must_use]
    pub fn new(len: usize, bits: u32) -> Self {
        assert!((1..=32).contains(&bits), "a word has 1 to 32 bits, not {bits}");
        Self { len, bits }
    }

    /// The update as it is sent.
    #[must_use]
    pub fn encode(self, words: &[u32]) -> Vec<u8> {
        pack(words, self.bits)
    }

    /// Adds the words of checked bytes to a sum modulo 2^32, without memory of their own.
    /// An error leaves the sum as it was.
    ///
    /// # Errors
    ///
    /// [`PackingError`] if the sum has another length.
    pub fn add_to(self, bytes: &[u8], sum: &mut [u32]) -> Result<(), PackingError> {
        add_packed(bytes, self.bits, sum)
    }
}

impl UpdateCodec for Packed {
    fn name(&self) -> CodecName {
        CodecName::Packed
    }

    fn bounds(&self) -> CodecBounds {
        let bytes = UpdateLength::Exactly(packed_len(self.len, self.bits));
        CodecBounds { bytes, memory: 0 }
    }

    fn check(&self, bytes: &[u8]) -> Result<(), UpdateError> {
        check_packed(bytes, self.len, self.bits).map_err(|error| match error {
            PackingError::Length { expected, actual, .. } => {
                UpdateError::WrongLength { expected: UpdateLength::Exactly(expected), actual }
            }
            PackingError::Padding => UpdateError::Padding,
        })
    }
}
