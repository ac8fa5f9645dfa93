//! Multi-Krum (Blanchard et al. 2017, section 4): the mean of the updates that are nearest
//! to others. Every update weighs the same.

use fedra_protocol::UpdateRange;

use super::distance::squared_distance;
use super::held::{Held, HeldUpdate};
use super::{AccumulatorBounds, ContributionError, Contributor, FinishError, Mean};
use super::{RoundAccumulator, Weight};
use crate::update::CheckedUpdate;

/// Mean of the n - f - 2 updates with the lowest score, out of n of which f may be
/// arbitrary. An update's score is the sum of its squared distances from the n - f - 2
/// nearest others. n is at least 2 f + 3.
#[derive(Debug)]
pub struct MultiKrum {
    held: Held,
    byzantine: usize,
}

impl MultiKrum {
    /// Mean of at most `most` updates with `len` values within the range, of which
    /// `byzantine` may be arbitrary.
    #[must_use]
    pub fn new(len: usize, range: UpdateRange, most: usize, byzantine: u32) -> Self {
        Self { held: Held::new(len, range, most), byzantine: byzantine as usize }
    }
}

impl RoundAccumulator for MultiKrum {
    /// All updates, and their distances from each other.
    fn bounds(&self) -> AccumulatorBounds {
        let most = self.held.most() as u64;
        let distances = most.saturating_mul(most).saturating_mul(size_of::<f64>() as u64);
        AccumulatorBounds { memory: self.held.memory().saturating_add(distances) }
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
        let len = self.held.len();
        let updates = self.held.close(2 * self.byzantine + 3)?;
        let near = updates.len() - self.byzantine - 2;
        let mut ranked: Vec<_> = scores(&updates, near).into_iter().zip(&updates).collect();
        // Stable: among equals the order of the updates decides, not that of arrival.
        ranked.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let mut mean = vec![0.0; len];
        for (_, update) in ranked.iter().take(near) {
            let pairs = mean.iter_mut().zip(&update.values);
            pairs.for_each(|(sum, value)| *sum += f64::from(*value) / near as f64);
        }
        Ok(Mean::of(mean))
    }
}

/// Score of each update: the sum of its squared distances from the `near` nearest others.
fn scores(updates: &[HeldUpdate], near: usize) -> Vec<f64> {
    let count = updates.len();
    let mut distances = vec![vec![0.0; count]; count];
    for (i, one) in updates.iter().enumerate() {
        for (j, other) in updates.iter().enumerate().skip(i + 1) {
            let distance = squared_distance(&one.values, &other.values);
            distances[i][j] = distance;
            distances[j][i] = distance;
        }
    }
    let score = |(own, mut row): (usize, Vec<f64>)| {
        row.swap_remove(own);
        row.sort_by(f64::total_cmp);
        row.iter().take(near).sum()
    };
    distances.into_iter().enumerate().map(score).collect()
}
