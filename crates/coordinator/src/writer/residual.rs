//! Residual of a task's steps: what the codec of its models has left out so far, which the
//! next step adds.

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

/// Residual of the steps up to a model. Its file has one little-endian float32 a parameter,
/// in the order of the model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Residual(Arc<Vec<f32>>);

/// Reason why a file is not a residual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ResidualError {
    /// It has another length than the model.
    #[error("the residual of the steps has {actual} bytes, and the model {expected} parameters")]
    WrongLength {
        /// Parameters of the model.
        expected: usize,
        /// Bytes of the file.
        actual: usize,
    },
    /// A value is infinite or not a number.
    #[error("the residual of the steps: value {index} is not finite")]
    NotFinite {
        /// Index of the first such value.
        index: usize,
    },
}

impl Residual {
    /// Residual of these values, which are finite.
    pub(super) fn new(values: Vec<f32>) -> Self {
        Self(Arc::new(values))
    }

    /// The values, one a parameter; none before the first step.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// The file; `None` before the first step.
    #[must_use]
    pub fn encode(&self) -> Option<Bytes> {
        let file = || self.0.iter().flat_map(|value| value.to_le_bytes()).collect();
        (!self.0.is_empty()).then(file)
    }

    /// The residual of a model with this many parameters from its file.
    ///
    /// # Errors
    ///
    /// [`ResidualError`] if the file is not one of such a model.
    pub fn decode(file: &[u8], parameters: usize) -> Result<Self, ResidualError> {
        let (values, rest) = file.as_chunks();
        if values.len() != parameters || !rest.is_empty() {
            return Err(ResidualError::WrongLength { expected: parameters, actual: file.len() });
        }
        let values: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(ResidualError::NotFinite { index }),
            None => Ok(Self::new(values)),
        }
    }
}
