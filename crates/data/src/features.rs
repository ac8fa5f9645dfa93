//! Elements of examples, by kind.

use fedra_protocol::layers::EmbeddedFeature;
use fedra_protocol::{ElementKind, ModelSpec, Shape};

use super::error::DatasetError;
use super::targets::is_class;

/// Elements of one or more examples, row by row.
#[derive(Clone, Debug, PartialEq)]
pub enum Features {
    /// Real numbers.
    Values(Vec<f32>),
    /// Token ids.
    Tokens(Vec<u32>),
}

impl From<Vec<f32>> for Features {
    fn from(values: Vec<f32>) -> Self {
        Self::Values(values)
    }
}

impl From<Vec<u32>> for Features {
    fn from(tokens: Vec<u32>) -> Self {
        Self::Tokens(tokens)
    }
}

impl Features {
    /// The elements, numbers as their bits.
    pub(super) fn bits(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::Values(values) => Box::new(values.iter().map(|value| value.to_bits())),
            Self::Tokens(tokens) => Box::new(tokens.iter().copied()),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Values(values) => values.len(),
            Self::Tokens(tokens) => tokens.len(),
        }
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Kind of the elements.
    pub fn elements(&self) -> ElementKind {
        match self {
            Self::Values(_) => ElementKind::Values,
            Self::Tokens(_) => ElementKind::TokenIds,
        }
    }

    /// Number of examples of `shape` that these are, at least 1.
    ///
    /// # Errors
    ///
    /// [`DatasetError`] for elements of another kind, and for part of an example.
    pub fn examples(&self, shape: Shape) -> Result<u32, DatasetError> {
        self.check_kind(shape)?;
        examples(self.len(), shape)
    }

    /// Checks that values are finite, and that token ids are in the vocabulary of `shape`.
    ///
    /// # Errors
    ///
    /// [`DatasetError`] for the first element that is not.
    pub fn check_range(&self, shape: Shape) -> Result<(), DatasetError> {
        match (self, shape) {
            (Self::Tokens(tokens), Shape::Tokens { vocabulary, .. }) => {
                check_tokens(tokens, shape.len(), vocabulary)
            }
            (Self::Tokens(_), _) => self.check_kind(shape),
            (Self::Values(values), _) => check_finite("feature", values),
        }
    }

    /// Checks that the features of whole examples are numbers of categories where `spec`
    /// embeds them.
    ///
    /// # Errors
    ///
    /// [`DatasetError::Category`] for the first one that is not.
    pub fn check_categories(&self, spec: &ModelSpec) -> Result<(), DatasetError> {
        let Self::Values(values) = self else { return Ok(()) };
        for &EmbeddedFeature { place, categories, .. } in spec.embedded() {
            let column = values.iter().skip(place as usize).step_by(spec.input().len());
            let is_one = |value: f32| is_class(value) && (value as u32) < categories;
            let other = column.copied().enumerate().find(|&(_, value)| !is_one(value));
            if let Some((index, value)) = other {
                return Err(DatasetError::Category { index, place, value, categories });
            }
        }
        Ok(())
    }

    /// Checks the kind of the elements alone.
    pub(super) fn check_kind(&self, shape: Shape) -> Result<(), DatasetError> {
        let (needed, given) = (shape.elements(), self.elements());
        if needed == given { Ok(()) } else { Err(DatasetError::Elements { needed, given }) }
    }

    /// The rows at `indices` of `width` elements each, copied in that order. Panics on an
    /// index out of range.
    pub(super) fn rows(&self, width: usize, indices: &[u32]) -> Self {
        match self {
            Self::Values(values) => Self::Values(rows(values, width, indices)),
            Self::Tokens(tokens) => Self::Tokens(rows(tokens, width, indices)),
        }
    }
}

/// Whole examples of `shape` in `elements`, at least 1; their indices are `u32`.
pub fn examples(elements: usize, shape: Shape) -> Result<u32, DatasetError> {
    if elements == 0 {
        return Err(DatasetError::Empty);
    }
    if !elements.is_multiple_of(shape.len()) {
        return Err(DatasetError::Features { features: elements, shape: shape.dims() });
    }
    let examples = elements / shape.len();
    u32::try_from(examples).map_err(|_| DatasetError::TooMany { examples })
}

/// The rows at `indices` of `width` values each, copied in that order.
pub fn rows<T: Copy>(values: &[T], width: usize, indices: &[u32]) -> Vec<T> {
    let mut out = Vec::with_capacity(indices.len() * width);
    for &i in indices {
        let start = i as usize * width;
        out.extend_from_slice(&values[start..start + width]);
    }
    out
}

pub(super) fn check_finite(what: &'static str, values: &[f32]) -> Result<(), DatasetError> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(index) => Err(DatasetError::NotFinite { what, index }),
    }
}

/// Checks that every id is below `vocabulary`; an example has `positions` of them.
pub(super) fn check_tokens(
    tokens: &[u32],
    positions: usize,
    vocabulary: u32,
) -> Result<(), DatasetError> {
    match tokens.iter().position(|&token| token >= vocabulary) {
        None => Ok(()),
        Some(at) => Err(DatasetError::Token {
            index: at / positions,
            position: at % positions,
            token: tokens[at],
            vocabulary,
        }),
    }
}
