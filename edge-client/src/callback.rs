//! Failure of a callback that the owner gave: a source of tokens, or a log of
//! participations.

use std::error::Error;

/// Reason why a callback of the owner has no answer. Text and source are the cause's.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CallbackError(Box<dyn Error + Send + Sync>);

impl CallbackError {
    /// An error of the owner's own kind, or a text.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}
