//! The keys that tokens are checked with: reads their files. Each key goes with
//! one algorithm, so that a token cannot choose how it is checked.

use std::collections::HashMap;
use std::path::Path;

use jsonwebtoken::{Algorithm, DecodingKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

use super::FileError;
use super::denied::Reason;
use crate::config::{TokenKeyConfig, TokenKeySource};

/// Fewest bytes of a shared secret (RFC 7518, section 3.2).
const SECRET_BYTES: usize = 32;
/// Bytes of an Ed25519 public key.
const ED25519_BYTES: usize = 32;
/// What a `SubjectPublicKeyInfo` has before the bytes of an Ed25519 key (RFC 8410).
const ED25519_INFO: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A key and the one algorithm that it is for.
#[derive(Debug, Clone)]
pub(crate) struct TokenKey {
    pub algorithm: Algorithm,
    pub key: DecodingKey,
}

/// Keys by id.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenKeys(HashMap<String, TokenKey>);

impl TokenKeys {
    /// Reads all files.
    pub(crate) fn load(configs: &[TokenKeyConfig]) -> Result<Self, FileError> {
        let read = |config: &TokenKeyConfig| Ok((config.id.clone(), TokenKey::load(config)?));
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

impl TokenKey {
    /// Reads the file of one key.
    pub(crate) fn load(config: &TokenKeyConfig) -> Result<Self, FileError> {
        let path = config.source.path();
        let fail = |problem: String| FileError { path: path.to_owned(), problem };
        let bytes = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
        let (algorithm, key) = match &config.source {
            TokenKeySource::EdDsa { .. } => (Algorithm::EdDSA, public_key(&bytes)),
            TokenKeySource::Hs256 { .. } => (Algorithm::HS256, secret(&bytes)),
        };
        Ok(Self { algorithm, key: key.map_err(|problem| fail(problem.to_owned()))? })
    }
}

impl TokenKeySource {
    /// The file that the key is in.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::EdDsa { public_key_file } => public_key_file,
            Self::Hs256 { secret_file } => secret_file,
        }
    }
}

/// PEM, or the 32 bytes in base64url.
fn public_key(file: &[u8]) -> Result<DecodingKey, &'static str> {
    const WRONG: &str = "must hold an Ed25519 public key, as PEM or as 32 bytes in base64url";
    let text = std::str::from_utf8(file).map_err(|_| WRONG)?.trim();
    if text.contains("PRIVATE KEY") {
        return Err("holds a private key; this server needs the public one only");
    }
    if text.starts_with("-----") {
        let info = SubjectPublicKeyInfoDer::from_pem_slice(file).map_err(|_| WRONG)?;
        let key = info.strip_prefix(&ED25519_INFO).filter(|key| key.len() == ED25519_BYTES);
        return key.map(DecodingKey::from_ed_der).ok_or(WRONG);
    }
    let key = DecodingKey::from_ed_components(text).map_err(|_| WRONG)?;
    let complete = key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() == ED25519_BYTES);
    if complete { Ok(key) } else { Err(WRONG) }
}

/// All the bytes, without one line break at the end.
fn secret(file: &[u8]) -> Result<DecodingKey, &'static str> {
    let secret = file.strip_suffix(b"\n").unwrap_or(file);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    if secret.len() < SECRET_BYTES {
        return Err("the secret is too short; HS256 needs at least 32 bytes");
    }
    Ok(DecodingKey::from_secret(secret))
}
