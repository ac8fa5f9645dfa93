//! Local examples: elements and targets of a data set in memory, checked once against
//! themselves, and the sources that they come from.

mod arrays;
mod dataset;
mod error;
mod features;
mod fit;
mod idx;
mod source;
mod targets;
#[cfg(test)]
mod tests;

pub use arrays::Layout;
pub use dataset::Dataset;
pub use error::DatasetError;
pub use features::Features;
pub(crate) use features::{examples, rows};
pub use idx::{IdxError, IdxSource, read_mnist};
pub use source::DataSource;
pub use targets::Targets;
