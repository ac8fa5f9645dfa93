//! State of a server optimizer between two rounds, and the file that it is stored in.
//!
//! ```text
//! "fedra-optimizer-state" | version: u8 = 1 | name | vectors: u8 | (name, length, values)*
//! name = length: u8, UTF-8       length: u64       values: f32, finite       little-endian
//! ```
//! A file is checked as a whole: known names in their order, vectors of one length, finite
//! values, no second moment below zero, nothing left over. A change of the layout takes
//! another version.

use thiserror::Error;

const MAGIC: &[u8] = b"fedra-optimizer-state";
const VERSION: u8 = 1;

const MOMENTUM: &str = "momentum";
const VELOCITY: &str = "velocity";
const ADAGRAD: &str = "adagrad";
const ADAM: &str = "adam";
const YOGI: &str = "yogi";
const FIRST_MOMENT: &str = "first_moment";
const SECOND_MOMENT: &str = "second_moment";

/// State of a server optimizer after a round.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum OptimizerState {
    /// State before the first step, and that of an optimizer without memory. It has no
    /// file.
    #[default]
    Empty,
    /// State of server momentum.
    Momentum {
        /// Decaying sum of the rounds' means, one value a parameter.
        velocity: Vec<f32>,
    },
    /// State of FedAdagrad.
    Adagrad(Moments),
    /// State of FedAdam.
    Adam(Moments),
    /// State of FedYogi.
    Yogi(Moments),
}

/// Moments of the rounds' means, each with one value a parameter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moments {
    /// First moment: a decaying average of the means.
    pub first: Vec<f32>,
    /// Second moment, of their squares. At least 0.
    pub second: Vec<f32>,
}

/// Reason why a file is not a state.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StateError {
    /// It is not such a file, is cut short, or has bytes left over.
    #[error("it is not the file of an optimizer's state")]
    Malformed,
    /// A later version has made it.
    #[error("it has version {0}, and this version of the server knows {VERSION} only")]
    Version(u8),
    /// Its optimizer or one of its vectors is not known.
    #[error("{0:?} is not the name of a known optimizer or of its vector")]
    UnknownName(String),
    /// A vector has another length than the model.
    #[error("{name} has {actual} values, and the model {expected}")]
    WrongLength {
        /// The vector.
        name: &'static str,
        /// Parameters of the model.
        expected: usize,
        /// Values of the vector.
        actual: u64,
    },
    /// A value is infinite or not a number.
    #[error("{name}: value {index} is not finite")]
    NotFinite {
        /// The vector.
        name: &'static str,
        /// Index of its first such value.
        index: usize,
    },
    /// A second moment is below zero.
    #[error("second_moment: value {index} is below zero")]
    Negative {
        /// Index of the first such value.
        index: usize,
    },
}

