//! Errors: problem details (RFC 9457).

use serde::{Deserialize, Serialize};

/// Body of every error, `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Problem {
    /// `about:blank`: the status says what kind of error it is.
    #[serde(default)]
    pub r#type: String,
    /// Name of the status.
    #[serde(default)]
    pub title: String,
    /// Status of the answer.
    #[serde(default)]
    pub status: u16,
    /// One sentence for a person.
    pub detail: String,
    /// Mistakes in a task's config, each at its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub mistakes: Option<Vec<Mistake>>,
    /// Rounds whose model is kept, if the one that was asked for is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub kept: Option<Vec<u64>>,
}

impl Problem {
    /// A problem without more than its sentence.
    #[must_use]
    pub fn new(status: u16, title: &str, detail: &str) -> Self {
        Self {
            r#type: "about:blank".to_owned(),
            title: title.to_owned(),
            status,
            detail: detail.to_owned(),
            mistakes: None,
            kept: None,
        }
    }
}

/// Mistake in a task's config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Mistake {
    /// Place in the config such as `task[digits].round.deadline`; empty for the whole.
    pub path: String,
    /// The mistake and its remedy.
    pub problem: String,
}
