//! Accumulators of a round, one file each: how the updates of a cohort become their mean,
//! or an estimate of it that some arbitrary updates cannot spoil, and the memory that this
//! takes.
//!
//! An accumulator takes no memory before its first update, so that its bounds can be asked
//! for free of charge: a task whose rounds would not fit does not start.

mod centred_clipping;
mod clipped;
mod distance;
mod estimator;
mod geometric_median;
mod held;
mod masked;
mod median;
mod multi_krum;
mod norm_bound;
mod packed;
mod plain;
#[cfg(test)]
mod tests;
mod trimmed_mean;

use std::fmt;

use differential_privacy::central::StepError;
use differential_privacy::distributed::{DecodeError, EncodeError};
use fedra_protocol::{
    AdvertisedKeys, EncryptedShare, KeyDirectory, MaskedInputRequest, RevealedShare, RoundId,
    UnmaskingRequest,
};
use fedra_secure_aggregation::PackingError;
use fedra_secure_aggregation::server::{Abandoned, Fault};
use rand::CryptoRng;
use thiserror::Error;

pub use self::centred_clipping::CentredClipping;
pub use self::clipped::{Clipped, ServerNoise};
pub use self::estimator::Estimator;
pub use self::geometric_median::GeometricMedian;
pub use self::masked::Masked;
pub use self::median::Median;
pub use self::multi_krum::MultiKrum;
pub use self::norm_bound::NormBound;
pub use self::packed::{Decoding, PackedSum};
pub use self::plain::Plain;
pub use self::trimmed_mean::TrimmedMean;
use crate::codec::CodecMisfit;
use crate::sum::FoldError;
use crate::update::CheckedUpdate;

/// Sum of a round that is being made, in one of the ways in which updates become a mean.
pub trait RoundAccumulator: fmt::Debug + Send {
    /// Bounds of the round, known before its first update.
    fn bounds(&self) -> AccumulatorBounds;

    /// Adds a client's update. An error leaves the sum as it was.
    ///
    /// # Errors
    ///
    /// [`ContributionError`] for an update that is not one of this round's.
    fn add(
        &mut self,
        from: Contributor,
        update: CheckedUpdate,
        weight: Weight,
    ) -> Result<(), ContributionError>;

    /// Takes a client's answer to a request of [`RoundAccumulator::advance`].
    ///
    /// # Errors
    ///
    /// [`ContributionError`]; a round without such requests takes no answer.
    fn answer(&mut self, _from: Contributor, _answer: Answer) -> Result<(), ContributionError> {
        Err(ContributionError::OutOfPlace)
    }

    /// Closes the step that the round is in and prepares the requests of the next. A
    /// failure is final.
    ///
    /// # Errors
    ///
    /// [`SecureError`]; a round whose clients only send updates has no further step.
    fn advance(&mut self, _rng: &mut dyn CryptoRng) -> Result<Requests, SecureError> {
        Err(SecureError::NotThere)
    }

    /// Goes on as another attempt. The server's noise is that of the attempt as which the
    /// sum is finished; nothing else here depends on it.
    fn renumber(&mut self, _round: RoundId) {}

    /// Closes the sum. Blocking: it may take long.
    ///
    /// # Errors
    ///
    /// [`FinishError`] if there is no mean.
    fn finish(self: Box<Self>) -> Result<Mean, FinishError>;
}

/// Bounds of an accumulator, for a whole round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccumulatorBounds {
    /// Bytes of memory at most: the sum or the updates that are held, and what is needed
    /// beside them for a moment. The mean is not in it.
    pub memory: u64,
}

/// Number of a client, unique within a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Contributor(pub u64);

/// Weight of an update in the mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weight {
    /// Examples behind the update.
    pub examples: u64,
    /// Factor on it for an update of an older model, above 0 and at most 1.
    pub discount: f64,
}

impl Weight {
    /// Weight of an update of the newest model.
    #[must_use]
    pub fn of(examples: u64) -> Self {
        Self { examples, discount: 1.0 }
    }
}

/// Answer of a client that is not an update.
#[derive(Debug)]
pub enum Answer {
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

/// Request to a client in a step. The deadline is filled in when it is sent.
#[derive(Debug, Clone)]
pub enum Request {
    /// Shares of its secrets, for these neighbours.
    Shares(KeyDirectory),
    /// Its masked update.
    MaskedInput(MaskedInputRequest),
    /// Shares that take the masks off the sum.
    Unmasking(UnmaskingRequest),
}

/// Requests for the clients that go on, and those that cannot.
#[derive(Debug, Default)]
pub struct Requests {
    /// Requests, each with its client.
    pub requests: Vec<(Contributor, Request)>,
    /// Clients that cannot go on.
    pub excluded: Vec<Contributor>,
}

/// The average update of a round, or the estimate of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Mean {
    /// One value a parameter.
    pub delta: Vec<f64>,
    /// The share of updates within the clipping norm, if the policy estimates it.
    pub within_clip: Option<f64>,
    /// Shares that did not fit the others and were left out.
    pub wrong_shares: Vec<WrongShare>,
}

impl Mean {
    fn of(delta: Vec<f64>) -> Self {
        Self { delta, within_clip: None, wrong_shares: Vec::new() }
    }
}

/// Share of a secret that did not fit the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongShare {
    /// Owner of the secret.
    pub owner: Contributor,
    /// Sender of the share.
    pub sender: Contributor,
}

/// Reason why an answer of secure aggregation does not count.
#[derive(Debug, Error)]
pub enum AnswerError {
    /// It breaks the rules of the protocol.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It answers another step.
    #[error("not an answer to the step that the round is in")]
    WrongStep,
    /// A share is not an element of the group.
    #[error("a share is not a number below the group's order")]
    NotAShare,
}

/// Reason why a contribution does not count.
#[derive(Debug, Error)]
pub enum ContributionError {
    /// An answer, or a masked update, that does not count.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// Words that are not those of the sum.
    #[error(transparent)]
    Packing(#[from] PackingError),
    /// Values that are not those of the sum, or a weight that does not fit.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// Values that cannot be clipped.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// An update in another form than that of the sum.
    #[error(transparent)]
    Codec(#[from] CodecMisfit),
    /// The round has all the updates that it has memory for.
    #[error("the round holds {most} updates already, the most it has memory for")]
    Full {
        /// Most updates that it holds.
        most: usize,
    },
    /// Not what the clients of this round send.
    #[error("not what this task's clients send")]
    OutOfPlace,
}

/// Reason why secure aggregation cannot go on.
#[derive(Debug, Error)]
pub enum SecureError {
    /// Too few clients are left, or they disagree.
    #[error(transparent)]
    Abandoned(#[from] Abandoned),
    /// The masks cannot be taken off yet.
    #[error("the round has not come to unmasking")]
    NotThere,
}

/// Reason why there is no mean.
#[derive(Debug, Error)]
pub enum FinishError {
    /// The sum is empty.
    #[error("nothing was folded")]
    Empty,
    /// There are fewer updates than the estimator needs.
    #[error("there are {there} updates, and the estimator needs {least}")]
    TooFew {
        /// Updates of the round.
        there: usize,
        /// Fewest that it needs.
        least: usize,
    },
    /// Secure aggregation failed.
    #[error(transparent)]
    Secure(#[from] SecureError),
    /// The sum cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The sum is not one of clipped updates.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The noise cannot be added.
    #[error(transparent)]
    Step(#[from] StepError),
}
