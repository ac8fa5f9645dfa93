//! Mean of updates whose norm is bounded (Sun et al. 2019, section 3.2). Updates weigh by
//! their examples, as in the plain mean.

use super::distance::norm;
use super::{AccumulatorBounds, ContributionError, Contributor, FinishError, Mean};
use super::{Plain, RoundAccumulator, Weight};
use crate::update::CheckedUpdate;

/// Mean of updates, each scaled down to a norm if it is longer. An update moves the mean by
/// at most its share of the weight times that norm. It holds one update at a time.
#[derive(Debug)]
pub struct NormBound {
    mean: Plain,
    norm: f64,
}

impl NormBound {
    /// The same sum of updates that are scaled down to `norm`, above 0.
    #[must_use]
    pub fn new(mean: Plain, norm: f64) -> Self {
        Self { mean, norm }
    }
}

impl RoundAccumulator for NormBound {
    /// The sum, and the values of one update.
    fn bounds(&self) -> AccumulatorBounds {
        let update = (self.mean.len() as u64).saturating_mul(size_of::<f32>() as u64);
        AccumulatorBounds { memory: self.mean.bounds().memory.saturating_add(update) }
    }

    fn add(
        &mut self,
        _from: Contributor,
        update: CheckedUpdate,
        weight: Weight,
    ) -> Result<(), ContributionError> {
        let mut values = update.values_within(self.mean.len(), self.mean.range())?;
        let length = norm(&values);
        if length > self.norm {
            let factor = self.norm / length;
            values.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
        }
        self.mean.weigh(weight, |sum, weight| sum.fold_values(&values, weight))
    }

    fn finish(self: Box<Self>) -> Result<Mean, FinishError> {
        Box::new(self.mean).finish()
    }
}
