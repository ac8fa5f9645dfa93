//! Native part of the Python package `fedra`: experiments on arrays, and accounts of privacy.
//!
//! The API is in `python/fedra`, with its types and documentation. Here is what that needs of
//! Rust, and no check of its own: mistakes are told in the sentences of the other crates.

mod arrays;
mod error;
mod privacy;
mod run;

use pyo3::pymodule;

/// Module that the package's Python files import.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::privacy::{epsilon, noise};
    #[pymodule_export]
    use super::run::{Run, run};
}
