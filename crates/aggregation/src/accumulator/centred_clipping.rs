//! Centred clipping (Karimireddy et al. 2021, algorithm 2). Every update weighs the same.

use fedra_protocol::UpdateRange;

use super::distance::distance;
use super::held::Held;
use super::{AccumulatorBounds, ContributionError, Contributor, FinishError, Mean};
use super::{RoundAccumulator, Weight};
use crate::update::CheckedUpdate;

/// Centre that is moved by the mean of the updates' differences from it, each scaled down
/// to a norm if it is longer. It begins at the zero vector, not at the estimate of the
/// round before: an accumulator has no memory, and a model moves little in a round. The
/// more iterations, the farther it can go.
///
/// A step maps two centres to two that are no farther apart. So f arbitrary updates out of
/// n move the estimate by at most 2 f / n times the norm, times the iterations.
#[derive(Debug)]
pub struct CentredClipping {
    held: Held,
    norm: f64,
    iterations: u32,
}

impl CentredClipping {
    /// Centre of at most `most` updates with `len` values within the range, after
    /// `iterations` steps with differences of at most `norm`, above 0.
    #[must_use]
    pub fn new(len: usize, range: UpdateRange, most: usize, norm: f64, iterations: u32) -> Self {
        Self { held: Held::new(len, range, most), norm, iterations }
    }
}

impl RoundAccumulator for CentredClipping {
    /// All updates, and the step of the centre.
    fn bounds(&self) -> AccumulatorBounds {
        let step = (self.held.len() as u64).saturating_mul(size_of::<f64>() as u64);
        AccumulatorBounds { memory: self.held.memory().saturating_add(step) }
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
        let mut centre = vec![0.0; self.held.len()];
        let updates = self.held.close(1)?;
        for _ in 0..self.iterations {
            let mut step = vec![0.0; centre.len()];
            for update in &updates {
                let length = distance(&centre, &update.values);
                let share = (self.norm / length).min(1.0) / updates.len() as f64;
                let differences = update.values.iter().zip(&centre);
                let differences = differences.map(|(value, centre)| f64::from(*value) - centre);
                step.iter_mut().zip(differences).for_each(|(sum, value)| *sum += share * value);
            }
            centre.iter_mut().zip(step).for_each(|(centre, step)| *centre += step);
        }
        Ok(Mean::of(centre))
    }
}
