//! The claims of a token whose signature is good: each is read by itself, so that
//! the one at fault can be named. Pure: the time is an argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fedra_protocol::TaskId;
use serde_json::{Map, Value};

use super::denied::Reason;

/// Most by which the clocks of the site and of this server may differ, seconds.
pub(super) const LEEWAY: f64 = 30.0;
/// Longest `sub` and `jti`, bytes.
const NAME_BYTES: usize = 256;

/// A claim that is missing or cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClaimFault {
    NoAud,
    NoSub,
    NoIat,
    NoExp,
    BadAud,
    BadSub,
    BadIat,
    BadExp,
    BadNbf,
    BadJti,
    /// Issued in the future.
    IatInFuture,
}

impl ClaimFault {
    /// The label of the metric.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::NoAud => "missing-aud",
            Self::NoSub => "missing-sub",
            Self::NoIat => "missing-iat",
            Self::NoExp => "missing-exp",
            Self::BadAud => "bad-aud",
            Self::BadSub => "bad-sub",
            Self::BadIat => "bad-iat",
            Self::BadExp => "bad-exp",
            Self::BadNbf => "bad-nbf",
            Self::BadJti => "bad-jti",
            Self::IatInFuture => "iat-in-future",
        }
    }

    /// A sentence for the maker of the token. Only tokens with a good signature
    /// come this far, so it helps no forger.
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::NoAud => "the token has no claim `aud`; it must be the task's id",
            Self::NoSub => "the token has no claim `sub`; it must be a name for the participant",
            Self::NoIat => "the token has no claim `iat`; it must be the time at which it was made",
            Self::NoExp => "the token has no claim `exp`; it must be the time at which it expires",
            Self::BadAud => "the token's claim `aud` must be a text, or a list of texts",
            Self::BadSub => "the token's claim `sub` must be a text of 1 to 256 bytes",
            Self::BadIat => "the token's claim `iat` must be a number, seconds since 1970",
            Self::BadExp => {
                "the token's claim `exp` must be a number, seconds since 1970, and later than `iat`"
            }
            Self::BadNbf => "the token's claim `nbf` must be a number, seconds since 1970",
            Self::BadJti => "the token's claim `jti` must be a text of 1 to 256 bytes",
            Self::IatInFuture => {
                "the token's claim `iat` is in the future; the clock of its maker is fast"
            }
        }
    }
}

/// Claims that let their bearer in now.
#[derive(Debug)]
pub(super) struct Claims {
    pub sub: String,
    pub jti: Option<String>,
    /// Unix seconds.
    pub exp: f64,
}

impl Claims {
    /// Reads the claims of a token for this task.
    pub(super) fn read(
        claims: &Map<String, Value>,
        task: &TaskId,
        max_lifetime: Duration,
        now: SystemTime,
    ) -> Result<Self, Reason> {
        let claim = |name: &str| claims.get(name).filter(|value| !value.is_null());
        let audience = claim("aud").ok_or(ClaimFault::NoAud)?;
        if !is_among(task, audience)? {
            return Err(Reason::WrongAudience);
        }
        let sub = name(claim("sub").ok_or(ClaimFault::NoSub)?, ClaimFault::BadSub)?;
        let jti = claim("jti").map(|jti| name(jti, ClaimFault::BadJti)).transpose()?;
        let iat = time(claim("iat").ok_or(ClaimFault::NoIat)?, ClaimFault::BadIat)?;
        let exp = time(claim("exp").ok_or(ClaimFault::NoExp)?, ClaimFault::BadExp)?;
        let nbf = claim("nbf").map(|nbf| time(nbf, ClaimFault::BadNbf)).transpose()?;
        if exp <= iat {
            return Err(ClaimFault::BadExp.into());
        }
        if exp - iat > max_lifetime.as_secs_f64() {
            return Err(Reason::TooLongLived);
        }
        let now = now.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        if now >= exp + LEEWAY {
            return Err(Reason::Expired);
        }
        if iat > now + LEEWAY {
            return Err(ClaimFault::IatInFuture.into());
        }
        if nbf.is_some_and(|nbf| nbf > now + LEEWAY) {
            return Err(Reason::NotYetValid);
        }
        Ok(Self { sub, jti, exp })
    }
}

/// True if the audience, alone or in a list, is the task.
fn is_among(task: &TaskId, audience: &Value) -> Result<bool, ClaimFault> {
    let names = audience.as_array().map_or(std::slice::from_ref(audience), Vec::as_slice);
    let texts: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
    Ok(texts.ok_or(ClaimFault::BadAud)?.contains(&task.as_str()))
}

fn name(value: &Value, fault: ClaimFault) -> Result<String, ClaimFault> {
    let name = value.as_str().filter(|name| (1..=NAME_BYTES).contains(&name.len()));
    name.map(str::to_owned).ok_or(fault)
}

fn time(value: &Value, fault: ClaimFault) -> Result<f64, ClaimFault> {
    value.as_f64().ok_or(fault)
}
