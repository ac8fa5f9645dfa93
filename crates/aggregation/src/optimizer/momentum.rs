//! Federated averaging with server momentum: the step is a velocity, an average of the
//! rounds' means that decays.

/// The velocity after a round's mean; before the first round it is zero. Rounded to what
/// is stored, so that a restart goes on with the same numbers.
pub(super) fn velocity(momentum: f64, before: Option<&[f32]>, mean: &[f64]) -> Vec<f32> {
    match before {
        None => mean.iter().map(|&mean| mean as f32).collect(),
        Some(before) => before
            .iter()
            .zip(mean)
            .map(|(&before, mean)| (momentum * f64::from(before) + mean) as f32)
            .collect(),
    }
}

/// The model moved along the velocity, rounded once.
pub(super) fn step(learning_rate: f64, model: &[f32], velocity: &[f32]) -> Vec<f32> {
    model
        .iter()
        .zip(velocity)
        .map(|(&old, &velocity)| (f64::from(old) + learning_rate * f64::from(velocity)) as f32)
        .collect()
}
