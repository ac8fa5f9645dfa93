//! Federated averaging as pure numbers: checks updates, folds them one by one
//! into integer sums and turns a sum into the next global model.
//!
//! It knows nothing of clients, rounds, sockets, files or tensors, and it never
//! holds more than one update. Of the protocol it takes the range of an update.
//!
//! Sums are fixed-point integers, so the result is the same to the bit for any order
//! of the updates and for any split over partial sums.
//!
//! # Example
//!
//! Two updates of a model with two parameters, from 30 and from 10 examples.
//!
//! ```
//! use fedra_aggregation::{CheckedUpdate, FixedPointSum, OptimizerState, ServerOptimizer};
//! use fedra_protocol::{Loss, UpdateRange};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let range = UpdateRange::default_for(Loss::SoftmaxCrossEntropy);
//! let mut sum = FixedPointSum::new(2, range);
//! for (update, examples) in [([1.0_f32, 0.0], 30), ([0.0, -1.0], 10)] {
//!     // As it comes over the wire: little-endian, of a length and a range.
//!     let bytes: Vec<u8> = update.iter().flat_map(|value| value.to_le_bytes()).collect();
//!     sum.fold(&CheckedUpdate::parse(&bytes, 2, range)?, examples)?;
//! }
//! let mean = sum.mean().ok_or("nothing was folded")?;
//! assert_eq!(mean, [0.75, -0.25]);
//! let averaging = ServerOptimizer::Averaging { learning_rate: 1.0 };
//! let (model, _) = averaging.step(&OptimizerState::Empty, &[1.0, 1.0], &mean)?;
//! assert_eq!(model, [1.75, 0.75]);
//! # Ok(())
//! # }
//! ```

mod optimizer;
mod sum;
mod update;

pub use optimizer::{ApplyError, OptimizerState, ServerOptimizer, StateError};
pub use sum::{FixedPointSum, FoldError, MAX_TOTAL_WEIGHT};
pub use update::{CheckedUpdate, UpdateError};
