//! Keys that tokens are checked with. Each goes with one algorithm, so that a token
//! cannot choose how it is checked.

use std::path::{Path, PathBuf};

use jsonwebtoken::{Algorithm, DecodingKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

use super::FileError;

/// Fewest bytes of a shared secret (RFC 7518, section 3.2).
const SECRET_BYTES: usize = 32;
/// Bytes of an Ed25519 public key.
const ED25519_BYTES: usize = 32;
/// Prefix of an Ed25519 key's bytes in a `SubjectPublicKeyInfo` (RFC 8410).
const ED25519_INFO: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A key and the one algorithm that it is for.
#[derive(Debug, Clone)]
pub(crate) struct TokenKey {
    pub algorithm: Algorithm,
    pub key: DecodingKey,
}

/// The algorithm of a key, and the file that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenKeySource {
    /// Ed25519 signatures.
    EdDsa {
        /// PEM, or 32 bytes in base64url.
        public_key_file: PathBuf,
    },
    /// HMAC with SHA-256.
    Hs256 {
        /// At least 32 bytes, without a line break at the end.
        secret_file: PathBuf,
    },
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

impl TokenKey {
    /// Reads the file of one key.
    pub(crate) fn load(source: &TokenKeySource) -> Result<Self, FileError> {
        let path = source.path();
        let fail = |problem: String| FileError { path: path.to_owned(), problem };
        let bytes = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
        let (algorithm, key) = match source {
            TokenKeySource::EdDsa { .. } => (Algorithm::EdDSA, public_key(&bytes)),
            TokenKeySource::Hs256 { .. } => (Algorithm::HS256, secret(&bytes)),
        };
        Ok(Self { algorithm, key: key.map_err(|problem| fail(problem.to_owned()))? })
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
