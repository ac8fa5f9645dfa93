//! Local examples in memory, checked once against themselves.

mod arrays;
mod error;
mod fit;
#[cfg(test)]
mod tests;

use std::ops::Range;

use fedra_protocol::Shape;

pub use arrays::Layout;
pub use error::DatasetError;

/// Desired outputs of the examples.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// One class number an example; to a model with one output a value.
    Classes(Vec<u32>),
    /// `width` values an example, row-major.
    Values {
        /// All values.
        values: Vec<f32>,
        /// Values an example.
        width: usize,
    },
}

impl Targets {
    /// Targets from `labels`, row by row: one whole number from 0 an example is
    /// taken for a class, anything else for `labels / examples` values each.
    ///
    /// # Errors
    ///
    /// [`DatasetError::Targets`] if the labels do not divide among the examples.
    pub fn from_labels(labels: Vec<f32>, examples: usize) -> Result<Self, DatasetError> {
        if labels.len() == examples && labels.iter().all(|&label| is_class(label)) {
            return Ok(Self::Classes(labels.into_iter().map(|label| label as u32).collect()));
        }
        if examples == 0 || labels.is_empty() || !labels.len().is_multiple_of(examples) {
            return Err(DatasetError::Targets { targets: labels.len(), examples });
        }
        let width = labels.len() / examples;
        Ok(Self::Values { values: labels, width })
    }
}

/// Examples with their targets. Non-empty, finite, consistent.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    features: Vec<f32>,
    shape: Shape,
    targets: Targets,
}

impl Dataset {
    /// Checks lengths and finiteness. `shape` is one example's; images have their
    /// channels first.
    ///
    /// # Errors
    ///
    /// [`DatasetError`] for lengths that do not agree, and for the first value that is not
    /// finite.
    pub fn new(features: Vec<f32>, shape: Shape, targets: Targets) -> Result<Self, DatasetError> {
        let examples = examples(features.len(), shape)? as usize;
        let count = match &targets {
            Targets::Classes(classes) => classes.len(),
            Targets::Values { width: 0, .. } => 0,
            Targets::Values { values, width } if values.len() % width != 0 => 0,
            Targets::Values { values, width } => values.len() / width,
        };
        if count != examples {
            return Err(DatasetError::Targets { targets: count, examples });
        }
        check_finite("feature", &features)?;
        if let Targets::Values { values, .. } = &targets {
            check_finite("target", values)?;
        }
        Ok(Self { features, shape, targets })
    }

    /// Number of examples, at least 1.
    pub fn len(&self) -> usize {
        self.features.len() / self.shape.len()
    }

    /// Never: a data set has at least one example.
    pub fn is_empty(&self) -> bool {
        self.features.is_empty()
    }

    /// Shape of one example.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The examples `range`, copied.
    ///
    /// # Errors
    ///
    /// [`DatasetError::Empty`] for a range that is empty or goes beyond the data set.
    pub fn slice(&self, range: Range<usize>) -> Result<Self, DatasetError> {
        let indices: Vec<u32> = (range.start as u32..range.end as u32).collect();
        if indices.is_empty() || range.end > self.len() {
            return Err(DatasetError::Empty);
        }
        Ok(self.select(&indices))
    }

    /// The examples at `indices`, copied in that order. Panics on an index out of range.
    pub fn select(&self, indices: &[u32]) -> Self {
        let targets = match &self.targets {
            Targets::Classes(classes) => {
                Targets::Classes(indices.iter().map(|&i| classes[i as usize]).collect())
            }
            Targets::Values { values, width } => {
                Targets::Values { values: rows(values, *width, indices), width: *width }
            }
        };
        Self { features: self.features_of(indices), shape: self.shape, targets }
    }

    /// Features of the examples at `indices`, row by row.
    pub(crate) fn features_of(&self, indices: &[u32]) -> Vec<f32> {
        rows(&self.features, self.shape.len(), indices)
    }

    /// Targets of the examples at `indices`, one row of `outputs` values each.
    /// Classes become one-hot rows, or the value of a single output: a classifier has
    /// at least two.
    pub(crate) fn dense_targets_of(&self, indices: &[u32], outputs: usize) -> Vec<f32> {
        match &self.targets {
            Targets::Classes(classes) if outputs == 1 => {
                indices.iter().map(|&i| classes[i as usize] as f32).collect()
            }
            Targets::Classes(classes) => {
                let mut dense = vec![0.0; indices.len() * outputs];
                for (row, &i) in dense.chunks_exact_mut(outputs).zip(indices) {
                    row[classes[i as usize] as usize] = 1.0;
                }
                dense
            }
            Targets::Values { values, width } => rows(values, *width, indices),
        }
    }
}

/// True for a whole number from 0 that a `u32` holds.
fn is_class(label: f32) -> bool {
    (label as u32) as f32 == label
}

/// Whole examples of `shape` in `features` values; their indices are `u32`.
fn examples(features: usize, shape: Shape) -> Result<u32, DatasetError> {
    if features == 0 {
        return Err(DatasetError::Empty);
    }
    if !features.is_multiple_of(shape.len()) {
        return Err(DatasetError::Features { features, shape: shape.dims() });
    }
    let examples = features / shape.len();
    u32::try_from(examples).map_err(|_| DatasetError::TooMany { examples })
}

fn rows(values: &[f32], width: usize, indices: &[u32]) -> Vec<f32> {
    let mut out = Vec::with_capacity(indices.len() * width);
    for &i in indices {
        let start = i as usize * width;
        out.extend_from_slice(&values[start..start + width]);
    }
    out
}

fn check_finite(what: &'static str, values: &[f32]) -> Result<(), DatasetError> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(index) => Err(DatasetError::NotFinite { what, index }),
    }
}
