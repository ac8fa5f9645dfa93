//! The running weighted sum of a round, as integers.
//!
//! A value x becomes the integer round(x * 2^30), for any range of the task: a
//! coarser grid for large ranges would lose the small updates of a network whose
//! targets are large.
//!
//! Nothing can overflow. |x| <= 2^r, the range, and 2^r * 2^30 is an integer, so no
//! rounding passes it: the integer is at most 2^(30 + r). The weights of one sum add up
//! to at most 2^26, so the sum is at most 2^(56 + r): 2^62 in 64 bits for r <= 6, and
//! 2^80 in 128 bits for the largest range, r = 24. Both bounds are checked before any
//! accumulator is touched.

use std::ops::Range;

use fedra_protocol::UpdateRange;
use thiserror::Error;

use crate::codec::CodecMisfit;
use crate::update::CheckedUpdate;
use crate::vectors::widest;

/// Largest total weight of one sum.
pub const MAX_TOTAL_WEIGHT: u64 = 1 << 26;

/// One fixed-point unit is 1 / SCALE.
const SCALE: f64 = (1_u64 << 30) as f64;

/// Largest exponent of a range whose sums fit into 64 bits.
const NARROW: u32 = 6;

/// Adding 1.5 * 2^52 to a double of magnitude below 2^51 rounds it to the
/// nearest integer (ties to even) and leaves that integer in the low bits. It
/// vectorises where the conversion from `f64` to `i64` does not.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// Magnitude from which on an `f32` times 2^30 is an integer as it is: one of 24
/// bits, moved.
const WHOLE: f32 = (1 << 21) as f32;

/// Reason that an update was not folded, or that two sums were not merged.
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
    /// The update or the other sum is for a task of another range.
    #[error(
        "the sum is for an update_range of {}, this is for {}",
        u32::from(*.expected),
        u32::from(*.actual)
    )]
    Range {
        /// Range of this sum.
        expected: UpdateRange,
        /// Range of what was to be added.
        actual: UpdateRange,
    },
    /// The update consists of words.
    #[error(transparent)]
    Codec(#[from] CodecMisfit),
    /// A weight of zero counts for nothing.
    #[error("an update of weight zero cannot be folded")]
    ZeroWeight,
    /// The total weight would pass [`MAX_TOTAL_WEIGHT`].
    #[error("the total weight would be {total}, the most allowed is {MAX_TOTAL_WEIGHT}")]
    TotalWeight {
        /// The total that the weight would have given (saturating).
        total: u64,
    },
}

/// A weighted sum of updates: one integer a parameter, for any number of updates
/// folded. It takes 8 bytes for ranges up to 64, otherwise 16.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedPointSum {
    accumulators: Accumulators,
    range: UpdateRange,
    weight: u64,
    updates: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Accumulators {
    Narrow(Vec<i64>),
    Wide(Vec<i128>),
}

impl FixedPointSum {
    /// An empty sum for a model of `len` parameters, of updates within `range`.
    #[must_use]
    pub fn new(len: usize, range: UpdateRange) -> Self {
        let accumulators = if range.log2() <= NARROW {
            Accumulators::Narrow(vec![0; len])
        } else {
            Accumulators::Wide(vec![0; len])
        };
        Self { accumulators, range, weight: 0, updates: 0 }
    }

    /// Bytes that a sum for `len` parameters and updates within `range` takes.
    #[must_use]
    pub fn memory(len: usize, range: UpdateRange) -> u64 {
        let integer = if range.log2() <= NARROW { size_of::<i64>() } else { size_of::<i128>() };
        (len as u64).saturating_mul(integer as u64)
    }