impl OptimizerState {
    /// Name of the optimizer that the state belongs to; `None` if it is empty.
    #[must_use]
    pub fn optimizer(&self) -> Option<&'static str> {
        match self {
            Self::Empty => None,
            Self::Momentum { .. } => Some(MOMENTUM),
            Self::Adagrad(_) => Some(ADAGRAD),
            Self::Adam(_) => Some(ADAM),
            Self::Yogi(_) => Some(YOGI),
        }
    }

    /// Velocity of server momentum, if it is that of one.
    pub(super) fn velocity(&self) -> Option<&[f32]> {
        match self {
            Self::Momentum { velocity } => Some(velocity),
            _ => None,
        }
    }

    /// Moments of an adaptive optimizer, if it is that of one.
    pub(super) fn moments(&self) -> Option<&Moments> {
        match self {
            Self::Adagrad(moments) | Self::Adam(moments) | Self::Yogi(moments) => Some(moments),
            Self::Empty | Self::Momentum { .. } => None,
        }
    }

    /// Its vectors with their names, in the order of the file.
    fn vectors(&self) -> Vec<(&'static str, &[f32])> {
        match self {
            Self::Empty => Vec::new(),
            Self::Momentum { velocity } => vec![(VELOCITY, velocity)],
            Self::Adagrad(Moments { first, second })
            | Self::Adam(Moments { first, second })
            | Self::Yogi(Moments { first, second }) => {
                vec![(FIRST_MOMENT, first), (SECOND_MOMENT, second)]
            }
        }
    }

    /// True if each of its vectors has this many values; always of one without vectors.
    pub(super) fn is_for(&self, parameters: usize) -> bool {
        self.vectors().iter().all(|(_, values)| values.len() == parameters)
    }

    /// The file of the state; `None` if it is empty.
    ///
    /// # Errors
    ///
    /// [`StateError::NotFinite`] if a value is not finite.
    pub fn encode(&self) -> Result<Option<Vec<u8>>, StateError> {
        let Some(optimizer) = self.optimizer() else { return Ok(None) };
        let vectors = self.vectors();
        let values: usize = vectors.iter().map(|(_, values)| values.len()).sum();
        let mut file = Vec::with_capacity(64 * (1 + vectors.len()) + 4 * values);
        file.extend_from_slice(MAGIC);
        file.push(VERSION);
        put_name(&mut file, optimizer);
        file.push(vectors.len() as u8);
        for (name, values) in vectors {
            check_finite(name, values)?;
            put_name(&mut file, name);
            file.extend_from_slice(&(values.len() as u64).to_le_bytes());
            file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        Ok(Some(file))
    }

    /// The state in a file, for a model of `parameters` parameters.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the file is not a sound state of such a model.
    pub fn decode(file: &[u8], parameters: usize) -> Result<Self, StateError> {
        let mut rest = Reader(file);
        if rest.take(MAGIC.len())? != MAGIC {
            return Err(StateError::Malformed);
        }
        match rest.byte()? {
            VERSION => {}
            other => return Err(StateError::Version(other)),
        }
        let state = match rest.name()? {
            MOMENTUM => {
                rest.vectors(1)?;
                Self::Momentum { velocity: rest.vector(VELOCITY, parameters)? }
            }
            ADAGRAD => Self::Adagrad(rest.moments(parameters)?),
            ADAM => Self::Adam(rest.moments(parameters)?),
            YOGI => Self::Yogi(rest.moments(parameters)?),
            other => return Err(StateError::UnknownName(other.to_owned())),
        };
        if rest.0.is_empty() { Ok(state) } else { Err(StateError::Malformed) }
    }
}

fn put_name(file: &mut Vec<u8>, name: &str) {
    file.push(name.len() as u8);
    file.extend_from_slice(name.as_bytes());
}

fn check_finite(name: &'static str, values: &[f32]) -> Result<(), StateError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(StateError::NotFinite { name, index }),
    }
}

/// Rest of a file.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], StateError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(StateError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, StateError> {
        Ok(self.take(1)?[0])
    }

    fn name(&mut self) -> Result<&'a str, StateError> {
        let length = self.byte()?;
        std::str::from_utf8(self.take(length.into())?).map_err(|_| StateError::Malformed)
    }

    fn vectors(&mut self, count: u8) -> Result<(), StateError> {
        if self.byte()? == count { Ok(()) } else { Err(StateError::Malformed) }
    }

    fn moments(&mut self, expected: usize) -> Result<Moments, StateError> {
        self.vectors(2)?;
        let first = self.vector(FIRST_MOMENT, expected)?;
        let second = self.vector(SECOND_MOMENT, expected)?;
        match second.iter().position(|value| *value < 0.0) {
            None => Ok(Moments { first, second }),
            Some(index) => Err(StateError::Negative { index }),
        }
    }

    fn vector(&mut self, name: &'static str, expected: usize) -> Result<Vec<f32>, StateError> {
        let found = self.name()?;
        if found != name {
            return Err(StateError::UnknownName(found.to_owned()));
        }
        let length = self.take(8)?.try_into().map_err(|_| StateError::Malformed)?;
        let actual = u64::from_le_bytes(length);
        // Before any memory is asked for.
        if actual != expected as u64 {
            return Err(StateError::WrongLength { name, expected, actual });
        }
        let bytes = self.take(expected.checked_mul(4).ok_or(StateError::Malformed)?)?;
        let value = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let values: Vec<f32> = bytes.chunks_exact(4).map(value).collect();
        check_finite(name, &values)?;
        Ok(values)
    }
}
