//! Contributions to a round, and the accumulator that a task's rounds need.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use differential_privacy::{ClippingNorm, QuantityError};
use fedra_aggregation::accumulator::{
    AccumulatorBounds, Answer, Clipped, Decoding, Estimator, FinishError, Masked, PackedSum, Plain,
    RoundAccumulator, ServerNoise,
};
use fedra_aggregation::codec::CodecMisfit;
use fedra_aggregation::{CheckedUpdate, UpdateShape};
use fedra_privacy_policy::{DerivedPolicy, PrivacyError};
use fedra_protocol::{CodecName, Mechanism, RoundId, RoundPrivacy, TaskId, UpdateFault};
use thiserror::Error;

use super::noise::Noise;
use crate::round::Mode;
use crate::settings::{Payload, TaskSettings};

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

/// Update as it was received, with its room in the upload budget until it is added.
#[derive(Debug)]
pub struct Received {
    /// The update.
    pub update: CheckedUpdate,
    /// Held, not read.
    pub room: Room,
}

/// Contribution of a client to a round.
#[derive(Debug)]
pub enum Contribution {
    /// An update and its weight.
    Update(Received, u64),
    /// An answer to a request of secure aggregation.
    Answer(Answer),
}

impl Contribution {
    /// Fault of the contribution if it does not count.
    pub(super) fn fault(&self) -> UpdateFault {
        match self {
            Self::Update(..) => UpdateFault::OutOfRange,
            Self::Answer(Answer::Keys(_)) => UpdateFault::InvalidKeys,
            Self::Answer(Answer::Shares(_) | Answer::UnmaskingShares { .. }) => {
                UpdateFault::InvalidShares
            }
        }
    }

    /// Bytes that are folded; none for the steps around secure aggregation.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Update(received, _) => received.update.bytes().len() as u64,
            Self::Answer(_) => 0,
        }
    }
}

/// Reason why there is no sum.
#[derive(Debug, Error)]
pub enum SumError {
    /// No attempt at a round is under way.
    #[error("no attempt at a round is under way")]
    NoAttempt,
    /// The task has a privacy policy, and the round was opened without its numbers.
    #[error("the round has no numbers under the task's privacy policy")]
    NoNumbers,
    /// The task's codec is for updates of another shape.
    #[error("the codec is for {codec:?}, the task's updates are {task:?}")]
    Shape {
        /// Shape that the codec is for.
        codec: UpdateShape,
        /// Shape of the task's updates.
        task: UpdateShape,
    },
    /// The task's codec is not one of its updates.
    #[error(transparent)]
    Codec(#[from] CodecMisfit),
    /// A number of the round is out of range.
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    /// The policy has no terms for this round.
    #[error(transparent)]
    Privacy(#[from] PrivacyError),
    /// The sum has no mean.
    #[error(transparent)]
    Finish(#[from] FinishError),
}

/// Bounds of each of a task's rounds.
///
/// # Errors
///
/// [`SumError`] if the task's settings do not fit each other.
pub fn round_bounds(settings: &TaskSettings) -> Result<AccumulatorBounds, SumError> {
    // Nothing is ever added to this one, so its noise does not matter.
    let noise = Noise::of(settings, || Ok::<_, Infallible>([0; 32]));
    let noise = noise.unwrap_or_else(|never| match never {});
    let numbers = settings
        .policy()
        .map(|policy| RoundPrivacy { clipping_norm: policy.clipping_norm, rotation: [0; 32] });
    let round = RoundId { round: 1, attempt: 0 };
    Ok(open(settings, &noise, round, numbers)?.bounds())
}

/// Accumulator of an attempt at a round. `noise` is the server's, under a central policy;
/// `numbers` are the round's, for any.
pub(super) fn open(
    settings: &TaskSettings,
    noise: &Noise,
    round: RoundId,
    numbers: Option<RoundPrivacy>,
) -> Result<Box<dyn RoundAccumulator>, SumError> {
    let shape = settings.codec.shape();
    if shape != settings.update_shape() {
        return Err(SumError::Shape { codec: shape, task: settings.update_shape() });
    }
    let Payload { codec, derived } = settings.payload(round.round);
    match (derived, numbers) {
        (None, _) => {
            // A score is what a client says it is, and says little by itself.
            let estimator = match settings.evaluation(round.round) {
                None => settings.estimator,
                Some(_) => Estimator::Mean,
            };
            plain(settings, codec.shape(), estimator)
        }
        // A plain sum would have neither clipping nor noise.
        (Some(_), None) => Err(SumError::NoNumbers),
        (Some(derived), Some(numbers)) => {
            let noise = match settings.evaluation(round.round) {
                None => noise.updates.as_ref(),
                Some(_) => noise.scores.as_ref(),
            };
            private(&settings.id, &derived, codec.shape(), noise, round, &numbers)
        }
    }
}

fn plain(
    settings: &TaskSettings,
    shape: UpdateShape,
    estimator: Estimator,
) -> Result<Box<dyn RoundAccumulator>, SumError> {
    let UpdateShape::Values { len, range } = shape else {
        return Err(CodecMisfit { name: CodecName::F32, shape }.into());
    };
    let plan = &settings.plan;
    let sum = match plan.mode {
        Mode::Synchronous => Plain::new(len, range),
        Mode::Buffered { .. } => {
            let largest_weight = plan.max_weight.saturating_mul(plan.most_reports() as u64);
            Plain::buffered(len, range, largest_weight)
        }
    };
    Ok(estimator.accumulator(sum, plan.most_reports()))
}

fn private(
    task: &TaskId,
    derived: &DerivedPolicy,
    shape: UpdateShape,
    noise: Option<&Arc<ServerNoise>>,
    round: RoundId,
    numbers: &RoundPrivacy,
) -> Result<Box<dyn RoundAccumulator>, SumError> {
    let policy = derived.policy();
    let clip = ClippingNorm::new(numbers.clipping_norm)?;
    let decoding = || match derived.encoding().cloned() {
        Some(encoding) => Ok(Decoding { encoding, clip, rotation: numbers.rotation }),
        None => Err(CodecMisfit { name: CodecName::Packed, shape }),
    };
    Ok(match policy.mechanism {
        Mechanism::Central { .. } => {
            let noise = noise.ok_or(SumError::NoNumbers)?;
            Box::new(Clipped::new(Arc::clone(noise), clip, round))
        }
        Mechanism::Local => Box::new(PackedSum::new(decoding()?)),
        Mechanism::Distributed => {
            let terms = derived.secure_terms(task, round, numbers)?;
            Box::new(Masked::new(round, terms, policy.cohort, decoding()?))
        }
    })
}
