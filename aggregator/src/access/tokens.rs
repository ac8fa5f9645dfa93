//! Verification of join tokens: a JSON Web Token for this task, signed with a
//! known key, short-lived and of age. Pure: the time and the keys are arguments.
//!
//! No error repeats anything of the token.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use fedra_protocol::{Sha256Hash, SubjectId, TaskId, Token};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::claims::{Claims, LEEWAY};
use super::denied::Reason;
use super::keys::TokenKeys;
use super::used::TokenName;

/// A token that may be let in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verified {
    /// The participant.
    pub subject: SubjectId,
    /// The single use of a token with a `jti`.
    pub single_use: Option<SingleUse>,
}

/// A token that may be used once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SingleUse {
    pub name: TokenName,
    /// Time from which on it is refused for its age, Unix seconds.
    pub until: u64,
}

pub(super) fn verify(
    token: &Token,
    task: &TaskId,
    keys: &TokenKeys,
    max_lifetime: Duration,
    now: SystemTime,
) -> Result<Verified, Reason> {
    let header = decode_header(token.as_str()).map_err(|error| reason(&error))?;
    // "crit" names extensions that one has to know to use the token. We know none.
    if header.crit.is_some() {
        return Err(Reason::Malformed);
    }
    let (id, key) = match &header.kid {
        Some(id) => keys.find(id).ok_or(Reason::UnknownKey)?,
        None => keys.only_one_of(header.alg)?,
    };
    let mut validation = Validation::new(key.algorithm);
    // The library checks the signature; `Claims` names the claim that is at fault.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims = HashSet::new();
    let decoded = decode::<Map<String, Value>>(token.as_str(), &key.key, &validation);
    let claims = decoded.map_err(|error| reason(&error))?.claims;
    let claims = Claims::read(&claims, task, max_lifetime, now)?;
    Ok(Verified {
        subject: subject(task, &claims.sub),
        single_use: claims.jti.map(|jti| SingleUse {
            name: hash("fedra used token v1", id, &jti),
            until: (claims.exp + LEEWAY).ceil() as u64,
        }),
    })
}

/// The participant in a task that a site calls `sub`.
pub(super) fn subject(task: &TaskId, sub: &str) -> SubjectId {
    SubjectId::from_bytes(hash("fedra subject v1", task.as_str(), sub))
}

/// SHA-256 of a purpose and two names, without a way to shift a letter from one
/// to the next; the first 16 bytes.
fn hash(purpose: &str, scope: &str, name: &str) -> [u8; 16] {
    let mut message = Vec::with_capacity(purpose.len() + scope.len() + name.len() + 24);
    for part in [purpose, scope, name] {
        message.extend_from_slice(&(part.len() as u64).to_be_bytes());
        message.extend_from_slice(part.as_bytes());
    }
    let hash = Sha256Hash::of(&message);
    *hash.as_bytes().first_chunk().expect("a SHA-256 has 32 bytes")
}

fn reason(error: &Error) -> Reason {
    match error.kind() {
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => Reason::BadSignature,
        _ => Reason::Malformed,
    }
}
