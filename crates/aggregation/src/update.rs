//! One client's update as it came from the wire, checked in place.
//!
//! Every check on an update's numbers happens here, before anything is folded:
//! a refused update leaves no trace in any sum.

use fedra_protocol::UpdateRange;
use thiserror::Error;

/// Values looked at together: long enough for the compiler to vectorise, short
/// enough that finding the culprit in a bad block costs nothing.
const BLOCK: usize = 256;

/// Reason that an update cannot be folded.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum UpdateError {
    /// Not one little-endian `f32` for each parameter.
    #[error("the update has {actual} bytes, the model needs {expected}")]
    WrongLength {
        /// Bytes that the model's parameters take.
        expected: usize,
        /// Bytes that the update has.
        actual: usize,
    },
    /// A NaN or an infinity.
    #[error("value {index} of the update is not a finite number")]
    NotFinite {
        /// Position of the first such value.
        index: usize,
    },
    /// A finite value beyond the task's range.
    #[error(
        "value {index} of the update is {value}, beyond the task's update_range of {range}",
        range = u32::from(*.range)
    )]
    OutOfRange {
        /// Position of the first such value.
        index: usize,
        /// The value.
        value: f32,
        /// The task's range.
        range: UpdateRange,
    },
}

/// A model delta that may be folded: the right length, every value finite and
/// within the task's range. Holds the received bytes as they came, borrowed
/// (`&[u8]`) or owned.
#[derive(Debug, Clone, Copy)]
pub struct CheckedUpdate<B> {
    bytes: B,
    range: UpdateRange,
}

impl<B: AsRef<[u8]>> CheckedUpdate<B> {
    /// Checks `bytes`, little-endian `f32` values, against a model of `len`
    /// parameters and the range of its task. Copies nothing.
    ///
    /// # Errors
    ///
    /// The first fault found, with its position.
    pub fn parse(bytes: B, len: usize, range: UpdateRange) -> Result<Self, UpdateError> {
        let (values, rest) = bytes.as_ref().as_chunks::<4>();
        if values.len() != len || !rest.is_empty() {
            return Err(UpdateError::WrongLength {
                expected: len.saturating_mul(4),
                actual: bytes.as_ref().len(),
            });
        }
        for (block, at) in values.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
            if !all_in_range(block, range) {
                return Err(first_fault(block, at, range));
            }
        }
        Ok(Self { bytes, range })
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values().len()
    }

    /// True if the model has no parameters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values().is_empty()
    }

    /// The values as numbers.
    #[must_use]
    pub fn to_vec(&self) -> Vec<f32> {
        self.values().iter().map(|value| f32::from_le_bytes(*value)).collect()
    }

    /// The range that every value is within.
    #[must_use]
    pub fn range(&self) -> UpdateRange {
        self.range
    }

    /// The values as they lie in memory.
    pub(crate) fn values(&self) -> &[[u8; 4]] {
        self.bytes.as_ref().as_chunks().0
    }
}

/// Without an early exit, so that it vectorises. For the bits of an `f32`
/// without its sign, the order of the integers is the order of the magnitudes,
/// and infinities and NaNs lie above every number.
fn all_in_range(block: &[[u8; 4]], range: UpdateRange) -> bool {
    let limit = range.magnitude().to_bits();
    let beyond = block.iter().fold(0, |beyond, value| {
        let magnitude = u32::from_le_bytes(*value) & 0x7fff_ffff;
        beyond | u32::from(magnitude > limit)
    });
    beyond == 0
}

/// The error for a block that has at least one value out of range.
fn first_fault(block: &[[u8; 4]], offset: usize, range: UpdateRange) -> UpdateError {
    block
        .iter()
        .map(|value| f32::from_le_bytes(*value))
        .zip(offset..)
        .find_map(|(value, index)| {
            if !value.is_finite() {
                Some(UpdateError::NotFinite { index })
            } else if value.abs() > range.magnitude() {
                Some(UpdateError::OutOfRange { index, value, range })
            } else {
                None
            }
        })
        .expect("the block was found to hold a value out of range")
}
