//! Step from a round's mean update to the next global model, with one file for each
//! server optimizer.
//!
//! A step is a pure function: it returns the optimizer's next state beside the next
//! model, and both count only once they are stored together.

mod averaging;
mod momentum;
mod state;
#[cfg(test)]
mod tests;

use thiserror::Error;

pub use state::{OptimizerState, StateError};

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
    /// The state is of another optimizer, or for a model of another size.
    #[error("the state of the server optimizer is not one of this task")]
    ForeignState,
}

/// Method by which the server takes a step along the average update.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerOptimizer {
    /// Federated averaging (McMahan et al. 2017, algorithm 1) with a server
    /// learning rate: model + rate * weighted mean of the deltas. A rate of 1
    /// is plain averaging. It has no state.
    Averaging {
        /// The server learning rate.
        learning_rate: f64,
    },
    /// Federated averaging with server momentum, FedAvgM (Hsu et al. 2019, section 3):
    /// velocity = momentum * velocity + weighted mean of the deltas, model + rate *
    /// velocity. Its state is the velocity.
    Momentum {
        /// The server learning rate.
        learning_rate: f64,
        /// Share of the velocity that is kept, from 0 to below 1.
        momentum: f64,
    },
}

impl ServerOptimizer {
    /// The next global model after the mean update `mean`, and the state after this step.
    /// Computed in `f64` and rounded once. [`OptimizerState::Empty`] is the state before
    /// the first step of every optimizer.
    ///
    /// # Errors
    ///
    /// [`ApplyError`] if the mean or the state is not for this model and optimizer.
    pub fn step(
        &self,
        state: &OptimizerState,
        model: &[f32],
        mean: &[f64],
    ) -> Result<(Vec<f32>, OptimizerState), ApplyError> {
        if mean.len() != model.len() {
            return Err(ApplyError::WrongLength { expected: model.len(), actual: mean.len() });
        }
        if !self.takes(state) || state.len().is_some_and(|len| len != model.len()) {
            return Err(ApplyError::ForeignState);
        }
        match *self {
            Self::Averaging { learning_rate } => {
                Ok((averaging::step(learning_rate, model, mean), OptimizerState::Empty))
            }
            Self::Momentum { learning_rate, momentum } => {
                let before = match state {
                    OptimizerState::Momentum { velocity } => Some(velocity.as_slice()),
                    OptimizerState::Empty => None,
                };
                let velocity = momentum::velocity(momentum, before, mean);
                let next = momentum::step(learning_rate, model, &velocity);
                Ok((next, OptimizerState::Momentum { velocity }))
            }
        }
    }

    /// True if this optimizer can go on from the state: it is its own, or empty.
    #[must_use]
    pub fn takes(&self, state: &OptimizerState) -> bool {
        match state {
            OptimizerState::Empty => true,
            OptimizerState::Momentum { .. } => matches!(self, Self::Momentum { .. }),
        }
    }
}
