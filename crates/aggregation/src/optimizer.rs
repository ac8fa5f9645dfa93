//! Step from a round's mean update to the next global model.
//!
//! One variant for each way to take the server's step. State of a later
//! optimiser (momentum and the like) belongs here, not to the sum.

use thiserror::Error;

/// Reason that there is no step from a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// The mean is for a model of another size.
    #[error("the model has {expected} parameters, the mean update {actual}")]
    WrongLength {
        /// Parameters of the model.
        expected: usize,
        /// Parameters of the mean.
        actual: usize,
    },
}

/// Method by which the server takes a step along the average update.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerOptimizer {
    /// Federated averaging (McMahan et al. 2017, algorithm 1) with a server
    /// learning rate: model + rate * weighted mean of the deltas. A rate of 1
    /// is plain averaging.
    Averaging {
        /// The server learning rate.
        learning_rate: f64,
    },
}

impl ServerOptimizer {
    /// The next global model after the mean update `mean`. Computed in `f64` and rounded once.
    ///
    /// # Errors
    ///
    /// [`ApplyError::WrongLength`] if the mean is for a model of another size.
    pub fn step(&self, model: &[f32], mean: &[f64]) -> Result<Vec<f32>, ApplyError> {
        if mean.len() != model.len() {
            return Err(ApplyError::WrongLength { expected: model.len(), actual: mean.len() });
        }
        let Self::Averaging { learning_rate } = *self;
        Ok(model
            .iter()
            .zip(mean)
            .map(|(&old, mean)| (f64::from(old) + learning_rate * mean) as f32)
            .collect())
    }
}
