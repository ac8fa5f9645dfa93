//! Received updates that have passed their codec's checks.
//!
//! Every check on an update's numbers happens here, before anything is folded:
//! a refused update leaves no trace in any sum.

use bytes::Bytes;
use fedra_protocol::{CodecName, UpdateRange};

use crate::codec::{Codec, CodecMisfit, UpdateError, UpdateShape};
use crate::sum::FoldError;

/// A model delta that may be folded: of the length that its codec asks for, every value
/// finite and within the task's range. Holds the received bytes as they came.
#[derive(Debug, Clone)]
pub struct CheckedUpdate {
    bytes: Bytes,
    codec: Codec,
}

impl CheckedUpdate {
    /// Checks an update in the form of `codec`. Copies nothing.
    ///
    /// # Errors
    ///
    /// The first fault found, with its position.
    pub fn parse(bytes: Bytes, codec: &Codec) -> Result<Self, UpdateError> {
        codec.codec().check(&bytes)?;
        Ok(Self { bytes, codec: codec.clone() })
    }

    /// The bytes as they came.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The codec that they are in.
    #[must_use]
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// Number of values, and their range.
    pub(crate) fn value_shape(&self) -> Result<(usize, UpdateRange), CodecMisfit> {
        match self.codec.shape() {
            UpdateShape::Values { len, range } => Ok((len, range)),
            shape @ UpdateShape::Words { .. } => Err(CodecMisfit { name: CodecName::F32, shape }),
        }
    }

    /// All values of an update for a sum of this length and range.
    ///
    /// # Errors
    ///
    /// [`FoldError`] for words, or another length or range.
    pub(crate) fn values_within(
        &self,
        len: usize,
        range: UpdateRange,
    ) -> Result<Vec<f32>, FoldError> {
        let (own_len, own_range) = self.value_shape()?;
        if own_len != len {
            return Err(FoldError::WrongLength { expected: len, actual: own_len });
        }
        if own_range != range {
            return Err(FoldError::Range { expected: range, actual: own_range });
        }
        Ok(self.to_vec()?)
    }

    /// Hands on the values, in the order of the model, some at a time.
    ///
    /// # Errors
    ///
    /// [`CodecMisfit`] if the update consists of words.
    pub fn values(&self, mut take: impl FnMut(&[f32])) -> Result<(), CodecMisfit> {
        self.codec.values()?.decode(&self.bytes, &mut take);
        Ok(())
    }

    /// All values at once.
    ///
    /// # Errors
    ///
    /// [`CodecMisfit`] if the update consists of words.
    pub fn to_vec(&self) -> Result<Vec<f32>, CodecMisfit> {
        let mut all = Vec::new();
        self.values(|values| all.extend_from_slice(values))?;
        Ok(all)
    }
}
