//! Codecs of updates, one file each: the form in which an update travels, the bounds of
//! that form, the check of received bytes, and both directions.
//!
//! Client and server make a task's codec from the same [`UpdateShape`], and every length
//! and every limit of memory is asked of its [`CodecBounds`].

mod float16;
mod float32;
mod packed;
mod positions;
mod rotated;
mod sparse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use differential_privacy::DistributedGaussian;
use fedra_protocol::{CodecName, UpdateRange};
use thiserror::Error;

pub use self::float16::Float16;
pub use self::float32::Float32;
pub use self::packed::Packed;
pub use self::rotated::{Grid, Rotated};
pub use self::sparse::{SentValues, Sparse};

/// Values that are decoded at a time: few enough for the first cache.
const BLOCK: usize = 1024;

/// Form in which updates travel.
pub trait UpdateCodec: fmt::Debug + Send + Sync {
    /// Name in assignments and capabilities.
    fn name(&self) -> CodecName;

    /// Bounds of an update in this form.
    fn bounds(&self) -> CodecBounds;

    /// Checks received bytes completely: [`ValueCodec::decode`] takes what passes.
    ///
    /// # Errors
    ///
    /// The first fault found, with its position.
    fn check(&self, bytes: &[u8]) -> Result<(), UpdateError>;
}

/// Codec of updates in the clear: one value a parameter.
pub trait ValueCodec: UpdateCodec {
    /// The update as it is sent. `values` has one for each parameter, in the order of the
    /// model, finite and within the task's range. What is random in it follows from `seed`,
    /// which is for one update only.
    fn encode(&self, values: &[f32], seed: &[u8; 32]) -> Vec<u8>;

    /// Hands on the values of checked bytes, in the order of the model, some at a time.
    /// Each is finite and within the task's range.
    fn decode(&self, bytes: &[u8], take: &mut dyn FnMut(&[f32]));
}

/// Bounds of an update in some form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodecBounds {
    /// Bytes on the wire.
    pub bytes: UpdateLength,
    /// Bytes of memory that a decoder takes at most, the received bytes excluded.
    pub memory: usize,
}

/// Length of an update on the wire, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateLength {
    /// Every update has this length.
    Exactly(usize),
    /// No update is longer.
    AtMost(usize),
}

impl UpdateLength {
    /// The largest length.
    #[must_use]
    pub fn most(self) -> u64 {
        match self {
            Self::Exactly(bytes) | Self::AtMost(bytes) => bytes as u64,
        }
    }

    /// True if an update may have this length.
    #[must_use]
    pub fn admits(self, bytes: u64) -> bool {
        match self {
            Self::Exactly(exactly) => bytes == exactly as u64,
            Self::AtMost(most) => bytes <= most as u64,
        }
    }
}

impl fmt::Display for UpdateLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(bytes) => write!(f, "{bytes}"),
            Self::AtMost(bytes) => write!(f, "at most {bytes}"),
        }
    }
}

/// Reason that bytes are not an update of a task.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum UpdateError {
    /// Not the length that the model's updates have.
    #[error("the update has {actual} bytes, the model needs {expected}")]
    WrongLength {
        /// Bytes that an update has.
        expected: UpdateLength,
        /// Bytes that this one has.
        actual: usize,
    },
    /// A NaN or an infinity.
    #[error("value {index} of the update is not a finite number")]
    NotFinite {
        /// Position of the first such value.
        index: usize,
    },
    /// A finite value beyond the task's range.
    #[error(
        "value {index} of the update is {value}, beyond the task's update_range of {range}",
        range = u32::from(*.range)
    )]
    OutOfRange {
        /// Position of the first such value.
        index: usize,
        /// The value.
        value: f32,
        /// The task's range.
        range: UpdateRange,
    },
    /// The bits after the last word are not zero.
    #[error("the bits after the last word of the update are not zero")]
    Padding,
    /// The scale of a block is not finite, negative or too large.
    #[error("the scale of block {block} of the update is {scale}; it has to be from 0 to {most}")]
    Scale {
        /// Number of the block, from 0.
        block: usize,
        /// The scale.
        scale: f32,
        /// The largest scale of the task's range.
        most: f32,
    },
    /// The positions of a block are not as many as they have to be, do not increase, or
    /// lie outside it.
    #[error("the positions of block {block} of the update are not strictly increasing ones in it")]
    Positions {
        /// Number of the block, from 0.
        block: usize,
    },
}

/// Numbers that the updates of a task consist of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateShape {
    /// Values in the clear, one a parameter.
    Values {
        /// Parameters of the model.
        len: usize,
        /// Largest magnitude of a value.
        range: UpdateRange,
    },
    /// Words modulo 2^`bits`, under a distributed or local privacy policy.
    Words {
        /// Words of an update.
        len: usize,
        /// Bits of a word, 1 to 32.
        bits: u32,
    },
}

impl UpdateShape {
    /// Shape of updates of a model with this many parameters. `encoding` is that of the
    /// task's privacy policy, if clients encode under it.
    #[must_use]
    pub fn new(
        parameters: usize,
        range: UpdateRange,
        encoding: Option<&DistributedGaussian>,
    ) -> Self {
        match encoding {
            Some(encoding) => Self::Words { len: encoding.len(), bits: encoding.bits() },
            None => Self::Values { len: parameters, range },
        }
    }
}

/// Codec that is not for updates of this shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub struct CodecMisfit {
    /// The codec.
    pub name: CodecName,
    /// The shape.
    pub shape: UpdateShape,
}

