//! Federated averaging: the step is the mean update times a learning rate.

/// The model moved along the mean, rounded once.
pub(super) fn step(learning_rate: f64, model: &[f32], mean: &[f64]) -> Vec<f32> {
    model
        .iter()
        .zip(mean)
        .map(|(&old, mean)| (f64::from(old) + learning_rate * mean) as f32)
        .collect()
}
