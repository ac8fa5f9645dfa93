//! Weighted mean of values in the clear, in fixed point. In a buffered round updates of
//! older models count less.

use fedra_protocol::UpdateRange;

use super::{AccumulatorBounds, ContributionError, Contributor, FinishError, Mean};
use super::{RoundAccumulator, Weight};
use crate::sum::{FixedPointSum, FoldError, MAX_TOTAL_WEIGHT};
use crate::update::CheckedUpdate;

/// Most parts of an example to which a discounted weight is rounded.
const MOST_STEPS: u64 = 16;

/// Weighted mean: the sum of weight times update over the sum of weights.
#[derive(Debug)]
pub struct Plain {
    len: usize,
    range: UpdateRange,
    sum: Option<FixedPointSum>,
    discounts: Option<Discounts>,
}

/// Weights of a buffered round in parts of an example.
#[derive(Debug)]
struct Discounts {
    /// Parts of an example.
    steps: u64,
    /// Weight of the updates in the sum.
    discounted: u64,
    /// Their weight if none were stale.
    undiscounted: u64,
}

impl Plain {
    /// Sum of updates with `len` values within the range. All count in full.
    #[must_use]
    pub fn new(len: usize, range: UpdateRange) -> Self {
        Self { len, range, sum: None, discounts: None }
    }

    /// Sum in which stale updates count less, and the others no more for it.
    /// `largest_weight` is that of all reports of a round together: weights are rounded to
    /// sixteenths of an example, or to as many parts as it leaves room for.
    #[must_use]
    pub fn buffered(len: usize, range: UpdateRange, largest_weight: u64) -> Self {
        let steps = (MAX_TOTAL_WEIGHT / largest_weight.max(1)).clamp(1, MOST_STEPS);
        let discounts = Discounts { steps, discounted: 0, undiscounted: 0 };
        Self { discounts: Some(discounts), ..Self::new(len, range) }
    }

    /// Values of an update.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Range of an update's values.
    pub(super) fn range(&self) -> UpdateRange {
        self.range
    }

    /// Has `fold` add an update to the sum, with the weight that counts. An error leaves
    /// the sum as it was.
    pub(super) fn weigh(
        &mut self,
        weight: Weight,
        fold: impl FnOnce(&mut FixedPointSum, u64) -> Result<(), FoldError>,
    ) -> Result<(), ContributionError> {
        let sum = self.sum.get_or_insert_with(|| FixedPointSum::new(self.len, self.range));
        let Some(discounts) = &mut self.discounts else {
            return Ok(fold(sum, weight.examples)?);
        };
        let whole = weight.examples.saturating_mul(discounts.steps);
        let part = (whole as f64 * weight.discount).round().max(1.0) as u64;
        fold(sum, part)?;
        discounts.discounted += part;
        discounts.undiscounted += whole;
        Ok(())
    }
}

impl RoundAccumulator for Plain {
    fn bounds(&self) -> AccumulatorBounds {
        AccumulatorBounds { memory: FixedPointSum::memory(self.len, self.range) }
    }

    fn add(
        &mut self,
        _from: Contributor,
        update: CheckedUpdate,
        weight: Weight,
    ) -> Result<(), ContributionError> {
        self.weigh(weight, |sum, weight| sum.fold(&update, weight))
    }

    fn finish(self: Box<Self>) -> Result<Mean, FinishError> {
        let mean = self.sum.as_ref().and_then(FixedPointSum::mean);
        let mut delta = mean.ok_or(FinishError::Empty)?;
        if let Some(Discounts { discounted, undiscounted, .. }) = self.discounts {
            let share = discounted as f64 / undiscounted as f64;
            delta.iter_mut().for_each(|value| *value *= share);
        }
        Ok(Mean::of(delta))
    }
}
