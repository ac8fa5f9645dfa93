//! Sum of encoded updates without masks, modulo a power of two: the mean under a local
//! policy.

use differential_privacy::{ClippingNorm, Decoded, DistributedGaussian};

use super::{AccumulatorBounds, ContributionError, Contributor, FinishError, Mean};
use super::{RoundAccumulator, Weight};
use crate::codec::Packed;
use crate::update::CheckedUpdate;

/// Decoding of a sum of encoded updates to their mean, for one round.
#[derive(Debug, Clone)]
pub struct Decoding {
    /// Encoding of the clients.
    pub encoding: DistributedGaussian,
    /// Clipping norm of the round.
    pub clip: ClippingNorm,
    /// Seed of the rotation's signs.
    pub rotation: [u8; 32],
}

impl Decoding {
    pub(super) fn mean(&self, sum: &[u32], updates: u32) -> Result<Mean, FinishError> {
        let Decoded { mean, within_clip } =
            self.encoding.decode(sum, updates, self.clip, &self.rotation)?;
        Ok(Mean { within_clip, ..Mean::of(mean.into_iter().map(f64::from).collect()) })
    }

    /// Bytes of a sum.
    pub(super) fn memory(&self) -> u64 {
        (self.encoding.len() as u64).saturating_mul(size_of::<u32>() as u64)
    }
}

/// Mean of encoded updates that the server sees. Every update weighs the same.
#[derive(Debug)]
pub struct PackedSum {
    decoding: Decoding,
    sum: Vec<u32>,
    updates: u32,
}

impl PackedSum {
    /// Sum of updates that are encoded for this round.
    #[must_use]
    pub fn new(decoding: Decoding) -> Self {
        Self { decoding, sum: Vec::new(), updates: 0 }
    }
}

impl RoundAccumulator for PackedSum {
    fn bounds(&self) -> AccumulatorBounds {
        AccumulatorBounds { memory: self.decoding.memory() }
    }

    fn add(
        &mut self,
        _from: Contributor,
        update: CheckedUpdate,
        _weight: Weight,
    ) -> Result<(), ContributionError> {
        update.codec().words()?;
        let encoding = &self.decoding.encoding;
        let codec = Packed::new(encoding.len(), encoding.bits());
        self.sum.resize(encoding.len(), 0);
        codec.add_to(update.bytes(), &mut self.sum)?;
        self.updates += 1;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Mean, FinishError> {
        self.sum.resize(self.decoding.encoding.len(), 0);
        let largest = u32::MAX >> (32 - self.decoding.encoding.bits());
        self.sum.iter_mut().for_each(|value| *value &= largest);
        self.decoding.mean(&self.sum, self.updates)
    }
}
