//! Encoding of an update before it leaves the device: what a server accepts, and, under
//! a policy, the noised integers. No I/O; randomness is an argument.

use std::sync::Arc;

use bytes::Bytes;
use differential_privacy::distributed::EncodeError;
use differential_privacy::{ClippingNorm, QuantityError};
use fedra_aggregation::codec::Packed;
use fedra_privacy_policy::DerivedPolicy;
use fedra_protocol::{MaskingGroup, RoundId, RoundPrivacy, TaskId, UpdateRange};
use rand_chacha::rand_core::CryptoRng;

/// Reason why an update cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodingError {
    /// The policy leaves updates as they are.
    #[error("the policy has no encoding")]
    NoEncoding,
    /// The round's clipping norm is none.
    #[error(transparent)]
    ClippingNorm(#[from] QuantityError),
    /// The update does not fit the encoding.
    #[error(transparent)]
    Update(#[from] EncodeError),
}

/// An update that a server has no reason to turn down: one that it turned down
/// because of the data would tell something about them. One with a value that
/// is not finite counts as all zeros. One whose L2 norm is above the range is scaled
/// down to it, so that no value is.
pub fn acceptable(mut update: Vec<f32>, range: UpdateRange) -> Vec<f32> {
    let longest = f64::from(range.magnitude());
    let square = |value: &f32| f64::from(*value) * f64::from(*value);
    let norm = update.iter().map(square).sum::<f64>().sqrt();
    if !norm.is_finite() {
        update.fill(0.0);
    } else if norm > longest {
        let factor = longest / norm;
        update.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
    }
    update
}

/// Round of a task that an update is for, and its privacy.
#[derive(Clone, Debug)]
pub struct PrivateRound {
    /// The task.
    pub task: TaskId,
    /// The round in it.
    pub round: RoundId,
    /// The task's policy, with what is derived from it.
    pub privacy: Arc<DerivedPolicy>,
    /// Terms of this round.
    pub terms: RoundPrivacy,
    /// Factor on the clipped update, at most 1.
    pub weight: f64,
}

impl PrivateRound {
    /// The round that a masking group's sum is for, in place of that of the invitation.
    #[must_use]
    pub fn of_group(self, group: Option<&MaskingGroup>) -> Self {
        match group {
            Some(&MaskingGroup { round, privacy: terms, weight }) => {
                Self { round, terms, weight, ..self }
            }
            None => self,
        }
    }

    /// The update with this client's noise, packed: what a local policy sends.
    pub fn noised(&self, update: &[f32], rng: &mut impl CryptoRng) -> Result<Bytes, EncodingError> {
        let words = self.encode(update, rng)?;
        Ok(self.pack(&words))
    }

    pub(crate) fn encode(
        &self,
        update: &[f32],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u32>, EncodingError> {
        let encoding = self.privacy.encoding().ok_or(EncodingError::NoEncoding)?;
        let clip = ClippingNorm::new(self.terms.clipping_norm)?;
        Ok(encoding.encode_weighted(update, self.weight, clip, &self.terms.rotation, rng)?)
    }

    pub(crate) fn pack(&self, words: &[u32]) -> Bytes {
        let bits = self.privacy.encoding().map_or(32, |encoding| encoding.bits());
        Packed::new(words.len(), bits).encode(words).into()
    }
}
