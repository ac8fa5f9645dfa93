//! Text, of which a model tells the next token.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{DataSpecError, key};
use crate::limits::MAX_ALPHABET;
use crate::model::Shape;

/// Description of text: its tokens, and the stretches of it that are examples.
///
/// An example is `context` tokens; its targets are the tokens that follow each of them, or
/// the last of them, as the model has outputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawText", into = "RawText")]
pub struct TextSpec {
    /// Empty if tokens are bytes.
    ids: HashMap<char, u32>,
    alphabet: Option<String>,
    other: bool,
    context: u32,
    stride: u32,
}

impl TextSpec {
    /// Tokens of an example.
    pub fn context(&self) -> u32 {
        self.context
    }

    /// Tokens from the start of an example to that of the next.
    pub fn stride(&self) -> u32 {
        self.stride
    }

    /// Characters that are tokens, in the order of their ids; `None` if tokens are bytes.
    pub fn alphabet(&self) -> Option<&str> {
        self.alphabet.as_deref()
    }

    /// True if the last id stands for every other character.
    pub fn has_other(&self) -> bool {
        self.other
    }

    /// Ids that there are.
    pub fn vocabulary(&self) -> u32 {
        match &self.alphabet {
            None => 256,
            Some(_) => self.ids.len() as u32 + u32::from(self.other),
        }
    }

    /// Id of a character of the alphabet, or the one for others; `None` if there is none.
    pub fn id(&self, character: char) -> Option<u32> {
        match self.ids.get(&character) {
            Some(&id) => Some(id),
            None => self.other.then_some(self.ids.len() as u32),
        }
    }

    pub(super) fn shape(&self) -> Shape {
        Shape::Tokens { positions: self.context, vocabulary: self.vocabulary() }
    }

    pub(crate) fn new(
        alphabet: Option<String>,
        other: bool,
        context: u32,
        stride: u32,
    ) -> Result<Self, DataSpecError> {
        let mut ids = HashMap::new();
        for (character, id) in alphabet.iter().flat_map(|alphabet| alphabet.chars()).zip(0..) {
            if ids.insert(character, id).is_some() {
                return Err(key("alphabet", format!("{character:?} is there twice")));
            }
        }
        if alphabet.is_some() && !(1..=MAX_ALPHABET).contains(&ids.len()) {
            let problem = format!("1 to {MAX_ALPHABET} characters are possible");
            return Err(key("alphabet", problem));
        }
        if alphabet.is_none() && other {
            return Err(key("other", "every byte has a token; leave the key out"));
        }
        let text = Self { ids, alphabet, other, context, stride };
        if text.vocabulary() < 2 {
            return Err(key("alphabet", "two tokens are the fewest to learn from"));
        }
        if Shape::from_tokens(context, text.vocabulary()).is_none() {
            return Err(key("context", "must be at least 1 and at most 2^26"));
        }
        if stride == 0 {
            return Err(key("stride", "must be at least 1"));
        }
        Ok(text)
    }
}

/// Text as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawText {
    context: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stride: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alphabet: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    other: bool,
}

impl TryFrom<RawText> for TextSpec {
    type Error = DataSpecError;

    fn try_from(raw: RawText) -> Result<Self, DataSpecError> {
        Self::new(raw.alphabet, raw.other, raw.context, raw.stride.unwrap_or(raw.context))
    }
}

impl From<TextSpec> for RawText {
    fn from(text: TextSpec) -> Self {
        let TextSpec { alphabet, other, context, stride, .. } = text;
        Self { context, stride: (stride != context).then_some(stride), alphabet, other }
    }
}
