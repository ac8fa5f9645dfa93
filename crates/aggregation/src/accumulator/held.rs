//! Updates of a round that are held until it closes, for the estimators that have to see
//! all of them.
//!
//! They come out in an order that depends on nothing but their values and weights. So an
//! estimate is the same to the bit in whatever order they arrived.

use std::cmp::Ordering;

use fedra_protocol::UpdateRange;

use super::{ContributionError, FinishError};
use crate::sum::FoldError;
use crate::update::CheckedUpdate;

/// Coordinates that are looked at together: a line of a processor's cache.
const BLOCK: usize = 16;

/// Update as its values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HeldUpdate {
    pub values: Vec<f32>,
    /// Examples behind it, at least 1.
    pub weight: u64,
}

/// Updates of a round so far.
#[derive(Debug)]
pub(super) struct Held {
    len: usize,
    range: UpdateRange,
    most: usize,
    updates: Vec<HeldUpdate>,
}

impl Held {
    /// Room for `most` updates with `len` values within the range. It takes no memory
    /// before the first.
    pub(super) fn new(len: usize, range: UpdateRange, most: usize) -> Self {
        Self { len, range, most, updates: Vec::new() }
    }

    /// Bytes of all updates together.
    pub(super) fn memory(&self) -> u64 {
        (self.len as u64).saturating_mul(size_of::<f32>() as u64).saturating_mul(self.most as u64)
    }

    /// Values of an update.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Most updates.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Adds an update. An error leaves the others as they were.
    pub(super) fn add(
        &mut self,
        update: &CheckedUpdate,
        weight: u64,
    ) -> Result<(), ContributionError> {
        if self.updates.len() >= self.most {
            return Err(ContributionError::Full { most: self.most });
        }
        if weight == 0 {
            return Err(FoldError::ZeroWeight.into());
        }
        let values = update.values_within(self.len, self.range)?;
        self.updates.push(HeldUpdate { values, weight });
        Ok(())
    }

    /// All updates in their order, at least one and at least `least`.
    pub(super) fn close(mut self, least: usize) -> Result<Vec<HeldUpdate>, FinishError> {
        let there = self.updates.len();
        if there == 0 {
            return Err(FinishError::Empty);
        }
        if there < least {
            return Err(FinishError::TooFew { there, least });
        }
        self.updates.sort_by(order);
        Ok(self.updates)
    }
}

fn order(one: &HeldUpdate, other: &HeldUpdate) -> Ordering {
    let values = one.values.iter().zip(&other.values);
    let first = values.map(|(one, other)| one.total_cmp(other)).find(|order| order.is_ne());
    first.unwrap_or_else(|| one.weight.cmp(&other.weight))
}

/// Estimate of each coordinate by itself, from its values in all updates. `estimate` may
/// change their order.
pub(super) fn by_coordinate(
    updates: &[HeldUpdate],
    mut estimate: impl FnMut(&mut [f32]) -> f64,
) -> Vec<f64> {
    let len = updates.first().map_or(0, |update| update.values.len());
    let mut estimates = Vec::with_capacity(len);
    let mut columns = vec![0.0; BLOCK * updates.len()];
    for start in (0..len).step_by(BLOCK) {
        let block = start..len.min(start + BLOCK);
        for (number, update) in updates.iter().enumerate() {
            let values = update.values[block.clone()].iter();
            let places = columns.iter_mut().skip(number).step_by(updates.len());
            places.zip(values).for_each(|(place, value)| *place = *value);
        }
        let columns = columns.chunks_exact_mut(updates.len()).take(block.len());
        estimates.extend(columns.map(&mut estimate));
    }
    estimates
}
