//! Arrays of numbers.

use serde::{Deserialize, Serialize};

use super::scaling::{Keys, Scaling};
use super::{DataSpecError, key};
use crate::model::Shape;

/// Description of arrays: shape and type of an example, and the scaling of its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawArray", into = "RawArray")]
pub struct ArraySpec {
    shape: Shape,
    dtype: Dtype,
    scaling: Scaling,
}

/// Type of an array's numbers, by NumPy's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// 32-bit float.
    Float32,
    /// 64-bit float.
    Float64,
    /// Whole number from 0 to 255.
    Uint8,
    /// 32-bit whole number.
    Int32,
    /// 64-bit whole number.
    Int64,
}

impl Dtype {
    /// The types as they are written in a config file.
    pub const ALL: [Self; 5] =
        [Self::Float32, Self::Float64, Self::Uint8, Self::Int32, Self::Int64];

    /// NumPy's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Uint8 => "uint8",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
        }
    }

    /// Bytes of a number.
    pub fn size(self) -> usize {
        match self {
            Self::Uint8 => 1,
            Self::Float32 | Self::Int32 => 4,
            Self::Float64 | Self::Int64 => 8,
        }
    }
}

impl ArraySpec {
    /// Shape of an example.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Type of the numbers in a file.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Scaling of the numbers; none of token ids.
    pub fn scaling(&self) -> Scaling {
        self.scaling
    }

    pub(super) fn of_bytes(shape: Shape) -> Self {
        let scaling = match shape {
            Shape::Tokens { .. } => Scaling::default(),
            _ => Scaling::new(0.0, 255.0).unwrap_or_default(),
        };
        Self { shape, dtype: Dtype::Uint8, scaling }
    }

    pub(crate) fn new(
        shape: &[u32],
        vocabulary: Option<u32>,
        dtype: Dtype,
        scaling: Scaling,
    ) -> Result<Self, DataSpecError> {
        let Some(vocabulary) = vocabulary else {
            let shape = Shape::from_dims(shape).ok_or_else(|| {
                let forms =
                    "[features], [height, width] or [channels, height, width], each at least 1";
                key("shape", format!("must be {forms}; it is {shape:?}"))
            })?;
            return Ok(Self { shape, dtype, scaling });
        };
        if matches!(dtype, Dtype::Float32 | Dtype::Float64) {
            return Err(key("dtype", "token ids are whole numbers: uint8, int32 or int64"));
        }
        if scaling != Scaling::default() {
            return Err(key("mean", "token ids are not scaled; leave the key out"));
        }
        let shape = match *shape {
            [positions] => Shape::from_tokens(positions, vocabulary),
            _ => None,
        };
        let shape = shape.ok_or_else(|| {
            key("shape", "token ids have the shape [positions] and a vocabulary of 1 to 2^24")
        })?;
        Ok(Self { shape, dtype, scaling })
    }

    pub(crate) fn vocabulary(&self) -> Option<u32> {
        match self.shape {
            Shape::Tokens { vocabulary, .. } => Some(vocabulary),
            _ => None,
        }
    }
}

/// Arrays as they are written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawArray {
    shape: Vec<u32>,
    dtype: Dtype,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vocabulary: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mean: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deviation: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<f64>,
}

impl TryFrom<RawArray> for ArraySpec {
    type Error = DataSpecError;

    fn try_from(raw: RawArray) -> Result<Self, DataSpecError> {
        let RawArray { shape, dtype, vocabulary, mean, deviation, min, max } = raw;
        let scaling = Scaling::of_keys(Keys { mean, deviation, min, max });
        let scaling = scaling.map_err(|problem| key("mean", problem))?;
        Self::new(&shape, vocabulary, dtype, scaling)
    }
}

impl From<ArraySpec> for RawArray {
    fn from(array: ArraySpec) -> Self {
        let Keys { mean, deviation, min, max } = array.scaling.keys();
        let (shape, vocabulary) = (array.shape.dims(), array.vocabulary());
        Self { shape, dtype: array.dtype, vocabulary, mean, deviation, min, max }
    }
}
