//! The token of a check-in: a secret that is carried, never shown.
//!
//! Its content is between the site that issues it and the aggregator. Neither
//! [`Debug`](fmt::Debug) nor an error repeats any of it.

use std::fmt;

use crate::limits::MAX_TOKEN_BYTES;
use crate::wire;

/// Text that is not a token. Says nothing of the text but its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Empty, or too long.
    #[error("a token has 1 to {MAX_TOKEN_BYTES} characters; this one has {0} bytes")]
    Length(usize),
    /// A space, a control character, or one that is not ASCII.
    #[error("a token has visible ASCII characters only")]
    Character,
}

/// Says who may take part in a task: 1 to [`MAX_TOKEN_BYTES`] visible ASCII
/// characters, such as a JSON Web Token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Checks length and characters.
    ///
    /// # Errors
    ///
    /// [`TokenError`] says which of the two is wrong.
    pub fn new(token: impl Into<String>) -> Result<Self, TokenError> {
        let token = token.into();
        if !(1..=MAX_TOKEN_BYTES).contains(&token.len()) {
            return Err(TokenError::Length(token.len()));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Character);
        }
        Ok(Self(token))
    }

    /// The token as text. Not for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.0
    }
}

impl fmt::Debug for wire::CheckIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckIn")
            .field("task_id", &self.task_id)
            .field("subject", &self.subject)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("capabilities", &self.capabilities)
            .finish()
    }
}
