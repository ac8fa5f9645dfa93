//! Values in half precision: one little-endian float16 (IEEE 754 binary16) each, rounded
//! to the nearest, ties to even.
//!
//! A value of magnitude 2^-14 to 65504 keeps 11 significant bits: its relative error is
//! at most 2^-11. A smaller one lies on the grid of 2^-24, with an error of at most
//! 2^-25. A larger one that is finite becomes 65504, the largest that there is.

use fedra_protocol::{CodecName, UpdateRange};
use half::f16;
use half::slice::HalfFloatSliceExt;

use super::{
    BLOCK, CodecBounds, UpdateCodec, UpdateError, UpdateLength, ValueCodec, check_length,
    first_fault,
};
use crate::vectors::widest;

/// Values looked at together.
const CHECKED: usize = 256;

/// Codec `f16`: 2 bytes a value.
#[derive(Debug, Clone, Copy)]
pub struct Float16 {
    len: usize,
    range: UpdateRange,
}

impl Float16 {
    /// Codec of `len` values within the range.
    #[must_use]
    pub fn new(len: usize, range: UpdateRange) -> Self {
        Self { len, range }
    }

    /// Without an early exit, as for float32.
    #[inline(always)]
    fn all_in_range(self, block: &[[u8; 2]]) -> bool {
        let limit = nearest(self.range.magnitude()).to_bits();
        let beyond = block.iter().fold(0, |beyond, value| {
            let magnitude = u16::from_le_bytes(*value) & 0x7fff;
            beyond | u16::from(magnitude > limit)
        });
        beyond == 0
    }
}

/// The nearest float16; the largest for a finite value beyond it.
pub(super) fn nearest(value: f32) -> f16 {
    let nearest = f16::from_f32(value);
    if nearest.is_infinite() && value.is_finite() { f16::MAX.copysign(nearest) } else { nearest }
}

impl UpdateCodec for Float16 {
    fn name(&self) -> CodecName {
        CodecName::F16
    }

    fn bounds(&self) -> CodecBounds {
        let bytes = UpdateLength::Exactly(self.len.saturating_mul(2));
        CodecBounds { bytes, memory: (2 + 4) * BLOCK }
    }

    fn check(&self, bytes: &[u8]) -> Result<(), UpdateError> {
        check_length(self, bytes)?;
        let values = bytes.as_chunks().0;
        let faulty = widest(|| values.chunks(CHECKED).position(|block| !self.all_in_range(block)));
        let at = faulty.map_or(values.len(), |block| block * CHECKED);
        let rest = values[at..].iter().map(|value| f16::from_le_bytes(*value).to_f32());
        first_fault(rest, at, self.range).map_or(Ok(()), Err)
    }
}

impl ValueCodec for Float16 {
    fn encode(&self, values: &[f32], _seed: &[u8; 32]) -> Vec<u8> {
        values.iter().flat_map(|value| nearest(*value).to_le_bytes()).collect()
    }

    fn decode(&self, bytes: &[u8], take: &mut dyn FnMut(&[f32])) {
        let (mut halves, mut values) = ([f16::ZERO; BLOCK], [0.0; BLOCK]);
        for block in bytes.as_chunks().0.chunks(BLOCK) {
            let (halves, values) = (&mut halves[..block.len()], &mut values[..block.len()]);
            for (half, bytes) in halves.iter_mut().zip(block) {
                *half = f16::from_le_bytes(*bytes);
            }
            halves.convert_to_f32_slice(values);
            take(values);
        }
    }
}
