//! Models as data, local training and evaluation.
//!
//! A [`ModelSpec`](fedra_protocol::ModelSpec) is interpreted into burn modules
//! at run time, so a new model needs no new client. Everything that leaves this
//! crate is a flat `Vec<f32>` in the order of `ModelSpec::layout`. [`Weights`] has the values
//! of frozen layers beside it.
//!
//! The code is the same native and in WebAssembly, and runs on the CPU; training on WebGPU
//! is `fedra-gpu`'s. There is no clock, no socket and no random number that is not seeded
//! by an argument.
//!
//! # Example
//!
//! A fresh model on two images of one value, which it cannot tell apart.
//!
//! ```
//! use fedra_data::{Dataset, Targets};
//! use fedra_learning::{evaluate, init_parameters};
//! use fedra_protocol::ModelSpec;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let spec = ModelSpec::builtin("softmax-regression").ok_or("it is built in")?;
//! let parameters = init_parameters(&spec, 7);
//! let labels = Targets::from_labels(vec![3.0, 5.0], 2)?;
//! let data = Dataset::new(vec![0.5; 2 * 784], spec.input(), labels)?;
//! let result = evaluate(&spec, &parameters, &data, 1)?;
//! assert_eq!(result.examples, 2);
//! assert!(result.quality.accuracy <= Some(0.5));
//! # Ok(())
//! # }
//! ```

mod device;
mod evaluate;
mod formats;
mod kernels;
mod layers;
mod loss;
pub mod metrics;
mod network;
mod parameters;
mod predict;
mod score;
mod training;
mod update;
mod weights;

#[cfg(test)]
mod tests;

pub use evaluate::{EvaluationResult, evaluate};
pub use formats::{initial, pytorch, safetensors};
pub use parameters::{init_parameters, init_weights};
pub use predict::{Inference, examples_a_piece, examples_in};
pub use score::{ScoreSums, score};
pub use training::{BatchOrder, ExampleCost, ExamplePrivacy, LocalTrainer, gradient, prepared};
pub use update::check_update;
pub use weights::{Weights, WeightsView};

use fedra_data::{DatasetError, memory};
use fedra_protocol::UpdateRange;

/// Failure of training or evaluation.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LearningError {
    /// The flat parameter vector does not belong to the model.
    #[error("the model has {expected} parameters, but {actual} were given")]
    ParameterCount {
        /// Parameters of the model.
        expected: usize,
        /// Length of the vector.
        actual: usize,
    },
    /// The values of the frozen layers do not belong to the model.
    #[error("the model has {expected} frozen parameters, but {actual} were given")]
    FrozenCount {
        /// Frozen parameters of the model.
        expected: usize,
        /// Length of the vector.
        actual: usize,
    },
    /// The data set does not fit the model.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The plan is outside its ranges.
    #[error(transparent)]
    Plan(#[from] fedra_protocol::LocalTrainingError),
    /// There is too little memory.
    #[error(transparent)]
    Memory(#[from] memory::OutOfMemory),
    /// Example privacy is not to be had for this model.
    #[error(
        "layer {index} ({layer}): example privacy can clip the gradients of linear, conv1d, \
         conv2d, group_norm, embedding, category_embedding and position_embedding layers only; \
         leave this layer out of the model, or train without example privacy"
    )]
    ExamplePrivacyLayer {
        /// Position of the layer, from 0, or of the one that it is in.
        index: usize,
        /// Its type, as in a config file.
        layer: &'static str,
    },
    /// More noise than the arithmetic of example privacy can round soundly.
    #[error(
        "example privacy: a noise multiplier of {noise_multiplier} is too large for a model of \
         this size; at most {most:.3} is possible"
    )]
    ExamplePrivacyNoise {
        /// The one asked for.
        noise_multiplier: f64,
        /// The largest one.
        most: f64,
    },
    /// Example privacy beside control variates.
    #[error(
        "example privacy: the algorithm scaffold would carry the noise of a round into the steps of \
         later ones; take part without example privacy, or in a task with another algorithm"
    )]
    ExamplePrivacyVariates,
    /// Training left the finite numbers.
    #[error(
        "training diverged: the loss or a parameter is not finite; a smaller learning rate may help"
    )]
    Diverged,
    /// A value of the update is finite, but beyond the task's range.
    #[error(
        "value {index} of the update is {value}, beyond the ±{range} of this task: scale features \
         and targets to about 1, or have the operator lower the learning rate or raise update_range",
        range = u32::from(*.range)
    )]
    OutOfRange {
        /// Position of the first such value in the flat parameter vector.
        index: usize,
        /// The value.
        value: f32,
        /// The task's range.
        range: UpdateRange,
    },
}
