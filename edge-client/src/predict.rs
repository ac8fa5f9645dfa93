//! Predictions for any number of examples: in pieces, with other work of the thread
//! between them, and one call after the other.
//!
//! Examples are read and outputs are handed on piece by piece, so the memory of a call
//! does not grow with its length.

#[cfg(test)]
mod tests;

use std::ops::Range;

use fedra_data::DatasetError;
use fedra_data::memory::{OutOfMemory, with_room};
use fedra_learning::safetensors::{self, ModelFileError};
use fedra_learning::{Inference, LearningError, examples_a_piece, examples_in};
use futures_util::lock::Mutex;

use crate::codes::{CallCode, CallFault};
use crate::platform;

/// Reason why there is no prediction, or no predictor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PredictError {
    /// Stable name.
    pub code: CallCode,
    /// Description of what happened and what to do.
    pub message: String,
}

impl PredictError {
    pub(crate) fn new(code: impl Into<CallCode>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

impl From<OutOfMemory> for PredictError {
    fn from(error: OutOfMemory) -> Self {
        Self::new(CallFault::OutOfMemory, error.to_string())
    }
}

impl From<DatasetError> for PredictError {
    fn from(error: DatasetError) -> Self {
        Self::new(CallFault::BadFeatures, error.to_string())
    }
}

impl From<LearningError> for PredictError {
    fn from(error: LearningError) -> Self {
        match error {
            LearningError::Dataset(error) => error.into(),
            LearningError::Memory(error) => error.into(),
            error => Self::new(CallFault::PredictionFailed, error.to_string()),
        }
    }
}

impl From<ModelFileError> for PredictError {
    fn from(error: ModelFileError) -> Self {
        match error {
            ModelFileError::Memory(error) => error.into(),
            error => Self::new(CallFault::BadModel, error.to_string()),
        }
    }
}

/// Examples of a call, row-major: in this program's memory, or outside of it.
pub(crate) trait Features {
    /// Number of elements.
    fn len(&self) -> usize;
    /// Copies the elements of `range`, which is within [`Self::len`].
    fn read(&self, range: Range<usize>) -> Result<fedra_data::Features, PredictError>;
}

/// Takes the outputs of a call, row-major.
pub(crate) trait Outputs {
    /// Makes room for all values of the call.
    fn reserve(&mut self, values: usize) -> Result<(), PredictError>;
    /// Takes the next values.
    fn extend(&mut self, values: &[f32]);
}

impl<T: Copy> Features for [T]
where
    Vec<T>: Into<fedra_data::Features>,
{
    fn len(&self) -> usize {
        self.len()
    }

    fn read(&self, range: Range<usize>) -> Result<fedra_data::Features, PredictError> {
        let mut elements = with_room(range.len())?;
        elements.extend_from_slice(&self[range]);
        Ok(elements.into())
    }
}

impl Outputs for Vec<f32> {
    fn reserve(&mut self, values: usize) -> Result<(), PredictError> {
        *self = with_room(values)?;
        Ok(())
    }

    fn extend(&mut self, values: &[f32]) {
        self.extend_from_slice(values);
    }
}

/// Asks a model for its outputs, piece by piece. Messages, timers and training on this
/// thread go on between two pieces.
pub(crate) async fn in_pieces(
    inference: &Inference,
    features: &(impl Features + ?Sized),
    outputs: &mut impl Outputs,
) -> Result<(), PredictError> {
    let spec = inference.spec();
    let examples = examples_in(spec, features.len())?;
    outputs.reserve(examples.saturating_mul(spec.output_len()))?;
    let (width, piece) = (spec.input().len(), examples_a_piece(spec));
    for start in (0..examples).step_by(piece) {
        let end = examples.min(start + piece);
        let piece = features.read(start * width..end * width)?;
        outputs.extend(&inference.outputs(piece)?);
        platform::yield_now().await;
    }
    Ok(())
}

/// A model from a file, for a program that only predicts.
pub struct Predictor {
    inference: Inference,
    /// Bounds the memory of many calls to that of one.
    turn: Mutex<()>,
}

impl Predictor {
    /// Reads a model file: safetensors with the model's specification in the metadata, as
    /// the aggregator exports and serves it. `frozen` is the file of its frozen tensors, if it
    /// has frozen layers.
    ///
    /// # Errors
    ///
    /// [`PredictError`] with `bad-model` or `out-of-memory`.
    pub fn new(file: &[u8], frozen: Option<&[u8]>) -> Result<Self, PredictError> {
        let (spec, weights) = safetensors::read_model(file, frozen)?;
        let inference = Inference::new(&spec, &weights)?;
        Ok(Self { inference, turn: Mutex::default() })
    }

    /// Shape of one example: `[features]` or `[channels, height, width]` of values,
    /// `[positions]` of token ids.
    pub fn input_shape(&self) -> Vec<u32> {
        self.inference.spec().input().dims()
    }

    /// Outputs for one example: classes, or values of a regression, at each position of a
    /// sequence.
    pub fn outputs(&self) -> usize {
        self.inference.spec().output_len()
    }

    /// Probabilities of a classifier, values of a regression, for one or more examples of
    /// values or token ids, row-major: `features` is `[n, ...input]`, the outputs are
    /// `[n, outputs]`.
    ///
    /// # Errors
    ///
    /// [`PredictError`] with `bad-features` if they are no whole number of examples,
    /// `out-of-memory` or `prediction-failed`.
    pub async fn predict<T: Copy>(&self, features: &[T]) -> Result<Vec<f32>, PredictError>
    where
        Vec<T>: Into<fedra_data::Features>,
    {
        let mut outputs = Vec::new();
        self.predict_into(features, &mut outputs).await?;
        Ok(outputs)
    }

    pub(crate) async fn predict_into(
        &self,
        features: &(impl Features + ?Sized),
        outputs: &mut impl Outputs,
    ) -> Result<(), PredictError> {
        let _turn = self.turn.lock().await;
        in_pieces(&self.inference, features, outputs).await
    }
}
