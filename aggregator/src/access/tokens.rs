//! What a join token has to be: a JSON Web Token for this task, signed with a
//! known key, short-lived and of age. Pure: the time and the keys are arguments.
//!
//! No error repeats anything of the token.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fedra_protocol::{Sha256Hash, SubjectId, TaskId, Token};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Validation, decode, decode_header};
use serde::Deserialize;

use super::denied::Reason;
use super::keys::TokenKeys;
use super::used::TokenName;

/// How far the clocks of the site and of this server may be apart, seconds.
const LEEWAY: f64 = 30.0;
/// Longest `sub` and `jti`, bytes.
const NAME_BYTES: usize = 256;

/// A token that may be let in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verified {
    /// The participant.
    pub subject: SubjectId,
    /// For a token with a `jti`: it may be used once.
    pub single_use: Option<SingleUse>,
}

/// A token that may be used once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SingleUse {
    pub name: TokenName,
    /// From when on it is refused for its age, Unix seconds.
    pub until: u64,
}

/// The claims that are looked at besides `aud`.
#[derive(Deserialize)]
struct Claims {
    exp: f64,
    iat: f64,
    nbf: Option<f64>,
    sub: String,
    jti: Option<String>,
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
    let id = header.kid.ok_or(Reason::UnknownKey)?;
    let key = keys.find(&id).ok_or(Reason::UnknownKey)?;
    let mut validation = Validation::new(key.algorithm);
    // The library would ask the system for the time.
    validation.validate_exp = false;
    validation.required_spec_claims = HashSet::from(["aud".to_owned()]);
    validation.set_audience(&[task]);
    let decoded = decode::<Claims>(token.as_str(), &key.key, &validation);
    let claims = decoded.map_err(|error| reason(&error))?.claims;
    claims.check(max_lifetime, now)?;
    Ok(Verified {
        subject: subject(task, &claims.sub),
        single_use: claims.jti.map(|jti| SingleUse {
            name: hash("fedra used token v1", &id, &jti),
            until: (claims.exp + LEEWAY).ceil() as u64,
        }),
    })
}

impl Claims {
    fn check(&self, max_lifetime: Duration, now: SystemTime) -> Result<(), Reason> {
        let now = now.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let is_name = |text: &str| (1..=NAME_BYTES).contains(&text.len());
        if !is_name(&self.sub) || !self.jti.as_deref().is_none_or(is_name) || self.exp <= self.iat {
            return Err(Reason::Malformed);
        }
        if self.exp - self.iat > max_lifetime.as_secs_f64() {
            return Err(Reason::TooLongLived);
        }
        if now >= self.exp + LEEWAY {
            return Err(Reason::Expired);
        }
        if self.nbf.unwrap_or(self.iat).max(self.iat) > now + LEEWAY {
            return Err(Reason::NotYetValid);
        }
        Ok(())
    }
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
        ErrorKind::InvalidAudience => Reason::WrongAudience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => Reason::WrongAudience,
        _ => Reason::Malformed,
    }
}
