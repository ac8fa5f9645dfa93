//! Local examples in memory, checked once against themselves and against a model.

use std::ops::Range;

use fedra_protocol::{Loss, ModelSpec, Shape};

/// What an example should come out as.
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
    /// From `labels` row by row: one whole number from 0 an example is taken for a
    /// class, anything else for `labels / examples` values each.
    pub fn from_labels(labels: Vec<f32>, examples: usize) -> Result<Self, DatasetError> {
        // What a u32 does not hold is not a class.
        let is_class = |label: f32| (label as u32) as f32 == label;
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

/// Why numbers are not a data set, or not one for this model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DatasetError {
    /// Nothing to train on.
    #[error("the data set is empty; give at least one example")]
    Empty,
    /// The features do not divide into examples.
    #[error("{features} feature values are not a whole number of examples of shape {shape:?}")]
    Features {
        /// Values given.
        features: usize,
        /// Shape of one example.
        shape: Vec<u32>,
    },
    /// As many targets as examples are needed.
    #[error("{targets} targets for {examples} examples")]
    Targets {
        /// Targets given.
        targets: usize,
        /// Examples given.
        examples: usize,
    },
    /// A NaN or an infinity.
    #[error("the {what} at position {index} is not a finite number")]
    NotFinite {
        /// Feature or target.
        what: &'static str,
        /// Its position.
        index: usize,
    },
    /// The model takes other examples.
    #[error("the model takes examples of shape {model:?}, the data set has {data:?}")]
    Shape {
        /// What the model takes.
        model: Vec<u32>,
        /// What the data set has.
        data: Vec<u32>,
    },
    /// A class that the model has no output for.
    #[error("the model tells classes 0 to {max} apart; example {index} has class {class}", max = .classes - 1)]
    Class {
        /// Classes of the model.
        classes: usize,
        /// The example.
        index: usize,
        /// Its class.
        class: u32,
    },
    /// Classes for a regression, values for a classifier, or values of another width.
    #[error("the model needs {needed} as targets")]
    TargetKind {
        /// In words.
        needed: String,
    },
}

impl Dataset {
    /// Checks lengths and finiteness. `shape` is one example's.
    pub fn new(features: Vec<f32>, shape: Shape, targets: Targets) -> Result<Self, DatasetError> {
        if features.is_empty() {
            return Err(DatasetError::Empty);
        }
        if !features.len().is_multiple_of(shape.len()) {
            let features = features.len();
            return Err(DatasetError::Features { features, shape: shape.dims() });
        }
        let examples = features.len() / shape.len();
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

    /// The examples `range`, copied. The range must lie within the data set and not be empty.
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

    /// Whether a model can train on this, and if not, why.
    ///
    /// An image model also takes flat examples of the same length, and the
    /// other way round.
    pub fn check_for(&self, spec: &ModelSpec) -> Result<(), DatasetError> {
        if self.shape.len() != spec.input().len() {
            let (model, data) = (spec.input().dims(), self.shape.dims());
            return Err(DatasetError::Shape { model, data });
        }
        let outputs = spec.output_len();
        match (spec.loss(), &self.targets) {
            (Loss::SoftmaxCrossEntropy, Targets::Classes(labels)) => {
                match labels.iter().position(|&class| class as usize >= outputs) {
                    None => Ok(()),
                    Some(index) => {
                        let class = labels[index];
                        Err(DatasetError::Class { classes: outputs, index, class })
                    }
                }
            }
            (Loss::SoftmaxCrossEntropy, Targets::Values { .. }) => {
                Err(DatasetError::TargetKind { needed: "one class number an example".into() })
            }
            (Loss::MeanSquaredError, Targets::Values { width, .. }) if *width == outputs => Ok(()),
            // Ages, counts: nobody can tell by the numbers that they are not classes.
            (Loss::MeanSquaredError, Targets::Classes(_)) if outputs == 1 => Ok(()),
            (Loss::MeanSquaredError, _) => {
                Err(DatasetError::TargetKind { needed: format!("{outputs} values an example") })
            }
        }
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
