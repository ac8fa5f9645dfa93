//! Local examples: elements and targets of a data set in memory, checked once against
//! themselves, and the sources that they come from.
//!
//! The code is the same native and in WebAssembly. Files and sockets are its caller's.

mod arrays;
mod dataset;
mod error;
mod features;
mod fit;
mod idx;
pub mod memory;
mod source;
mod targets;
#[cfg(test)]
mod tests;

pub use arrays::Layout;
pub use dataset::Dataset;
pub use error::DatasetError;
pub use features::{Features, examples, rows};
pub use idx::{IdxError, IdxSource, read_mnist};
pub use source::DataSource;
pub use targets::Targets;
