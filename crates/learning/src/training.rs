//! Local training: the loop over batches, one file an algorithm, and the privacy of single
//! examples.

mod example_privacy;
mod examples;
mod order;
mod sgd;
mod trainer;

#[cfg(test)]
pub(crate) use example_privacy::PrivateSteps;
pub use example_privacy::{ExampleCost, ExamplePrivacy};
pub use examples::prepared;
pub use order::BatchOrder;
pub use trainer::{LocalTrainer, gradient};
