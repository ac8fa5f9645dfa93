//! Path from what a device has learned in a round to what leaves it: the check, the policy's
//! mechanism and the weight. No I/O; randomness is an argument.

use std::sync::Arc;

use bytes::Bytes;
use fedra_aggregation::codec::{Codec, CodecMisfit, UpdateShape};
use fedra_learning::{LearningError, check_update};
use fedra_privacy_policy::DerivedPolicy;
use fedra_protocol::{
    Mechanism, RoundAssignment, RoundPrivacy, Scores, TaskDescription, UpdateRange,
};
use rand_chacha::rand_core::CryptoRng;

use crate::encoding::{EncodingError, PrivateRound, acceptable};
use crate::secure_round::SecureRound;
use crate::session::SecureReply;

/// Work of a device in a round.
#[derive(Clone, Debug)]
pub struct RoundJob {
    /// The task.
    pub task: Arc<TaskDescription>,
    /// The policy that the round's updates, or its scores, are under.
    pub privacy: Option<Arc<DerivedPolicy>>,
    /// The server's assignment.
    pub assignment: RoundAssignment,
}

/// An update, local minus global, or the scores that take its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// A value for each that the round asks for.
    pub values: Vec<f32>,
    /// Examples behind them.
    pub examples: u64,
}

/// Update or secrets that leave a device, or values that are still to be encoded.
pub enum Outgoing {
    /// Values that leave in the round's codec.
    Values(Learned),
    /// An update in the form in which it leaves; its weight is 1.
    Update(Bytes),
    /// The first step of secure aggregation, and the state after it.
    Secured(Box<SecureRound>, SecureReply),
}

/// Reason why nothing leaves.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    /// The task has a policy and the round no terms, or the other way round.
    #[error("the round does not fit the task")]
    Terms,
    /// The server would turn the values down.
    #[error(transparent)]
    Values(#[from] LearningError),
    /// The update cannot be encoded.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
}

impl RoundJob {
    /// Number of the values that the round asks for, and their range.
    pub fn values(&self) -> (usize, UpdateRange) {
        let TaskDescription { model, update_range, .. } = &*self.task;
        match self.assignment.evaluates {
            false => (model.parameters(), *update_range),
            true => (Scores::len(model), Scores::range()),
        }
    }

    /// True if the round's training has a correction by control variates.
    pub fn trains_with_variates(&self) -> bool {
        let RoundAssignment { training, evaluates, .. } = &self.assignment;
        !evaluates && training.algorithm().has_variates()
    }

    /// Form in which they leave.
    ///
    /// # Errors
    ///
    /// [`CodecMisfit`] if the assignment names a codec of other values.
    pub fn codec(&self) -> Result<Codec, CodecMisfit> {
        let encoding = self.privacy.as_ref().and_then(|privacy| privacy.encoding());
        let (len, range) = self.values();
        Codec::new(self.assignment.codec, UpdateShape::new(len, range, encoding))
    }

    /// Result of the work. Under a policy a failure is told and counts as zeros, because an
    /// update that is missing would tell something about the data.
    ///
    /// # Errors
    ///
    /// The failure, without a policy.
    pub fn admitted<E>(
        &self,
        learned: Result<Learned, E>,
        tell: impl FnOnce(E),
    ) -> Result<Learned, E> {
        learned.or_else(|failure| {
            if self.privacy.is_none() {
                return Err(failure);
            }
            tell(failure);
            Ok(Learned { values: vec![0.0; self.values().0], examples: 0 })
        })
    }

    /// Brings values into the form in which they may leave. `rng` draws the noise and the
    /// secrets of a policy.
    ///
    /// # Errors
    ///
    /// [`OutgoingError`] if nothing may leave.
    pub fn protect(
        &self,
        learned: Learned,
        rng: &mut impl CryptoRng,
    ) -> Result<Outgoing, OutgoingError> {
        let (_, range) = self.values();
        let Some((privacy, terms)) = self.terms()? else {
            check_update(&learned.values, range)?;
            let weighs_one = self.assignment.training.algorithm().has_variates();
            let examples = if weighs_one { 1 } else { learned.examples };
            return Ok(Outgoing::Values(Learned { examples, ..learned }));
        };
        let round = PrivateRound {
            task: self.task.id.clone(),
            round: self.assignment.round,
            privacy: Arc::clone(privacy),
            terms: *terms,
            weight: 1.0,
        };
        Ok(match privacy.policy().mechanism {
            Mechanism::Central { .. } => {
                Outgoing::Values(Learned { values: acceptable(learned.values, range), examples: 1 })
            }
            Mechanism::Local => Outgoing::Update(round.noised(&learned.values, rng)?),
            Mechanism::Distributed => {
                let (state, reply) = SecureRound::begin(round, learned.values, rng);
                Outgoing::Secured(Box::new(state), reply)
            }
        })
    }

    /// The policy and the round's terms, where there is one.
    fn terms(&self) -> Result<Option<(&Arc<DerivedPolicy>, &RoundPrivacy)>, OutgoingError> {
        match (&self.privacy, &self.assignment.privacy) {
            (Some(privacy), Some(terms)) => Ok(Some((privacy, terms))),
            (None, None) => Ok(None),
            _ => Err(OutgoingError::Terms),
        }
    }
}
