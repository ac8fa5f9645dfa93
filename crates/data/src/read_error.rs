//! Reasons why a file is not read: the place, the mistake and its remedy.

use std::fmt;

use fedra_protocol::data::{DateOrder, Dtype};

use crate::error::DatasetError;
use crate::memory::OutOfMemory;

/// Most names that a message lists.
const MOST_NAMES: usize = 12;

/// Place in a file, and the problem there.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ReadError {
    /// Place of the problem.
    pub place: Place,
    /// The problem, and its remedy.
    pub problem: Box<Problem>,
}

/// Place in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Name of the file.
    pub file: String,
    /// Line, from 1, as an editor counts.
    pub line: Option<u64>,
    /// Column of a table.
    pub column: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.file.is_empty() { "the data" } else { &self.file })?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        match &self.column {
            Some(column) => write!(f, ", column {column:?}"),
            None => Ok(()),
        }
    }
}

impl Place {
    /// The file as a whole.
    pub fn file(name: &str) -> Self {
        Self { file: name.to_owned(), ..Self::default() }
    }

    /// The problem at this place.
    pub fn error(self, problem: Problem) -> ReadError {
        ReadError { place: self, problem: Box::new(problem) }
    }
}

/// Mistake in a file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Problem {
    /// The file cannot be opened or read.
    #[error("cannot be read: {0}")]
    System(String),
    /// Nothing in it.
    #[error("the file is empty")]
    EmptyFile,
    /// A table without rows.
    #[error("the file has a header and no rows; add rows below it")]
    NoRows,
    /// Two bytes a character.
    #[error("the file is UTF-16; save it as UTF-8 (in Excel: \"CSV UTF-8\")")]
    Utf16,
    /// Bytes that are no text.
    #[error("not UTF-8; save the file as UTF-8 (in Excel: \"CSV UTF-8\")")]
    NotUtf8,
    /// Columns that the task needs, and the header does not have.
    #[error(
        "the header has no {missing}; it has {found}{remedy}",
        missing = listed(missing),
        found = listed(found),
        remedy = .near.as_ref().map_or(String::new(), |(needed, near)| format!(
            ". Rename {near:?} to {needed:?}, if it is the same"
        ))
    )]
    MissingColumns {
        /// Names that are missing.
        missing: Vec<String>,
        /// Names of the header.
        found: Vec<String>,
        /// A missing name, and one of the header that is like it.
        near: Option<(String, String)>,
    },
    /// A column twice.
    #[error("the header has the column {0:?} twice; rename one")]
    TwiceColumn(String),
    /// A row of another length than the header.
    #[error(
        "the row has {actual} fields, the header has {expected}{remedy}",
        remedy = if *spans_lines {
            "; a quotation mark that opens here may not be closed"
        } else if actual > expected {
            "; a field with a delimiter in it belongs in quotation marks"
        } else {
            "; fill the row up, an empty field is a missing value"
        }
    )]
    Fields {
        /// Fields of the header.
        expected: usize,
        /// Fields of the row.
        actual: usize,
        /// The row goes over several lines.
        spans_lines: bool,
    },
    /// A row without end.
    #[error("a row is longer than {0} bytes; a quotation mark that opens here may not be closed")]
    LongRow(usize),
    /// A value is missing where none may be.
    #[error("the value is missing; fill it in, or leave the row out{0}")]
    Missing(MissingRemedy),
    /// Text that is no number.
    #[error(
        "{text:?} is not a number{remedy}",
        text = shortened(text),
        remedy = if *comma { "; if the comma is a decimal comma, say so: decimal = \",\"" } else { "" }
    )]
    NotANumber {
        /// The text.
        text: String,
        /// True if it would be one with a decimal comma.
        comma: bool,
    },
    /// A value that is not in the list of the column.
    #[error(
        "{text:?} is not a category; the task knows {known}{remedy}",
        text = shortened(text),
        known = listed(known),
        remedy = .near.as_ref().map_or(String::new(), |near| format!(". Is it {near:?}?"))
    )]
    UnknownCategory {
        /// The text.
        text: String,
        /// Values of the list.
        known: Vec<String>,
        /// A value that is like it.
        near: Option<String>,
    },
    /// Text that is neither true nor false.
    #[error("{:?} is neither true nor false; write true or false, yes or no, 1 or 0", shortened(.0))]
    NotABoolean(String),
    /// Text that is no date.
    #[error("{text:?} is not a date; the task has dates like {}", order.example(), text = shortened(text))]
    NotADate {
        /// The text.
        text: String,
        /// Order of the column.
        order: DateOrder,
    },
    /// Fewer tokens than an example has.
    #[error("the text has {tokens} tokens, an example needs {needed}; give a longer text")]
    ShortText {
        /// Tokens that there are.
        tokens: u64,
        /// Tokens of an example, and the one after it.
        needed: u64,
    },
    /// A character that has no token.
    #[error(
        "the character {character:?} is not in the task's alphabet; replace it, or ask the \
         operator for an alphabet that has it, or other = true"
    )]
    UnknownCharacter {
        /// The character.
        character: char,
    },
    /// Bytes of no array format.
    #[error("not an array file; give .npy, .npz, or IDX")]
    NotAnArray,
    /// A damaged header.
    #[error("the header of the array is damaged: {0}")]
    ArrayHeader(String),
    /// Numbers of another type.
    #[error(
        "the numbers are {actual}, the task takes {}; save array.astype({:?})",
        expected.name(), expected.name()
    )]
    Dtype {
        /// Type that the task describes.
        expected: Dtype,
        /// Type of the file, by its own name.
        actual: String,
    },
    /// Columns first.
    #[error("the array is in Fortran order; save numpy.ascontiguousarray(array)")]
    FortranOrder,
    /// Examples of another shape.
    #[error("the examples have the shape {actual:?}, the task takes {expected:?}")]
    ArrayShape {
        /// Shape that the task describes.
        expected: Vec<u32>,
        /// Shape in the file, without the number of examples.
        actual: Vec<u64>,
    },
    /// The file ends early, or goes on.
    #[error("the header promises {promised} bytes of numbers, the file has {actual}")]
    ArrayLength {
        /// Bytes by the header.
        promised: u64,
        /// Bytes in the file.
        actual: u64,
    },
    /// A token id that is none of the vocabulary.
    #[error("{value} is not a token id; ids are whole numbers from 0 to below {vocabulary}")]
    NotAToken {
        /// The number.
        value: f64,
        /// Ids that there are.
        vocabulary: u32,
    },
    /// A picture that cannot be decoded.
    #[error("the picture cannot be decoded: {0}")]
    BrokenImage(String),
    /// A picture without pixels, or with other than four bytes a pixel.
    #[error("a picture of {width} x {height} pixels cannot have {bytes} bytes")]
    ImageSize {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Bytes.
        bytes: usize,
    },
    /// A second file of the same part of arrays.
    #[error("the data have such an array already; give one file of examples, and one of labels")]
    SecondArray,
    /// A form of data that the task does not take.
    #[error("the task takes {expected} data, not {given}")]
    Kind {
        /// Kind of the task's data.
        expected: &'static str,
        /// Form that was given.
        given: &'static str,
    },
    /// Too little memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// Examples that are no data set together.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

/// Remedy for a missing value: an operator may have one filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingRemedy {
    /// A column with a key `fill`.
    Fill,
    /// A category with a key `other`.
    Other,
    /// A target.
    None,
}

impl fmt::Display for MissingRemedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fill => "; the operator may set fill for the column",
            Self::Other => "; the operator may set other = true for the column",
            Self::None => "",
        })
    }
}

/// Names in quotation marks, the first few of them.
fn listed(names: &[String]) -> String {
    let quoted: Vec<String> =
        names.iter().take(MOST_NAMES).map(|name| format!("{:?}", shortened(name))).collect();
    let more = match names.len().saturating_sub(MOST_NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    quoted.join(", ") + &more
}

/// The start of a long text.
fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

/// The name that is most like `text`, if one is.
pub(crate) fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Letters beyond ASCII would take a table of 11 kB.
    let lower = text.to_ascii_lowercase();
    names
        .map(|name| (strsim::osa_distance(&lower, &name.trim().to_ascii_lowercase()), name))
        .filter(|(distance, name)| 2 * distance < name.len().max(text.len()))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}
