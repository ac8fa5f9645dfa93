//! Files with keys and certificates. Nothing of their content is ever in an error.

mod tls;
mod token_keys;

use std::path::PathBuf;

use thiserror::Error;

pub(crate) use self::tls::tls;
pub(crate) use self::token_keys::TokenKey;
pub use self::token_keys::TokenKeySource;

/// A file that cannot be used: a key or a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {problem}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// The problem, without anything of its content.
    pub problem: String,
}
