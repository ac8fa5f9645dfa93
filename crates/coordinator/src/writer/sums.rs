//! Sum of a round under any treatment of its updates by the task's policy: plain,
//! clipped by the server, encoded by the clients, or masked as well.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use differential_privacy::central::{CentralMean, StepError};
use differential_privacy::distributed::{DecodeError, EncodeError};
use differential_privacy::{CentralGaussian, ClippingNorm, Decoded, QuantityError};
use fedra_aggregation::{CheckedUpdate, FixedPointSum, FoldError};
use fedra_privacy_policy::{DerivedPolicy, PrivacyError};
use fedra_protocol::{
    AdvertisedKeys, EncryptedShare, Mechanism, RevealedShare, RoundId, RoundPrivacy, TaskId,
    UpdateFault, UpdateRange,
};
use fedra_secure_aggregation::{PackingError, add_packed};
use rand::CryptoRng;
use thiserror::Error;

use super::noise::CentralNoise;
use super::secure::{AnswerError, Requests, SecureError, SecureSum};
use crate::round::{ClientId, Stage};

/// Room of an update in the server's upload budget, given back when this is dropped.
/// The driver of the machines puts in the value that does so.
pub struct Room(Option<Box<dyn Any + Send + Sync>>);

impl Room {
    /// Room that is held by `guard`.
    #[must_use]
    pub fn held_by(guard: impl Any + Send + Sync) -> Self {
        Self(Some(Box::new(guard)))
    }

    /// Room where there is no budget.
    #[must_use]
    pub fn unlimited() -> Self {
        Self(None)
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Room(held)" } else { "Room(unlimited)" })
    }
}

/// Update as it was received, with its room in the upload budget until it is folded.
#[derive(Debug)]
pub struct Received<T> {
    /// The update.
    pub update: T,
    /// Held, not read.
    pub room: Room,
}

/// Contribution of a client to a round.
#[derive(Debug)]
pub enum Contribution {
    /// A plain update and its weight.
    Update(Received<CheckedUpdate<Bytes>>, u64),
    /// An encoded update: under secure aggregation masked, otherwise not.
    Encoded(Received<Bytes>),
    /// Its keys for secure aggregation.
    Keys(AdvertisedKeys),
    /// Shares of its secrets.
    Shares(Vec<EncryptedShare>),
    /// Shares that take the masks off the sum.
    UnmaskingShares {
        /// Shares of the own masks of clients that are in the sum.
        self_masks: Vec<RevealedShare>,
        /// Shares of the pairwise masks of clients that are not.
        pairwise: Vec<RevealedShare>,
    },
}

impl Contribution {
    /// Fault of the contribution if it does not count.
    pub(super) fn fault(&self) -> UpdateFault {
        match self {
            Self::Update(..) | Self::Encoded(_) => UpdateFault::OutOfRange,
            Self::Keys(_) => UpdateFault::InvalidKeys,
            Self::Shares(_) | Self::UnmaskingShares { .. } => UpdateFault::InvalidShares,
        }
    }

    /// Bytes that are folded; none for the steps around secure aggregation.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Update(received, _) => 4 * received.update.len() as u64,
            Self::Encoded(received) => received.update.len() as u64,
            Self::Keys(_) | Self::Shares(_) | Self::UnmaskingShares { .. } => 0,
        }
    }
}

