//! Shapes of one example between two layers, and the kind of their elements.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits;

/// Kind of the elements of a shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ElementKind {
    /// Real numbers, as float32.
    #[default]
    Values,
    /// Numbers of the entries of a vocabulary, from 0.
    TokenIds,
}

impl ElementKind {
    /// The kinds as they are written in a config file.
    pub const NAMES: [&str; 2] = ["values", "token_ids"];
}

impl fmt::Display for ElementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Values => "values",
            Self::TokenIds => "token ids",
        })
    }
}

/// Shape of one example between two layers, without the batch.
///
/// Its [elements](Self::elements) are values, but for [`Shape::Tokens`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A plain vector.
    Features(u32),
    /// `[positions, width]`: a vector at each position.
    Sequence {
        /// Positions.
        positions: u32,
        /// Values at each of them.
        width: u32,
    },
    /// `[channels, height, width]`.
    Image {
        /// Channels.
        channels: u32,
        /// Rows.
        height: u32,
        /// Columns.
        width: u32,
    },
    /// `[positions]` token ids.
    Tokens {
        /// Positions.
        positions: u32,
        /// Entries of the vocabulary: every id is below.
        vocabulary: u32,
    },
}

impl Shape {
    /// The shape of values `[features]`, `[channels, height, width]`, or `[height, width]`
    /// for one channel; each at least 1 and within the limits.
    pub fn from_dims(dims: &[u32]) -> Option<Self> {
        match *dims {
            [features] => Self::Features(features),
            [height, width] => Self::Image { channels: 1, height, width },
            [channels, height, width] => Self::Image { channels, height, width },
            _ => return None,
        }
        .within_limits()
    }

    /// The shape of token ids; both numbers at least 1 and within the limits.
    pub fn from_tokens(positions: u32, vocabulary: u32) -> Option<Self> {
        (1..=limits::MAX_VOCABULARY)
            .contains(&vocabulary)
            .then_some(Self::Tokens { positions, vocabulary })?
            .within_limits()
    }

    /// Kind of the elements.
    pub fn elements(self) -> ElementKind {
        match self {
            Self::Features(_) | Self::Sequence { .. } | Self::Image { .. } => ElementKind::Values,
            Self::Tokens { .. } => ElementKind::TokenIds,
        }
    }

    /// True if examples of values of this shape go into a model that takes `model`: the same
    /// shape, flat with as many values, or one channel row by row for flat features.
    pub fn fits(self, model: Self) -> bool {
        match (self, model) {
            (Self::Features(_), _) | (Self::Image { channels: 1, .. }, Self::Features(_)) => {
                self.len() == model.len()
            }
            _ => self == model,
        }
    }

    /// The dimensions as a list.
    pub fn dims(self) -> Vec<u32> {
        match self {
            Self::Features(features) => vec![features],
            Self::Sequence { positions, width } => vec![positions, width],
            Self::Image { channels, height, width } => vec![channels, height, width],
            Self::Tokens { positions, .. } => vec![positions],
        }
    }

    /// Elements in one example.
    pub fn len(self) -> usize {
        self.dims().iter().map(|&d| d as usize).product()
    }

    /// Never: a shape has at least one element.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// This shape, unless it is empty or has more elements than an example may have.
    pub(super) fn within_limits(self) -> Option<Self> {
        let len = self.dims().iter().try_fold(1u64, |len, &d| len.checked_mul(u64::from(d)))?;
        (1..=limits::MAX_ACTIVATIONS).contains(&len).then_some(self)
    }
}
