//! Local training: the loop over batches, the algorithms of a step, and the privacy of single
//! examples.

mod adam;
mod example_privacy;
mod examples;
mod optimizer;
mod order;
mod trainer;

#[cfg(test)]
pub(crate) use example_privacy::PrivateSteps;
pub use example_privacy::{ExampleCost, ExamplePrivacy};
pub use examples::prepared;
pub use order::BatchOrder;
pub use trainer::{LocalTrainer, gradient};
