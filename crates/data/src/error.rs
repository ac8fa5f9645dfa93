//! Reasons why arrays are no data set, or none for a task. Each says what to do.

use fedra_protocol::{ElementKind, UpdateRange, limits};

/// Numbers that are not a data set, or not one for this model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DatasetError {
    /// Nothing to train on.
    #[error("the data set is empty; give at least one example")]
    Empty,
    /// More examples than a data set counts.
    #[error("{examples} examples are too many; give at most {max}", max = u32::MAX)]
    TooMany {
        /// Examples given.
        examples: usize,
    },
    /// No shape of a data set.
    #[error(
        "the shape must be [examples, features], [examples, height, width] or [examples, channels, \
         height, width] in whole numbers from 1, with at most 2^26 values an example; it is {0:?}"
    )]
    Dimensions(Vec<u32>),
    /// No shape of a data set of token ids.
    #[error(
        "token ids have the shape [examples, positions] in whole numbers from 1, with at most 2^26 \
         positions; it is {0:?}"
    )]
    TokenDimensions(Vec<u32>),
    /// A token id that no vocabulary has.
    #[error("the token id {token} is too large; ids go from 0 to below {max}", max = limits::MAX_VOCABULARY)]
    TokenLimit {
        /// The id.
        token: u32,
    },
    /// A layout of images for examples that are none.
    #[error(
        "the layout \"channels-last\" needs images: give the shape [examples, height, width, \
         channels], not {0:?}"
    )]
    FlatLayout(Vec<u32>),
    /// No name of a layout.
    #[error("the layout is \"channels-first\" or \"channels-last\", not {0:?}")]
    Layout(String),
    /// The features do not divide into examples.
    #[error("{features} feature values are not a whole number of examples of shape {shape:?}")]
    Features {
        /// Values given.
        features: usize,
        /// Shape of one example.
        shape: Vec<u32>,
    },
    /// The features are not as many as the shape says.
    #[error("the shape {shape:?} has {expected} values, the features have {actual}")]
    FeatureCount {
        /// `[examples, ...example]`.
        shape: Vec<u32>,
        /// Product of the shape.
        expected: u64,
        /// Values given.
        actual: usize,
    },
    /// Number of targets that does not fit the number of examples.
    #[error("{targets} targets for {examples} examples; give each example as many")]
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
    /// Elements of another kind than the model's.
    #[error(
        "the model takes {needed}, the data set has {given}; give {remedy}",
        remedy = match .needed {
            ElementKind::Values => "numbers as float32",
            ElementKind::TokenIds => "whole numbers from 0 as unsigned integers",
        }
    )]
    Elements {
        /// Kind that the model takes.
        needed: ElementKind,
        /// Kind that the data set has.
        given: ElementKind,
    },
    /// A token id that is not in the vocabulary.
    #[error(
        "the vocabulary has the token ids 0 to {max}; example {index} has {token} at position \
         {position}: was it made with another vocabulary?",
        max = .vocabulary - 1
    )]
    Token {
        /// The example.
        index: usize,
        /// The position in it.
        position: usize,
        /// The id.
        token: u32,
        /// Entries of the vocabulary.
        vocabulary: u32,
    },
    /// A feature that the model embeds, and that is no number of a category.
    #[error(
        "the model has vectors for the categories 0 to {max} at place {place} of the features; \
         example {index} has {value} there: give it a category's place in its list, as a table's \
         column of categories with encoding = \"index\" does",
        max = .categories - 1
    )]
    Category {
        /// The example.
        index: usize,
        /// Place of the feature.
        place: u32,
        /// Its value.
        value: f32,
        /// Categories of the model.
        categories: u32,
    },
    /// The model takes other examples.
    #[error(
        "the model takes examples of shape {model:?}, the data set has {data:?}; give them in the \
         model's shape, or flat in its order (an image's channels come first)"
    )]
    Shape {
        /// Shape that the model takes.
        model: Vec<u32>,
        /// Shape that the data set has.
        data: Vec<u32>,
    },
    /// Images that seem to have their channels last.
    #[error(
        "the model takes images [channels, height, width] of {model:?}, the data set has {data:?}; \
         if its channels come last, say so with the layout \"channels-last\""
    )]
    ChannelsLast {
        /// Shape that the model takes.
        model: Vec<u32>,
        /// Shape that the data set has.
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
    /// A label that is no class number, for a classifier.
    #[error(
        "the model tells classes 0 to {max} apart; example {index} has the label {label}: give \
         whole numbers from 0",
        max = .classes - 1
    )]
    NotAClass {
        /// Classes of the model.
        classes: usize,
        /// The example.
        index: usize,
        /// Its label.
        label: f32,
    },
    /// A target of binary cross-entropy that is neither yes nor no.
    #[error(
        "binary cross-entropy takes targets of 0 and 1; example {index} has {target} for output \
         {output}: give 1 for yes and 0 for no"
    )]
    Answer {
        /// The example.
        index: usize,
        /// The output, of all positions, from 0.
        output: usize,
        /// Its target.
        target: f32,
    },
    /// Targets of another width.
    #[error("the model needs {needed} as targets; the data set has {given}")]
    TargetKind {
        /// Targets that the model takes.
        needed: String,
        /// Targets of the data set.
        given: String,
    },
    /// A target of a regression that an update cannot reach.
    #[error(
        "example {index} has the target {target}; updates of this task reach ±{range}: scale the \
         targets, best to about 1, or ask the operator for a larger update_range",
        range = u32::from(*.range)
    )]
    TargetRange {
        /// The example.
        index: usize,
        /// Its target.
        target: f32,
        /// The task's range.
        range: UpdateRange,
    },
}