impl fmt::Display for CodecMisfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.name();
        match self.shape {
            UpdateShape::Values { .. } => {
                write!(f, "the codec {name} is for words of a distributed or local privacy policy")
            }
            UpdateShape::Words { .. } => write!(
                f,
                "the codec {name} is for values in the clear; a distributed or local privacy \
                 policy has words, whose bits are the codec"
            ),
        }
    }
}

/// Codec of a task's updates.
#[derive(Debug, Clone)]
pub struct Codec {
    shape: UpdateShape,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Values(Arc<dyn ValueCodec>),
    Words(Packed),
}

impl Codec {
    /// The codec of this name; `None` is the [standard](Self::standard) one of the shape.
    ///
    /// # Errors
    ///
    /// [`CodecMisfit`] if the codec is for another shape.
    pub fn new(name: Option<CodecName>, shape: UpdateShape) -> Result<Self, CodecMisfit> {
        let Some(name) = name else { return Ok(Self::standard(shape)) };
        let form = match shape {
            UpdateShape::Values { len, range } => of_values(name, len, range).map(Form::Values),
            UpdateShape::Words { len, bits } => {
                (name == CodecName::Packed).then(|| Form::Words(Packed::new(len, bits)))
            }
        };
        Ok(Self { shape, form: form.ok_or(CodecMisfit { name, shape })? })
    }

    /// The codec that an assignment without a name means: values as float32, or packed
    /// words.
    #[must_use]
    pub fn standard(shape: UpdateShape) -> Self {
        let form = match shape {
            UpdateShape::Values { len, range } => Form::Values(Arc::new(Float32::new(len, range))),
            UpdateShape::Words { len, bits } => Form::Words(Packed::new(len, bits)),
        };
        Self { shape, form }
    }

    /// Shape of the updates.
    #[must_use]
    pub fn shape(&self) -> UpdateShape {
        self.shape
    }

    /// Name of the codec.
    #[must_use]
    pub fn name(&self) -> CodecName {
        self.codec().name()
    }

    /// Name to be stated in an assignment; `None` for the standard codec of the shape.
    #[must_use]
    pub fn stated_name(&self) -> Option<CodecName> {
        match self.name() {
            CodecName::F32 | CodecName::Packed => None,
            other => Some(other),
        }
    }

    /// Bounds of an update.
    #[must_use]
    pub fn bounds(&self) -> CodecBounds {
        self.codec().bounds()
    }

    /// The codec of values in the clear.
    ///
    /// # Errors
    ///
    /// [`CodecMisfit`] if updates are words.
    pub fn values(&self) -> Result<&dyn ValueCodec, CodecMisfit> {
        match &self.form {
            Form::Values(codec) => Ok(codec.as_ref()),
            Form::Words(_) => Err(CodecMisfit { name: CodecName::F32, shape: self.shape }),
        }
    }

    /// The codec of words.
    ///
    /// # Errors
    ///
    /// [`CodecMisfit`] if updates are values in the clear.
    pub fn words(&self) -> Result<Packed, CodecMisfit> {
        match self.form {
            Form::Words(codec) => Ok(codec),
            Form::Values(_) => Err(CodecMisfit { name: CodecName::Packed, shape: self.shape }),
        }
    }

    pub(crate) fn codec(&self) -> &dyn UpdateCodec {
        match &self.form {
            Form::Values(codec) => codec.as_ref(),
            Form::Words(codec) => codec,
        }
    }
}

/// The codec of `len` values within the range; `None` if it is one of words.
fn of_values(name: CodecName, len: usize, range: UpdateRange) -> Option<Arc<dyn ValueCodec>> {
    let rotated = |grid| Some(Arc::new(Rotated::new(len, range, grid)) as Arc<dyn ValueCodec>);
    match name {
        CodecName::F32 => Some(Arc::new(Float32::new(len, range))),
        CodecName::F16 => Some(Arc::new(Float16::new(len, range))),
        CodecName::Packed => None,
        CodecName::Int8 => rotated(Grid::Int8),
        CodecName::Int4 => rotated(Grid::Int4),
        CodecName::Eden2 => rotated(Grid::Eden2),
        CodecName::Eden1 => rotated(Grid::Eden1),
        CodecName::TopK(share) => {
            Some(Arc::new(Sparse::new(len, range, share, SentValues::Halves)))
        }
        CodecName::Stc(share) => Some(Arc::new(Sparse::new(len, range, share, SentValues::Signs))),
    }
}

/// Checks that the bytes have the length that their codec asks for.
fn check_length(codec: &dyn UpdateCodec, bytes: &[u8]) -> Result<(), UpdateError> {
    let (expected, actual) = (codec.bounds().bytes, bytes.len());
    if expected.admits(actual as u64) {
        Ok(())
    } else {
        Err(UpdateError::WrongLength { expected, actual })
    }
}

/// The first value that is not finite or beyond the range. `offset` is the position of
/// the first of `values`.
fn first_fault(
    values: impl IntoIterator<Item = f32>,
    offset: usize,
    range: UpdateRange,
) -> Option<UpdateError> {
    values.into_iter().zip(offset..).find_map(|(value, index)| fault(value, index, range))
}

/// Fault of the value at `index`, if it has one.
fn fault(value: f32, index: usize, range: UpdateRange) -> Option<UpdateError> {
    if !value.is_finite() {
        Some(UpdateError::NotFinite { index })
    } else if value.abs() > range.magnitude() {
        Some(UpdateError::OutOfRange { index, value, range })
    } else {
        None
    }
}
