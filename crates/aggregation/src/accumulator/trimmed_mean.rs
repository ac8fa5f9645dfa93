//! Coordinate-wise trimmed mean (Yin et al. 2018, definition 2). Every update weighs the
//! same.

use fedra_protocol::UpdateRange;

use super::held::{Held, by_coordinate};
use super::{AccumulatorBounds, ContributionError, Contributor, FinishError, Mean};
use super::{RoundAccumulator, Weight};
use crate::update::CheckedUpdate;

/// Mean of each coordinate without its smallest and its largest values. As many updates
/// as are left out at each end cannot move it out of the range of the others.
#[derive(Debug)]
pub struct TrimmedMean {
    held: Held,
    trim: usize,
}

impl TrimmedMean {
    /// Mean of at most `most` updates with `len` values within the range, without `trim`
    /// values at each end.
    #[must_use]
    pub fn new(len: usize, range: UpdateRange, most: usize, trim: u32) -> Self {
        Self { held: Held::new(len, range, most), trim: trim as usize }
    }
}

impl RoundAccumulator for TrimmedMean {
    /// All updates.
    fn bounds(&self) -> AccumulatorBounds {
        AccumulatorBounds { memory: self.held.memory() }
    }

    fn add(
        &mut self,
        _from: Contributor,
        update: CheckedUpdate,
        weight: Weight,
    ) -> Result<(), ContributionError> {
        self.held.add(&update, weight.examples)
    }

    fn finish(self: Box<Self>) -> Result<Mean, FinishError> {
        let trim = self.trim;
        let updates = self.held.close(2 * trim + 1)?;
        let kept = updates.len() - 2 * trim;
        Ok(Mean::of(by_coordinate(&updates, |values| {
            values.sort_unstable_by(f32::total_cmp);
            let sum: f64 = values.iter().skip(trim).take(kept).copied().map(f64::from).sum();
            sum / kept as f64
        })))
    }
}
