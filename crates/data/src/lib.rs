//! Local examples: elements and targets of a data set in memory, checked once against
//! themselves, and the sources that they come from.
//!
//! The code is the same native and in WebAssembly. Files and sockets are its caller's.

mod array;
mod arrays;
mod collect;
mod csv;
mod dataset;
mod decimal;
mod error;
mod features;
mod fit;
mod image;
pub mod memory;
mod read_error;
mod reader;
mod table;
mod targets;
#[cfg(test)]
mod tests;
mod text;

pub use array::Part;
pub use arrays::Layout;
pub use csv::{CsvOptions, DecimalSign, NotCsv, TextRow, column_names, text_columns};
pub use dataset::Dataset;
pub use error::DatasetError;
pub use features::{Features, examples, rows};
pub use image::{Picture, prepared};
pub use read_error::{MissingRemedy, Place, Problem, ReadError};
pub use reader::{ReadOptions, Reader};
pub use targets::Targets;
