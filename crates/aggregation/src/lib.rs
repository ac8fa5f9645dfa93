//! Federated averaging as pure numbers: checks updates, folds them one by one
//! into integer sums and turns a sum into the next global model.
//!
//! It knows nothing of clients, rounds, sockets, files or tensors, and it never
//! holds more than one update. Of the protocol it takes the range of an update.
//!
//! Sums are fixed-point integers, so the result is the same to the bit whatever
//! the order in which the updates came and however they were split over
//! partial sums.

mod optimizer;
mod sum;
mod update;

pub use optimizer::{ApplyError, ServerOptimizer};
pub use sum::{FixedPointSum, FoldError, MAX_TOTAL_WEIGHT};
pub use update::{CheckedUpdate, UpdateError};
