//! The check of an update before it is sent.

use fedra_protocol::UpdateRange;

use crate::LearningError;

/// Checks that an aggregator takes `update`, local minus global: every value finite and
/// within `range`.
///
/// # Errors
///
/// [`LearningError::Diverged`] or [`LearningError::OutOfRange`], for the first value
/// that is not.
pub fn check_update(update: &[f32], range: UpdateRange) -> Result<(), LearningError> {
    // NaN is within no range.
    let within = |value: &f32| value.abs() <= range.magnitude();
    match update.iter().position(|value| !within(value)) {
        None => Ok(()),
        Some(index) if update[index].is_finite() => {
            Err(LearningError::OutOfRange { index, value: update[index], range })
        }
        Some(_) => Err(LearningError::Diverged),
    }
}
