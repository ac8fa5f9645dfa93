//! Mean under a central policy: the server clips each update as it adds it, in integers,
//! and adds its own noise to the sum. In a buffered round updates of older models count
//! less.

use std::sync::Arc;

use differential_privacy::accounting::Correlation;
use differential_privacy::central::{CentralMean, StepError};
use differential_privacy::{
    CentralGaussian, ClippingNorm, CorrelatedNoise, NoiseSecret, TreeAggregation,
};
use fedra_protocol::{BandedNoise, CentralNoise, RoundId};

use super::{AccumulatorBounds, ContributionError, Contributor, FinishError, Mean};
use super::{RoundAccumulator, Weight};
use crate::update::CheckedUpdate;

/// Mean of clipped updates with the server's noise: their sum over their number. Every
/// update weighs the same, except that a discount shrinks what it adds. It does not shrink
/// the divisor, which stays the number of updates: others count no more for it, and the noise
/// of the mean no less.
#[derive(Debug)]
pub struct Clipped {
    noise: Arc<ServerNoise>,
    clip: ClippingNorm,
    round: RoundId,
    sum: Vec<i64>,
    updates: u32,
}

impl Clipped {
    /// Sum of an attempt at a round: updates clipped to `clip`, and the noise that is this
    /// attempt's.
    #[must_use]
    pub fn new(noise: Arc<ServerNoise>, clip: ClippingNorm, round: RoundId) -> Self {
        Self { noise, clip, round, sum: Vec::new(), updates: 0 }
    }

    fn integers(&self) -> usize {
        self.noise.mechanism().len()
    }
}

impl RoundAccumulator for Clipped {
    /// The sum, and for one update its values and its integers.
    fn bounds(&self) -> AccumulatorBounds {
        let per_value = size_of::<i64>() + size_of::<f32>() + size_of::<i64>();
        AccumulatorBounds { memory: (self.integers() as u64).saturating_mul(per_value as u64) }
    }

    fn add(
        &mut self,
        _from: Contributor,
        update: CheckedUpdate,
        weight: Weight,
    ) -> Result<(), ContributionError> {
        // What it adds has an exact bound.
        let mechanism = self.noise.mechanism();
        let mut contribution = mechanism.encode(&update.to_vec()?, self.clip)?;
        mechanism.discount(&mut contribution, weight.discount);
        self.sum.resize(self.integers(), 0);
        for (sum, value) in self.sum.iter_mut().zip(contribution) {
            *sum = sum.wrapping_add(value);
        }
        self.updates += 1;
        Ok(())
    }

    fn renumber(&mut self, round: RoundId) {
        self.round = round;
    }

    fn finish(mut self: Box<Self>) -> Result<Mean, FinishError> {
        self.sum.resize(self.integers(), 0);
        self.noise.add(self.round, &mut self.sum)?;
        let CentralMean { mean, within_clip } =
            self.noise.mechanism().decode(&self.sum, self.updates, self.clip)?;
        Ok(Mean { within_clip, ..Mean::of(mean.into_iter().map(f64::from).collect()) })
    }
}

/// The server's own noise: fresh in every round, along a tree over the rounds, or correlated
/// over them. Drawn again from the task's secret when it is needed, so that a restart changes
/// nothing.
#[derive(Debug)]
pub enum ServerNoise {
    /// Fresh in every attempt at a round.
    Independent(CentralGaussian, NoiseSecret),
    /// Along a tree.
    Tree(TreeAggregation),
    /// Of which each round takes back a part of the rounds before.
    Correlated(CorrelatedNoise),
}

impl ServerNoise {
    /// Noise of a policy, drawn from its task's secret.
    #[must_use]
    pub fn new(mechanism: CentralGaussian, secret: [u8; 32], noise: CentralNoise) -> Self {
        let secret = NoiseSecret::new(secret);
        match noise {
            CentralNoise::Independent => Self::Independent(mechanism, secret),
            CentralNoise::Tree { rounds } => {
                Self::Tree(TreeAggregation::new(mechanism, secret, rounds))
            }
            CentralNoise::Banded(BandedNoise { rounds, band, exponent, .. }) => {
                let correlation = Correlation::fractional(band, exponent);
                Self::Correlated(CorrelatedNoise::new(mechanism, secret, correlation, rounds))
            }
        }
    }

    fn mechanism(&self) -> &CentralGaussian {
        match self {
            Self::Independent(mechanism, _) => mechanism,
            Self::Tree(tree) => tree.mechanism(),
            Self::Correlated(noise) => noise.mechanism(),
        }
    }

    /// Adds noise that is independent for each attempt. Noise that goes on from round to
    /// round is the exception, because only one of the attempts at a round is ever released.
    fn add(&self, round: RoundId, sum: &mut [i64]) -> Result<(), StepError> {
        let number = u32::try_from(round.round).unwrap_or(u32::MAX);
        match self {
            Self::Independent(central, secret) => {
                let attempt = u16::try_from(round.attempt).unwrap_or(u16::MAX);
                central.add_noise(secret, number, attempt, sum);
                Ok(())
            }
            Self::Tree(tree) => tree.add_increment(number, sum),
            Self::Correlated(noise) => noise.add(number, sum),
        }
    }
}
