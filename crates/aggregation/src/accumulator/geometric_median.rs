//! Geometric median by the smoothed Weiszfeld algorithm, RFA (Pillutla et al. 2022,
//! algorithm 2). Updates weigh by their examples, as there.

use fedra_protocol::UpdateRange;

use super::distance::distance;
use super::held::{Held, HeldUpdate};
use super::{AccumulatorBounds, ContributionError, Contributor, FinishError, Mean};
use super::{RoundAccumulator, Weight};
use crate::update::CheckedUpdate;

/// Distance below which an update counts as one at this distance, as in the paper's
/// experiments.
const SMOOTHING: f64 = 1e-6;

/// Point whose distances from the updates have the smallest weighted sum, approached from
/// the zero vector: the first step weighs each update by the inverse of its length, so that
/// a long one counts no more than a short one. A step never lengthens that sum but for the
/// smoothing. So with a share s < 1/2 of the weight behind arbitrary updates, the estimate
/// is at most 2 (1 - s) / (1 - 2 s) times as long as the longest of the others, after any
/// number of steps.
#[derive(Debug)]
pub struct GeometricMedian {
    held: Held,
    iterations: u32,
}

impl GeometricMedian {
    /// Geometric median of at most `most` updates with `len` values within the range,
    /// after `iterations` steps.
    #[must_use]
    pub fn new(len: usize, range: UpdateRange, most: usize, iterations: u32) -> Self {
        Self { held: Held::new(len, range, most), iterations }
    }
}

impl RoundAccumulator for GeometricMedian {
    /// All updates, and the point before a step.
    fn bounds(&self) -> AccumulatorBounds {
        let point = (self.held.len() as u64).saturating_mul(size_of::<f64>() as u64);
        AccumulatorBounds { memory: self.held.memory().saturating_add(point) }
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
        let mut point = vec![0.0; self.held.len()];
        let updates = self.held.close(1)?;
        for _ in 0..self.iterations {
            let factor = |update: &HeldUpdate| {
                update.weight as f64 / distance(&point, &update.values).max(SMOOTHING)
            };
            let factors: Vec<f64> = updates.iter().map(factor).collect();
            let total: f64 = factors.iter().sum();
            let mut next = vec![0.0; point.len()];
            for (factor, update) in factors.iter().zip(&updates) {
                let share = factor / total;
                let pairs = next.iter_mut().zip(&update.values);
                pairs.for_each(|(sum, value)| *sum += share * f64::from(*value));
            }
            point = next;
        }
        Ok(Mean::of(point))
    }
}
