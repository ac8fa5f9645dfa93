//! The running weighted sum of a round, as integers.
//!
//! A value of magnitude at most 2^6 becomes an integer of at most 2^36, times a
//! weight; the weights of one sum add up to at most 2^26, so that no
//! accumulator passes 2^62 and nothing can overflow. Both bounds are checked
//! before any accumulator is touched.

use thiserror::Error;

use crate::update::{CheckedUpdate, FRACTION_BITS};

/// Largest total weight of one sum.
pub const MAX_TOTAL_WEIGHT: u64 = 1 << 26;

/// One fixed-point unit is 1 / SCALE.
const SCALE: f64 = (1_u64 << FRACTION_BITS) as f64;

/// Adding 1.5 * 2^52 to a double of magnitude below 2^51 rounds it to the
/// nearest integer (ties to even) and leaves that integer in the low bits. It
/// vectorises where the conversion from `f64` to `i64` does not.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// Why an update was not folded, or two sums not merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FoldError {
    /// The update or the other sum is for a model of another size.
    #[error("the sum is for {expected} parameters, this is for {actual}")]
    WrongLength {
        /// Parameters of this sum.
        expected: usize,
        /// Parameters of what was to be added.
        actual: usize,
    },
    /// A weight of zero counts for nothing.
    #[error("an update of weight zero cannot be folded")]
    ZeroWeight,
    /// The total weight would pass [`MAX_TOTAL_WEIGHT`].
    #[error("the total weight would be {total}, the most allowed is {MAX_TOTAL_WEIGHT}")]
    TotalWeight {
        /// What the total would have been (saturating).
        total: u64,
    },
}

/// A weighted sum of updates: one `i64` a parameter, whatever the number of
/// updates folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedPointSum {
    accumulators: Vec<i64>,
    weight: u64,
    updates: u64,
}

impl FixedPointSum {
    /// An empty sum for a model of `len` parameters.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self { accumulators: vec![0; len], weight: 0, updates: 0 }
    }

    /// Number of parameters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.accumulators.len()
    }

    /// Whether the model has no parameters at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accumulators.is_empty()
    }

    /// Total weight folded so far.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// Updates folded so far.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Adds `weight` times `update`. An error leaves the sum as it was.
    ///
    /// # Errors
    ///
    /// [`FoldError`] for another length, a weight of zero or a total weight
    /// beyond [`MAX_TOTAL_WEIGHT`].
    pub fn fold<B>(&mut self, update: &CheckedUpdate<B>, weight: u64) -> Result<(), FoldError>
    where
        B: AsRef<[u8]>,
    {
        let total = self.total_with(update.len(), weight)?;
        if weight == 0 {
            return Err(FoldError::ZeroWeight);
        }
        let weight = u32::try_from(weight).expect("at most MAX_TOTAL_WEIGHT");
        fold_into(&mut self.accumulators, update.values(), weight);
        self.weight = total;
        self.updates += 1;
        Ok(())
    }

    /// Adds another sum. An error leaves this one as it was.
    ///
    /// # Errors
    ///
    /// [`FoldError`] for another length or a total weight beyond
    /// [`MAX_TOTAL_WEIGHT`].
    pub fn merge(&mut self, other: &Self) -> Result<(), FoldError> {
        let total = self.total_with(other.len(), other.weight)?;
        for (sum, value) in self.accumulators.iter_mut().zip(&other.accumulators) {
            *sum = sum.wrapping_add(*value);
        }
        self.weight = total;
        self.updates += other.updates;
        Ok(())
    }

    /// Empties the sum for the next round and keeps its memory.
    pub fn clear(&mut self) {
        self.accumulators.fill(0);
        self.weight = 0;
        self.updates = 0;
    }

    /// The weighted mean, one value a parameter; `None` if nothing was folded.
    #[must_use]
    pub fn mean(&self) -> Option<Vec<f64>> {
        let divisor = self.weight as f64 * SCALE;
        let mean = || self.accumulators.iter().map(|&sum| sum as f64 / divisor).collect();
        (self.weight > 0).then(mean)
    }

    /// The total weight after adding `weight` for a model of `len` parameters.
    fn total_with(&self, len: usize, weight: u64) -> Result<u64, FoldError> {
        if len != self.len() {
            return Err(FoldError::WrongLength { expected: self.len(), actual: len });
        }
        let total = self.weight.saturating_add(weight);
        if total > MAX_TOTAL_WEIGHT {
            return Err(FoldError::TotalWeight { total });
        }
        Ok(total)
    }
}

/// round(x * 2^30) for a finite x of magnitude at most 64.
#[inline(always)]
fn quantise(x: f32) -> i64 {
    let rounded = f64::from(x) * SCALE + ROUND;
    (rounded.to_bits() as i64).wrapping_sub(ROUND.to_bits() as i64)
}

/// The hot loop: 4 bytes read and 8 read and written for a parameter. The
/// weight is 32 bits wide so that the product needs two vector multiplications
/// and not three. `wrapping` because overflow is excluded by the bounds above.
#[inline(never)]
fn fold_into(accumulators: &mut [i64], values: &[[u8; 4]], weight: u32) {
    let weight = i64::from(weight);
    for (sum, value) in accumulators.iter_mut().zip(values) {
        let value = quantise(f32::from_le_bytes(*value));
        *sum = sum.wrapping_add(value.wrapping_mul(weight));
    }
}

#[cfg(test)]
mod tests;
