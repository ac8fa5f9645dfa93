//! Descriptions of data: how the values of a file become the input and the targets of a
//! model.
//!
//! A description is part of a task, so that every client and the server prepare the same
//! value in the same way. A [`DataSpec`] that exists is valid. Files are `fedra-data`'s.

mod array;
mod date;
mod image;
mod scaling;
mod table;
#[cfg(test)]
mod tests;
mod text;

use std::collections::HashSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use array::{ArraySpec, Dtype};
pub use date::{DateOrder, DatePart, Timestamp};
pub use image::{Fit, ImageSpec};
pub use scaling::Scaling;
pub use table::{Column, ColumnType, Content, Encoding, TableSpec};
pub use text::TextSpec;

use crate::limits;
use crate::model::layers::EmbeddedFeature;
use crate::model::{Loss, ModelSpec, Shape};

/// Description of a task's data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DataSpec {
    /// Rows of columns, such as a CSV file.
    Table(TableSpec),
    /// Pictures with a class each.
    Image(ImageSpec),
    /// Text, of which the next token is to be told.
    Text(TextSpec),
    /// Arrays of numbers, such as IDX and NumPy files.
    Array(ArraySpec),
}

/// [`DataSpec`] as a message, at most [`MAX_DATA_SPEC_BYTES`](limits::MAX_DATA_SPEC_BYTES).
///
/// A client that reads no files hands it on without the code that understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedDataSpec(pub(crate) Bytes);

/// Targets that a description gives an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// One of so many classes.
    Classes(u32),
    /// A number of values.
    Values(u32),
    /// A number of answers that are 0 or 1.
    Answers(u32),
    /// One of so many classes after each position, or after the last one.
    NextToken(u32),
    /// Targets of the file, of any kind.
    Any,
}

/// Description that describes no data, or none for a model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DataSpecError {
    /// A key of a table, an image, a text or an array.
    #[error("{key}: {problem}")]
    Key {
        /// The key.
        key: &'static str,
        /// The mistake, and its remedy.
        problem: String,
    },
    /// A column.
    #[error("column {name:?}: {problem}")]
    Column {
        /// The column's name.
        name: String,
        /// The mistake, and its remedy.
        problem: String,
    },
    /// Input that the model does not take.
    #[error(
        "the data give {data}, the model takes {model}; give the model the input {dims:?}{vocabulary}",
        vocabulary = .vocabulary.map_or(String::new(), |v| format!(
            " with elements = \"token_ids\" and vocabulary = {v}"
        ))
    )]
    Input {
        /// Shape of an example, in words.
        data: String,
        /// Shape that the model takes, in words.
        model: String,
        /// Dimensions of an example.
        dims: Vec<u32>,
        /// Vocabulary of an example of token ids.
        vocabulary: Option<u32>,
    },
    /// Targets that the model does not have outputs for.
    #[error("the data have {data}, the model {model}; {remedy}")]
    Targets {
        /// Targets of an example, in words.
        data: String,
        /// Outputs of the model, in words.
        model: String,
        /// Change that makes them fit.
        remedy: String,
    },
}

pub(crate) fn key(key: &'static str, problem: impl Into<String>) -> DataSpecError {
    DataSpecError::Key { key, problem: problem.into() }
}

/// Checks a name of a column, a category or a class.
fn named(key_name: &'static str, name: &str) -> Result<(), DataSpecError> {
    let max = limits::MAX_NAME_BYTES;
    if name.len() > max {
        let problem = format!("a name has at most {max} bytes; one has {}", name.len());
        return Err(key(key_name, problem));
    }
    Ok(())
}

/// Checks a list of names: not too many, none twice.
fn all_named(
    key_name: &'static str,
    names: &[String],
    least: usize,
    most: usize,
) -> Result<(), DataSpecError> {
    if !(least..=most).contains(&names.len()) {
        let problem = format!("{least} to {most} are possible; there are {}", names.len());
        return Err(key(key_name, problem));
    }
    let mut seen = HashSet::with_capacity(names.len());
    if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(key(key_name, format!("{twice:?} is there twice; leave one out")));
    }
    names.iter().try_for_each(|name| named(key_name, name))
}

impl DataSpec {
    /// Description of the data of a task that has none: arrays of bytes in the shape that
    /// the model takes, divided by 255 unless they are token ids, as in MNIST's files.
    pub fn of_bytes(input: Shape) -> Self {
        Self::Array(ArraySpec::of_bytes(input))
    }

    /// Shape of an example.
    pub fn shape(&self) -> Shape {
        match self {
            Self::Table(table) => table.shape(),
            Self::Image(image) => image.shape(),
            Self::Text(text) => text.shape(),
            Self::Array(array) => array.shape(),
        }
    }

    /// Targets of an example.
    pub fn targets(&self) -> TargetKind {
        match self {
            Self::Table(table) => table.target_kind(),
            Self::Image(image) => TargetKind::Classes(image.classes().len() as u32),
            Self::Text(text) => TargetKind::NextToken(text.vocabulary()),
            Self::Array(_) => TargetKind::Any,
        }
    }

