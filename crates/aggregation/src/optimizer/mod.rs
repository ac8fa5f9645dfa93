//! Step from a round's mean update to the next global model, with one file for each
//! server optimizer.
//!
//! A step is a pure function: it returns the optimizer's next state beside the next
//! model, and both count only once they are stored together.

mod adagrad;
mod adam;
mod adaptive;
mod averaging;
mod momentum;
mod state;
#[cfg(test)]
mod tests;
mod yogi;

use thiserror::Error;

use adaptive::Adaptive;
pub use state::{Moments, OptimizerState, StateError};

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
    /// FedAdagrad (Reddi et al. 2021, algorithm 2). Its state is the two moments.
    Adagrad {
        /// The server learning rate.
        learning_rate: f64,
        /// Share of the first moment that is kept, beta_1, from 0 to below 1.
        momentum: f64,
        /// Adaptivity: the smaller, the more each parameter has a rate of its own. Above 0.
        tau: f64,
    },
    /// FedAdam (Reddi et al. 2021, algorithm 2), without correction of the bias. Its state
    /// is the two moments.
    Adam {
        /// The server learning rate.
        learning_rate: f64,
        /// Share of the first moment that is kept, beta_1, from 0 to below 1.
        momentum: f64,
        /// Share of the second moment that is kept, beta_2, from 0 to below 1.
        beta2: f64,
        /// Adaptivity: the smaller, the more each parameter has a rate of its own. Above 0.
        tau: f64,
    },
    /// FedYogi (Reddi et al. 2021, algorithm 2). Its state is the two moments.
    Yogi {
        /// The server learning rate.
        learning_rate: f64,
        /// Share of the first moment that is kept, beta_1, from 0 to below 1.
        momentum: f64,
        /// Speed of the second moment, beta_2, from 0 to below 1: it moves by 1 - beta_2
        /// of a squared mean.
        beta2: f64,
        /// Adaptivity: the smaller, the more each parameter has a rate of its own. Above 0.
        tau: f64,
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
        if !self.takes(state) || !state.is_for(model.len()) {
            return Err(ApplyError::ForeignState);
        }
        match *self {
            Self::Averaging { learning_rate } => {
                Ok((averaging::step(learning_rate, model, mean), OptimizerState::Empty))
            }
            Self::Momentum { learning_rate, momentum } => {
                let velocity = momentum::velocity(momentum, state.velocity(), mean);
                let next = momentum::step(learning_rate, model, &velocity);
                Ok((next, OptimizerState::Momentum { velocity }))
            }
            Self::Adagrad { learning_rate, momentum, tau } => {
                let step = Adaptive { learning_rate, momentum, tau };
                let (next, moments) =
                    step.step(state.moments(), model, mean, adagrad::second_moment);
                Ok((next, OptimizerState::Adagrad(moments)))
            }
            Self::Adam { learning_rate, momentum, beta2, tau } => {
                let step = Adaptive { learning_rate, momentum, tau };
                let second = |before, squared| adam::second_moment(beta2, before, squared);
                let (next, moments) = step.step(state.moments(), model, mean, second);
                Ok((next, OptimizerState::Adam(moments)))
            }
            Self::Yogi { learning_rate, momentum, beta2, tau } => {
                let step = Adaptive { learning_rate, momentum, tau };
                let second = |before, squared| yogi::second_moment(beta2, before, squared);
                let (next, moments) = step.step(state.moments(), model, mean, second);
                Ok((next, OptimizerState::Yogi(moments)))
            }
        }
    }

    /// The server learning rate.
    #[must_use]
    pub fn learning_rate(&self) -> f64 {
        match *self {
            Self::Averaging { learning_rate }
            | Self::Momentum { learning_rate, .. }
            | Self::Adagrad { learning_rate, .. }
            | Self::Adam { learning_rate, .. }
            | Self::Yogi { learning_rate, .. } => learning_rate,
        }
    }

    /// The same optimizer with its learning rate times `factor`.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let mut scaled = self.clone();
        match &mut scaled {
            Self::Averaging { learning_rate }
            | Self::Momentum { learning_rate, .. }
            | Self::Adagrad { learning_rate, .. }
            | Self::Adam { learning_rate, .. }
            | Self::Yogi { learning_rate, .. } => *learning_rate *= factor,
        }
        scaled
    }

    /// True if this optimizer can go on from the state: it is its own, or empty.
    #[must_use]
    pub fn takes(&self, state: &OptimizerState) -> bool {
        match state {
            OptimizerState::Empty => true,
            OptimizerState::Momentum { .. } => matches!(self, Self::Momentum { .. }),
            OptimizerState::Adagrad(_) => matches!(self, Self::Adagrad { .. }),
            OptimizerState::Adam(_) => matches!(self, Self::Adam { .. }),
            OptimizerState::Yogi(_) => matches!(self, Self::Yogi { .. }),
        }
    }
}
