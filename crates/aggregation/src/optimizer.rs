//! From a round's sum to the next global model.
//!
//! One variant for each way to take the server's step. State of a later
//! optimiser (momentum and the like) belongs here, not to the sum.

use thiserror::Error;

use crate::sum::FixedPointSum;

/// Why a sum could not be applied to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// The sum is for a model of another size.
    #[error("the model has {expected} parameters, the sum {actual}")]
    WrongLength {
        /// Parameters of the model.
        expected: usize,
        /// Parameters of the sum.
        actual: usize,
    },
    /// Nothing was folded.
    #[error("no update was folded")]
    Empty,
}

/// How the server takes a step along the average update.
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
    /// The next global model. Computed in `f64` and rounded once.
    ///
    /// # Errors
    ///
    /// [`ApplyError`] if the sum is empty or for a model of another size.
    pub fn step(&mut self, model: &[f32], sum: &FixedPointSum) -> Result<Vec<f32>, ApplyError> {
        if sum.len() != model.len() {
            return Err(ApplyError::WrongLength { expected: model.len(), actual: sum.len() });
        }
        let means = sum.means().ok_or(ApplyError::Empty)?;
        let Self::Averaging { learning_rate } = *self;
        Ok(model
            .iter()
            .zip(means)
            .map(|(&old, mean)| (f64::from(old) + learning_rate * mean) as f32)
            .collect())
    }
}