    /// Kind of the data in a word, as in a config file.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Table(_) => "table",
            Self::Image(_) => "image",
            Self::Text(_) => "text",
            Self::Array(_) => "array",
        }
    }

    /// Checks that a model takes these data.
    ///
    /// # Errors
    ///
    /// [`DataSpecError::Input`], [`DataSpecError::Targets`] and, for a column whose feature
    /// the model embeds, [`DataSpecError::Column`] say what does not fit.
    pub fn check_for(&self, model: &ModelSpec) -> Result<(), DataSpecError> {
        self.check_input(model.input())?;
        if let Self::Table(table) = self {
            check_embedded(table, model.embedded())?;
        }
        self.check_targets(model)
    }

    fn check_input(&self, model: Shape) -> Result<(), DataSpecError> {
        let data = self.shape();
        let fits = match (data, model) {
            (Shape::Tokens { .. }, _) | (_, Shape::Tokens { .. }) => data == model,
            _ => data.fits(model),
        };
        if fits {
            return Ok(());
        }
        let vocabulary = match data {
            Shape::Tokens { vocabulary, .. } => Some(vocabulary),
            _ => None,
        };
        let dims = data.dims();
        Err(DataSpecError::Input {
            data: described(data),
            model: described(model),
            dims,
            vocabulary,
        })
    }

    fn check_targets(&self, model: &ModelSpec) -> Result<(), DataSpecError> {
        let (width, positions) = (model.output_width(), model.output_positions());
        let refused = |remedy: String| {
            let (data, model) = (self.targets().to_string(), outputs(model));
            Err(DataSpecError::Targets { data, model, remedy })
        };
        match (self.targets(), model.loss()) {
            (TargetKind::Any, _) => Ok(()),
            (TargetKind::NextToken(vocabulary), Loss::SoftmaxCrossEntropy) => {
                let all = self.shape().len();
                if positions != 1 && positions != all {
                    return refused(format!(
                        "the model has an output at one or at all {all} positions"
                    ));
                }
                if width != vocabulary as usize {
                    return refused(format!("end the model with linear, outputs = {vocabulary}"));
                }
                Ok(())
            }
            (TargetKind::Classes(classes), Loss::SoftmaxCrossEntropy) => {
                if positions == 1 && width == classes as usize {
                    return Ok(());
                }
                refused(format!("end the model with linear, outputs = {classes}"))
            }
            (TargetKind::Values(values), Loss::MeanSquaredError | Loss::Huber) => {
                if positions == 1 && width == values as usize {
                    return Ok(());
                }
                refused(format!("end the model with linear, outputs = {values}"))
            }
            // A boolean is the one answer of a single output, too.
            (TargetKind::Classes(2), Loss::BinaryCrossEntropy) if width == 1 => Ok(()),
            (TargetKind::Answers(answers), Loss::BinaryCrossEntropy) => {
                if positions == 1 && width == answers as usize {
                    return Ok(());
                }
                refused(format!("end the model with linear, outputs = {answers}"))
            }
            (TargetKind::Values(_), _) => {
                refused("give the model loss = \"mean_squared_error\"".to_owned())
            }
            (TargetKind::Classes(_) | TargetKind::NextToken(_), _) => {
                refused("give the model loss = \"softmax_cross_entropy\"".to_owned())
            }
            (TargetKind::Answers(_), _) => {
                refused("give the model loss = \"binary_cross_entropy\"".to_owned())
            }
        }
    }
}

/// Checks that the features are numbers of categories where a model embeds them, and of
/// as many as the model has vectors for.
fn check_embedded(table: &TableSpec, features: &[EmbeddedFeature]) -> Result<(), DataSpecError> {
    for &EmbeddedFeature { place, categories, .. } in features {
        let mut before = 0;
        let column = table.inputs().find(|column| {
            before += column.content.width();
            place < before
        });
        let Some(Column { name, content }) = column else { continue };
        let problem = match content {
            Content::Category { encoding: Encoding::OneHot, .. }
            | Content::Number { .. }
            | Content::Date { .. } => format!(
                "the model embeds its feature {place}, which is no number of a category; give \
                 the column the type category and encoding = \"index\", or leave {place} out \
                 of the model's category_embedding"
            ),
            _ if content.categories() != categories => format!(
                "it has {} categories, the model has vectors for {categories}; give place \
                 {place} of the model's category_embedding categories = {0}",
                content.categories()
            ),
            _ => continue,
        };
        return Err(DataSpecError::Column { name: name.clone(), problem });
    }
    Ok(())
}

impl std::fmt::Display for TargetKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Classes(count) => write!(f, "one of {count} classes an example"),
            Self::Values(1) => f.write_str("one value an example"),
            Self::Values(count) => write!(f, "{count} values an example"),
            Self::Answers(count) => write!(f, "{count} answers an example, each 0 or 1"),
            Self::NextToken(count) => write!(f, "one of {count} tokens that come next"),
            Self::Any => f.write_str("the targets of the file"),
        }
    }
}

/// Shape in words.
fn described(shape: Shape) -> String {
    match shape {
        Shape::Features(features) => format!("{features} features"),
        Shape::Sequence { positions, width } => {
            format!("{positions} positions of {width} values")
        }
        Shape::Image { channels, height, width } => {
            format!("images [{channels}, {height}, {width}]")
        }
        Shape::Tokens { positions, vocabulary } => {
            format!("{positions} token ids of a vocabulary of {vocabulary}")
        }
    }
}

fn outputs(model: &ModelSpec) -> String {
    let loss = model.loss().name();
    let (width, positions) = (model.output_width(), model.output_positions());
    let at =
        if positions == 1 { String::new() } else { format!(" at each of {positions} positions") };
    format!("{width} outputs{at} and the loss {loss}")
}
