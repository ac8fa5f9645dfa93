//! Values as they are: one little-endian float32 (IEEE 754 binary32) each.

use fedra_protocol::{CodecName, UpdateRange};

use super::{
    BLOCK, CodecBounds, UpdateCodec, UpdateError, UpdateLength, ValueCodec, check_length,
    first_fault,
};
use crate::vectors::widest;

/// Values looked at together: long enough for the compiler to vectorise, short
/// enough that finding the culprit in a bad block costs nothing.
const CHECKED: usize = 256;

/// Codec `f32`: 4 bytes a value.
#[derive(Debug, Clone, Copy)]
pub struct Float32 {
    len: usize,
    range: UpdateRange,
}

impl Float32 {
    /// Codec of `len` values within the range.
    #[must_use]
    pub fn new(len: usize, range: UpdateRange) -> Self {
        Self { len, range }
    }

    /// Without an early exit, so that it vectorises. For the bits of an `f32`
    /// without its sign, the order of the integers is the order of the magnitudes,
    /// and infinities and NaNs lie above every number.
    #[inline(always)]
    fn all_in_range(self, block: &[[u8; 4]]) -> bool {
        let limit = self.range.magnitude().to_bits();
        let beyond = block.iter().fold(0, |beyond, value| {
            let magnitude = u32::from_le_bytes(*value) & 0x7fff_ffff;
            beyond | u32::from(magnitude > limit)
        });
        beyond == 0
    }
}

impl UpdateCodec for Float32 {
    fn name(&self) -> CodecName {
        CodecName::F32
    }

    fn bounds(&self) -> CodecBounds {
        let bytes = UpdateLength::Exactly(self.len.saturating_mul(4));
        CodecBounds { bytes, memory: 4 * BLOCK }
    }

    fn check(&self, bytes: &[u8]) -> Result<(), UpdateError> {
        check_length(self, bytes)?;
        let values = bytes.as_chunks().0;
        let faulty = widest(|| values.chunks(CHECKED).position(|block| !self.all_in_range(block)));
        let at = faulty.map_or(values.len(), |block| block * CHECKED);
        let rest = values[at..].iter().map(|value| f32::from_le_bytes(*value));
        first_fault(rest, at, self.range).map_or(Ok(()), Err)
    }
}

impl ValueCodec for Float32 {
    fn encode(&self, values: &[f32], _seed: &[u8; 32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn decode(&self, bytes: &[u8], take: &mut dyn FnMut(&[f32])) {
        // As they lie in memory, where that is how this machine has them.
        if cfg!(target_endian = "little")
            && let Ok(values) = bytemuck::try_cast_slice(bytes)
        {
            return take(values);
        }
        let mut values = [0.0; BLOCK];
        for block in bytes.as_chunks().0.chunks(BLOCK) {
            let values = &mut values[..block.len()];
            for (value, bytes) in values.iter_mut().zip(block) {
                *value = f32::from_le_bytes(*bytes);
            }
            take(values);
        }
    }
}
