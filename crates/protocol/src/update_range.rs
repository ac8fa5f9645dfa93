//! Range of the values of a task's updates.

use serde::{Deserialize, Serialize};

use crate::limits::{DEFAULT_REGRESSION_UPDATE_RANGE, DEFAULT_UPDATE_RANGE, MAX_UPDATE_RANGE};
use crate::model::Loss;

/// Largest magnitude of a value of an update: a power of two, 1 to
/// [`MAX_UPDATE_RANGE`].
///
/// It is also how far a single client can move a parameter. The grid on which updates
/// are added up is 2^-30 for every range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct UpdateRange(u32);

/// A number that is no [`UpdateRange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("update_range must be a power of two, 1 to {MAX_UPDATE_RANGE}; it is {0}")]
pub struct UpdateRangeError(u32);

impl UpdateRange {
    /// Checks the value.
    ///
    /// # Errors
    ///
    /// [`UpdateRangeError`] for a value that is no power of two, or too large.
    pub fn new(range: u32) -> Result<Self, UpdateRangeError> {
        if range.is_power_of_two() && range <= MAX_UPDATE_RANGE {
            Ok(Self(range))
        } else {
            Err(UpdateRangeError(range))
        }
    }

    /// The range of a task that states none.
    pub fn default_for(loss: Loss) -> Self {
        Self(match loss.is_regression() {
            false => DEFAULT_UPDATE_RANGE,
            true => DEFAULT_REGRESSION_UPDATE_RANGE,
        })
    }

    /// The largest range.
    pub(crate) fn largest() -> Self {
        Self(MAX_UPDATE_RANGE)
    }

    /// The largest magnitude; exact as float32.
    pub fn magnitude(self) -> f32 {
        self.0 as f32
    }

    /// The exponent of the power of two, 0 to 24.
    pub fn log2(self) -> u32 {
        self.0.ilog2()
    }
}

impl TryFrom<u32> for UpdateRange {
    type Error = UpdateRangeError;

    fn try_from(range: u32) -> Result<Self, UpdateRangeError> {
        Self::new(range)
    }
}

impl From<UpdateRange> for u32 {
    fn from(range: UpdateRange) -> Self {
        range.0
    }
}
