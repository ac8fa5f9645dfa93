//! Token keys by their ids.

use std::collections::HashMap;

use jsonwebtoken::Algorithm;

use super::denied::Reason;
use crate::config::TokenKeyConfig;
use crate::credentials::{FileError, TokenKey};

/// Keys by id.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenKeys(HashMap<String, TokenKey>);

impl TokenKeys {
    /// Reads all files.
    pub(crate) fn load(configs: &[TokenKeyConfig]) -> Result<Self, FileError> {
        let read =
            |config: &TokenKeyConfig| Ok((config.id.clone(), TokenKey::load(&config.source)?));
        configs.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// These keys by their ids.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn of<const N: usize>(keys: [(&str, TokenKey); N]) -> Self {
        Self(keys.into_iter().map(|(id, key)| (id.to_owned(), key)).collect())
    }

    /// A key and its id.
    pub(super) fn find(&self, id: &str) -> Option<(&str, &TokenKey)> {
        self.0.get_key_value(id).map(|(id, key)| (id.as_str(), key))
    }

    /// The key for a token that names none, if there is no choice of one.
    pub(super) fn only_one_of(&self, algorithm: Algorithm) -> Result<(&str, &TokenKey), Reason> {
        let mut keys = self.0.iter().filter(|(_, key)| key.algorithm == algorithm);
        match (keys.next(), keys.next()) {
            (None, _) => Err(Reason::UnknownKey),
            (Some((id, key)), None) => Ok((id, key)),
            _ => Err(Reason::NoKeyId),
        }
    }
}