/// Reason why there is no mean.
#[derive(Debug, Error)]
pub enum SumError {
    /// The updates do not add up.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The sum is empty.
    #[error("nothing was folded")]
    Empty,
    /// The task has a privacy policy, and the round was opened without its numbers.
    #[error("the round has no numbers under the task's privacy policy")]
    NoNumbers,
    /// Secure aggregation failed.
    #[error(transparent)]
    Secure(#[from] SecureError),
    /// The sum cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An update cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The noise cannot be added.
    #[error(transparent)]
    Step(#[from] StepError),
    /// A number of the round is out of range.
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    /// The policy has no terms for this round.
    #[error(transparent)]
    Privacy(#[from] PrivacyError),
}

/// Reason why a contribution does not count.
#[derive(Debug, Error)]
pub enum ContributionError {
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error(transparent)]
    Packing(#[from] PackingError),
    #[error(transparent)]
    Fold(#[from] FoldError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    #[error("not what this task's clients send")]
    OutOfPlace,
}

/// The average update of a round.
pub(super) struct Mean {
    pub delta: Vec<f64>,
    /// The share of updates within the clipping norm, if the policy estimates it.
    pub within_clip: Option<f64>,
}

/// A private round's own numbers, and what they are about.
#[derive(Clone)]
pub(super) struct PrivateRound {
    pub task: TaskId,
    pub round: RoundId,
    pub privacy: Arc<DerivedPolicy>,
    pub numbers: RoundPrivacy,
}

/// The sum that a round is building.
pub(super) enum RoundSum {
    Plain(FixedPointSum),
    Central { round: PrivateRound, sum: Vec<i64>, updates: u32 },
    Encoded { round: PrivateRound, sum: Vec<u32>, updates: u32 },
    Secure(PrivateRound, Box<SecureSum>),
}

impl RoundSum {
    pub(super) fn plain(parameters: usize, range: UpdateRange) -> Self {
        Self::Plain(FixedPointSum::new(parameters, range))
    }

    pub(super) fn private(round: PrivateRound) -> Result<Self, SumError> {
        let words = round.privacy.encoding().map_or(0, |encoding| encoding.len());
        let integers = round.privacy.central().map_or(0, CentralGaussian::len);
        let policy = round.privacy.policy();
        Ok(match policy.mechanism {
            Mechanism::Central { .. } => {
                Self::Central { round, sum: vec![0; integers], updates: 0 }
            }
            Mechanism::Local => Self::Encoded { round, sum: vec![0; words], updates: 0 },
            Mechanism::Distributed => {
                let terms = round.privacy.secure_terms(&round.task, round.round, &round.numbers)?;
                let sum = SecureSum::new(round.round, terms, policy.cohort);
                Self::Secure(round, Box::new(sum))
            }
        })
    }

    /// Takes what a client has sent.
    pub(super) fn take(
        &mut self,
        client: ClientId,
        contribution: Contribution,
    ) -> Result<(), ContributionError> {
        use Contribution as C;
        match (self, contribution) {
            (Self::Plain(sum), C::Update(received, weight)) => {
                sum.fold(&received.update, weight)?;
            }
            (Self::Central { round, sum, updates }, C::Update(received, _)) => {
                clip_into(round, sum, &received.update)?;
                *updates += 1;
            }
            (Self::Encoded { round, sum, updates }, C::Encoded(received)) => {
                let bits = round.privacy.encoding().map_or(32, |encoding| encoding.bits());
                add_packed(&received.update, bits, sum)?;
                *updates += 1;
            }
            (Self::Secure(_, sum), C::Keys(keys)) => sum.advertise(client, keys)?,
            (Self::Secure(_, sum), C::Shares(shares)) => sum.share(client, shares)?,
            (Self::Secure(_, sum), C::Encoded(received)) => {
                sum.collect(client, &received.update)?;
            }
            (Self::Secure(_, sum), C::UnmaskingShares { self_masks, pairwise }) => {
                sum.unmask(client, &self_masks, &pairwise)?;
            }
            _ => return Err(ContributionError::OutOfPlace),
        }
        Ok(())
    }

    /// Prepares the requests of `stage`. There are none outside secure aggregation.
    pub(super) fn advance(
        &mut self,
        stage: Stage,
        rng: &mut dyn CryptoRng,
    ) -> Result<Requests, SecureError> {
        match (self, stage) {
            (_, Stage::Update) => Ok(Requests::default()),
            (Self::Secure(_, sum), _) => Ok(sum.advance(rng)?),
            _ => Err(SecureError::NotThere),
        }
    }

    /// Closes the sum. `noise` is the server's, for a central policy.
    pub(super) fn mean(&mut self, noise: Option<&CentralNoise>) -> Result<Mean, SumError> {
        match self {
            Self::Plain(sum) => {
                let delta = sum.mean().ok_or(SumError::Empty)?;
                Ok(Mean { delta, within_clip: None })
            }
            Self::Central { round, sum, updates } => {
                let (Some(central), Some(noise)) = (round.privacy.central(), noise) else {
                    return Err(SumError::Empty);
                };
                let clip = ClippingNorm::new(round.numbers.clipping_norm)?;
                noise.add(round.round, sum)?;
                let CentralMean { mean, within_clip } = central.decode(sum, *updates, clip)?;
                Ok(Mean { delta: mean.into_iter().map(f64::from).collect(), within_clip })
            }
            Self::Encoded { round, sum, updates } => {
                let bits = round.privacy.encoding().map_or(32, |encoding| encoding.bits());
                sum.iter_mut().for_each(|value| *value &= u32::MAX >> (32 - bits));
                decode(round, sum, *updates)
            }
            Self::Secure(round, sum) => {
                let opened = sum.open()?;
                decode(round, &opened.sum, opened.survivors)
            }
        }
    }
}

/// Clips an update and adds it: what it adds has an exact bound.
fn clip_into(
    round: &PrivateRound,
    sum: &mut [i64],
    update: &CheckedUpdate<Bytes>,
) -> Result<(), ContributionError> {
    let central = round.privacy.central().ok_or(ContributionError::OutOfPlace)?;
    let clip = ClippingNorm::new(round.numbers.clipping_norm)?;
    let contribution = central.encode(&update.to_vec(), clip)?;
    for (sum, value) in sum.iter_mut().zip(contribution) {
        *sum = sum.wrapping_add(value);
    }
    Ok(())
}

fn decode(round: &PrivateRound, sum: &[u32], survivors: u32) -> Result<Mean, SumError> {
    let Some(encoding) = round.privacy.encoding() else {
        return Err(SumError::Empty);
    };
    let clip = ClippingNorm::new(round.numbers.clipping_norm)?;
    let Decoded { mean, within_clip } =
        encoding.decode(sum, survivors, clip, &round.numbers.rotation)?;
    Ok(Mean { delta: mean.into_iter().map(f64::from).collect(), within_clip })
}
