//! Floors that a client insists on under any policy of the server.

use std::cmp::Ordering;

use fedra_protocol::Mechanism;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::DerivedPolicy;

/// The least that a task must promise. A client refuses a task below, or without a
/// policy, for good.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct PrivacyFloors {
    /// Least noise in a sum, in units of what one client can change in it; above 0.
    pub min_noise_multiplier: Option<f64>,
    /// Fewest clients that a released sum or mean is over, colluders not counted; 1 or
    /// more.
    pub min_cohort: Option<u32>,
    /// Most rounds that the client takes part in; 1 or more. A task that grants more is not
    /// refused: the client stops by itself.
    pub max_participations: Option<u32>,
    /// Largest epsilon of the client's own participations in the task together; above 0.
    pub max_epsilon: Option<f64>,
    /// Requires that the server sees nothing but sums.
    pub require_secure_aggregation: bool,
}

/// Reason that a client refuses a task.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum FloorError {
    /// There is no policy, and floors need one.
    #[error("the task has no privacy policy, and this client insists on one")]
    NoPolicy,
    /// The server would see updates.
    #[error("the task has no secure aggregation, and this client insists on it")]
    NoSecureAggregation,
    /// Too little noise.
    #[error("the task's noise multiplier is {actual}, this client insists on at least {floor}")]
    Noise {
        /// The task's.
        actual: f64,
        /// The client's.
        floor: f64,
    },
    /// Too few to hide among.
    #[error(
        "the task releases results over {actual} honest clients, this client insists on at least \
         {floor}"
    )]
    Cohort {
        /// The task's.
        actual: u32,
        /// The client's.
        floor: u32,
    },
    /// The client's participations may cost too much.
    #[error("taking part may cost epsilon {actual:.3}, this client accepts at most {floor}")]
    Epsilon {
        /// Epsilon that the client's participations may cost in the task.
        actual: f64,
        /// The client's.
        floor: f64,
    },
}

impl PrivacyFloors {
    /// Checks a task's policy against these floors.
    ///
    /// # Errors
    ///
    /// [`FloorError`] names the first floor that the task is below.
    pub fn check(&self, privacy: Option<&DerivedPolicy>) -> Result<(), FloorError> {
        let Some(privacy) = privacy else {
            let free = Self { max_participations: None, ..self.clone() } == Self::default();
            return if free { Ok(()) } else { Err(FloorError::NoPolicy) };
        };
        // A floor that is not a number is met by nothing.
        let policy = privacy.policy();
        if self.require_secure_aggregation && !privacy.is_secure_aggregation() {
            return Err(FloorError::NoSecureAggregation);
        }
        if let Some(floor) = self.min_noise_multiplier
            && policy.noise_multiplier.partial_cmp(&floor).is_none_or(Ordering::is_lt)
        {
            return Err(FloorError::Noise { actual: policy.noise_multiplier, floor });
        }
        let actual = policy.minimum_survivors - policy.colluders;
        if let Some(floor) = self.min_cohort
            && policy.mechanism != Mechanism::Local
            && actual < floor
        {
            return Err(FloorError::Cohort { actual, floor });
        }
        let actual = privacy.epsilon_after(self.participations(privacy));
        if let Some(floor) = self.max_epsilon
            && actual.partial_cmp(&floor).is_none_or(Ordering::is_gt)
        {
            return Err(FloorError::Epsilon { actual, floor });
        }
        Ok(())
    }

    /// Rounds that a client with these floors takes part in at most.
    #[must_use]
    pub fn participations(&self, privacy: &DerivedPolicy) -> u32 {
        let granted = privacy.policy().max_participations;
        self.max_participations.map_or(granted, |own| own.min(granted))
    }
}