    /// Number of parameters.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.accumulators {
            Accumulators::Narrow(sums) => sums.len(),
            Accumulators::Wide(sums) => sums.len(),
        }
    }

    /// True if the model has no parameters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
    /// [`FoldError`] for words, another length or range, a weight of zero or a total
    /// weight beyond [`MAX_TOTAL_WEIGHT`].
    pub fn fold(&mut self, update: &CheckedUpdate, weight: u64) -> Result<(), FoldError> {
        let (len, range) = update.value_shape()?;
        let (total, weight) = self.room_for(len, range, weight)?;
        let mut at = 0;
        update.values(|values| {
            let place = at..at + values.len();
            at = place.end;
            self.add(place, values, weight);
        })?;
        self.weight = total;
        self.updates += 1;
        Ok(())
    }

    /// Adds `weight` times the values of an update, which are within the sum's range. An
    /// error leaves the sum as it was.
    ///
    /// # Errors
    ///
    /// [`FoldError`] for another length, a weight of zero or a total weight beyond
    /// [`MAX_TOTAL_WEIGHT`].
    pub(crate) fn fold_values(&mut self, values: &[f32], weight: u64) -> Result<(), FoldError> {
        let (total, weight) = self.room_for(values.len(), self.range, weight)?;
        self.add(0..values.len(), values, weight);
        self.weight = total;
        self.updates += 1;
        Ok(())
    }

    fn add(&mut self, place: Range<usize>, values: &[f32], weight: u32) {
        match &mut self.accumulators {
            Accumulators::Narrow(sums) => fold_narrow(&mut sums[place], values, weight, self.range),
            Accumulators::Wide(sums) => fold_wide(&mut sums[place], values, weight),
        }
    }

    /// The total weight with an update of `weight`, and that weight, if there is room for
    /// it.
    fn room_for(
        &self,
        len: usize,
        range: UpdateRange,
        weight: u64,
    ) -> Result<(u64, u32), FoldError> {
        let total = self.total_with(len, range, weight)?;
        if weight == 0 {
            return Err(FoldError::ZeroWeight);
        }
        Ok((total, u32::try_from(weight).expect("at most MAX_TOTAL_WEIGHT")))
    }

    /// Adds another sum. An error leaves this one as it was.
    ///
    /// # Errors
    ///
    /// [`FoldError`] for another length or range, or a total weight beyond
    /// [`MAX_TOTAL_WEIGHT`].
    pub fn merge(&mut self, other: &Self) -> Result<(), FoldError> {
        let total = self.total_with(other.len(), other.range, other.weight)?;
        match (&mut self.accumulators, &other.accumulators) {
            (Accumulators::Narrow(sums), Accumulators::Narrow(others)) => {
                sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
            }
            (Accumulators::Wide(sums), Accumulators::Wide(others)) => {
                sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
            }
            _ => unreachable!("the width follows from the range, which is the same"),
        }
        self.weight = total;
        self.updates += other.updates;
        Ok(())
    }

    /// Empties the sum for the next round and keeps its memory.
    pub fn clear(&mut self) {
        match &mut self.accumulators {
            Accumulators::Narrow(sums) => sums.fill(0),
            Accumulators::Wide(sums) => sums.fill(0),
        }
        self.weight = 0;
        self.updates = 0;
    }

    /// The weighted mean, one value a parameter; `None` if nothing was folded.
    #[must_use]
    pub fn mean(&self) -> Option<Vec<f64>> {
        let divisor = self.weight as f64 * SCALE;
        (self.weight > 0).then(|| match &self.accumulators {
            Accumulators::Narrow(sums) => sums.iter().map(|&sum| sum as f64 / divisor).collect(),
            Accumulators::Wide(sums) => sums.iter().map(|&sum| sum as f64 / divisor).collect(),
        })
    }

    /// The total weight after adding `weight` for a model of `len` parameters.
    fn total_with(&self, len: usize, range: UpdateRange, weight: u64) -> Result<u64, FoldError> {
        if len != self.len() {
            return Err(FoldError::WrongLength { expected: self.len(), actual: len });
        }
        if range != self.range {
            return Err(FoldError::Range { expected: self.range, actual: range });
        }
        let total = self.weight.saturating_add(weight);
        if total > MAX_TOTAL_WEIGHT {
            return Err(FoldError::TotalWeight { total });
        }
        Ok(total)
    }
}

/// round(x * 2^30) for an x of magnitude below [`WHOLE`], ties to even.
#[inline(always)]
fn quantise(x: f32) -> i64 {
    let rounded = f64::from(x) * SCALE + ROUND;
    (rounded.to_bits() as i64).wrapping_sub(ROUND.to_bits() as i64)
}

/// round(x * 2^30) times `weight`, in doubles: exact as long as the product's magnitude
/// is below 2^51.
#[inline(always)]
fn weighted(x: f32, weight: f64) -> i64 {
    let rounded = (f64::from(x) * SCALE + ROUND) - ROUND;
    ((rounded * weight + ROUND).to_bits() as i64).wrapping_sub(ROUND.to_bits() as i64)
}

/// The hot loop: 4 bytes read and 8 read and written for a parameter. Vectors have no
/// product of 64-bit integers, so doubles multiply where they are exact. `wrapping`
/// because overflow is excluded by the bounds above.
#[inline(never)]
fn fold_narrow(accumulators: &mut [i64], values: &[f32], weight: u32, range: UpdateRange) {
    // The largest product is weight times 2^(30 + r).
    let exact = u64::from(weight) < 1 << (51 - 30 - range.log2());
    widest(|| {
        let pairs = accumulators.iter_mut().zip(values);
        if weight == 1 {
            pairs.for_each(|(sum, value)| *sum = sum.wrapping_add(quantise(*value)));
        } else if exact {
            let weight = f64::from(weight);
            pairs.for_each(|(sum, value)| *sum = sum.wrapping_add(weighted(*value, weight)));
        } else {
            let weight = i64::from(weight);
            pairs.for_each(|(sum, value)| {
                *sum = sum.wrapping_add(quantise(*value).wrapping_mul(weight));
            });
        }
    });
}

/// The same in 128 bits, for values of any range.
#[inline(never)]
fn fold_wide(accumulators: &mut [i128], values: &[f32], weight: u32) {
    let weight = i128::from(weight);
    widest(|| {
        for (sum, value) in accumulators.iter_mut().zip(values) {
            let value = *value;
            let whole = value.abs() >= WHOLE;
            let value = if whole { (f64::from(value) * SCALE) as i64 } else { quantise(value) };
            *sum = sum.wrapping_add(i128::from(value).wrapping_mul(weight));
        }
    });
}

#[cfg(test)]
mod tests;
