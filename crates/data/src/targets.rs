//! Desired outputs of examples.

use fedra_protocol::{Loss, ModelSpec};

use super::error::DatasetError;
use super::features::{check_finite, rows};

/// Desired outputs of the examples.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// One class number an example; to a model with one output a value.
    Classes(Vec<u32>),
    /// A class number for each position of each example, row-major.
    PositionClasses {
        /// All class numbers.
        classes: Vec<u32>,
        /// Positions of an example.
        positions: usize,
    },
    /// `width` values an example, row-major; to a classifier with as many positions the
    /// classes of the positions, if all are whole numbers.
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

    /// Checks that every one of `examples` has its targets.
    pub(super) fn check(&self, examples: usize) -> Result<(), DatasetError> {
        let whole = |len: usize, width: usize| match width {
            0 => 0,
            width if !len.is_multiple_of(width) => 0,
            width => len / width,
        };
        let targets = match self {
            Self::Classes(classes) => classes.len(),
            Self::PositionClasses { classes, positions } => whole(classes.len(), *positions),
            Self::Values { values, width } => whole(values.len(), *width),
        };
        if targets != examples {
            return Err(DatasetError::Targets { targets, examples });
        }
        Ok(())
    }

    /// Checks that values are finite.
    pub(super) fn check_range(&self) -> Result<(), DatasetError> {
        match self {
            Self::Values { values, .. } => check_finite("target", values),
            Self::Classes(_) | Self::PositionClasses { .. } => Ok(()),
        }
    }

    /// Adds the targets of other examples behind these. Whole numbers and values are one kind
    /// where an example has one of them: by its labels alone a file does not say which it has.
    pub(super) fn append(&mut self, other: Self) -> Result<(), DatasetError> {
        let value = |class: u32| class as f32;
        match (&mut *self, other) {
            (Self::Classes(all), Self::Classes(more)) => all.extend(more),
            (
                Self::PositionClasses { classes, positions },
                Self::PositionClasses { classes: more, positions: other },
            ) if *positions == other => classes.extend(more),
            (Self::Values { values, width }, Self::Values { values: more, width: other })
                if *width == other =>
            {
                values.extend(more);
            }
            (Self::Values { values, width: 1 }, Self::Classes(more)) => {
                values.extend(more.into_iter().map(value));
            }
            (Self::Classes(all), Self::Values { values: more, width: 1 }) => {
                let mut values: Vec<f32> = all.iter().copied().map(value).collect();
                values.extend(more);
                *self = Self::Values { values, width: 1 };
            }
            (_, other) => {
                let (needed, given) = (self.description(), other.description());
                return Err(DatasetError::TargetKind { needed, given });
            }
        }
        Ok(())
    }

    /// Number of targets of an example, and their kind, as part of a sentence.
    pub(super) fn description(&self) -> String {
        match self {
            Self::Classes(_) => "one whole number an example".into(),
            Self::PositionClasses { positions, .. } => {
                format!("a class number at each of {positions} positions")
            }
            Self::Values { width, .. } => format!("{width} values an example"),
        }
    }

    /// All targets, numbers as their bits.
    pub(super) fn bits(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::Classes(classes) | Self::PositionClasses { classes, .. } => {
                Box::new(classes.iter().copied())
            }
            Self::Values { values, .. } => Box::new(values.iter().map(|value| value.to_bits())),
        }
    }

    /// The targets at `indices`, copied in that order. Panics on an index out of range.
    pub(super) fn select(&self, indices: &[u32]) -> Self {
        match self {
            Self::Classes(classes) => Self::Classes(rows(classes, 1, indices)),
            Self::PositionClasses { classes, positions } => Self::PositionClasses {
                classes: rows(classes, *positions, indices),
                positions: *positions,
            },
            Self::Values { values, width } => {
                Self::Values { values: rows(values, *width, indices), width: *width }
            }
        }
    }

    /// Targets of the examples at `indices` for a model that they fit, a row of values for
    /// each position. Classes become one-hot rows, or the value of a single output: a
    /// classifier of more than yes and no has at least two.
    pub(super) fn dense(&self, indices: &[u32], spec: &ModelSpec) -> Vec<f32> {
        let outputs = spec.output_width();
        match self {
            Self::Classes(classes) => one_hot(&rows(classes, 1, indices), outputs),
            Self::PositionClasses { classes, positions } => {
                one_hot(&rows(classes, *positions, indices), outputs)
            }
            Self::Values { values, width } => {
                let rows = rows(values, *width, indices);
                match spec.loss() {
                    Loss::SoftmaxCrossEntropy => {
                        let classes: Vec<u32> = rows.iter().map(|&value| value as u32).collect();
                        one_hot(&classes, outputs)
                    }
                    Loss::MeanSquaredError | Loss::BinaryCrossEntropy | Loss::Huber => rows,
                }
            }
        }
    }
}

/// True for a whole number from 0 that a `u32` holds.
pub(super) fn is_class(label: f32) -> bool {
    (label as u32) as f32 == label
}

/// A row of `width` zeros with a one for each class; of width 1, the number of the class.
fn one_hot(classes: &[u32], width: usize) -> Vec<f32> {
    if width == 1 {
        return classes.iter().map(|&class| class as f32).collect();
    }
    let mut dense = vec![0.0; classes.len() * width];
    for (row, &class) in dense.chunks_exact_mut(width).zip(classes) {
        row[class as usize] = 1.0;
    }
    dense
}
