//! Coordinate-wise median (Yin et al. 2018, definition 1). Every update weighs the same.

use fedra_protocol::UpdateRange;

use super::held::{Held, by_coordinate};
use super::{AccumulatorBounds, ContributionError, Contributor, FinishError, Mean};
use super::{RoundAccumulator, Weight};
use crate::update::CheckedUpdate;

/// Median of each coordinate; of an even number of values the mean of the two in the
/// middle. Fewer than half of the updates cannot move it out of the range of the others.
#[derive(Debug)]
pub struct Median(Held);

impl Median {
    /// Median of at most `most` updates with `len` values within the range.
    #[must_use]
    pub fn new(len: usize, range: UpdateRange, most: usize) -> Self {
        Self(Held::new(len, range, most))
    }
}

impl RoundAccumulator for Median {
    /// All updates.
    fn bounds(&self) -> AccumulatorBounds {
        AccumulatorBounds { memory: self.0.memory() }
    }

    fn add(
        &mut self,
        _from: Contributor,
        update: CheckedUpdate,
        weight: Weight,
    ) -> Result<(), ContributionError> {
        self.0.add(&update, weight.examples)
    }

    fn finish(self: Box<Self>) -> Result<Mean, FinishError> {
        Ok(Mean::of(by_coordinate(&self.0.close(1)?, median)))
    }
}

/// Median of values, of which there is at least one.
fn median(values: &mut [f32]) -> f64 {
    let is_odd = !values.len().is_multiple_of(2);
    let (below, middle, _) = values.select_nth_unstable_by(values.len() / 2, f32::total_cmp);
    let middle = f64::from(*middle);
    match below.iter().copied().max_by(f32::total_cmp) {
        Some(lower) if !is_odd => f64::midpoint(lower.into(), middle),
        _ => middle,
    }
}
