//! Reasons to turn a client away: a label for the metric, a sentence for the
//! client, and the answer over HTTP and in the protocol. No secret is in any of
//! them.

use std::time::Duration;

use fedra_protocol::{Refusal, RefusalCode};
use http::StatusCode;

use super::claims::ClaimFault;
use super::rates::TooFast;

/// Reason to turn a client away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The task needs a token, and there is none.
    Missing,
    Malformed,
    UnknownKey,
    /// It names no key, and several may have signed it.
    NoKeyId,
    /// One claim of it, though its signature is good.
    Claim(ClaimFault),
    BadSignature,
    WrongAudience,
    Expired,
    NotYetValid,
    TooLongLived,
    /// A single-use token that was used.
    Replayed,
    /// There is no room to remember another single-use token.
    TooManyTokens,
    /// Checked in to the task.
    TooManyClients,
    /// Checked in to the task from this address.
    TooManyFromAddress,
    /// Connections from this address.
    TooManyConnections,
    /// Handshakes from this address.
    TooFastFromAddress,
    /// Handshakes in all.
    TooFast,
    ForeignOrigin,
}

impl Reason {
    /// The label of the metric.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown-key",
            Self::NoKeyId => "missing-kid",
            Self::Claim(fault) => fault.label(),
            Self::BadSignature => "bad-signature",
            Self::WrongAudience => "wrong-audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::TooLongLived => "too-long-lived",
            Self::Replayed => "replayed",
            Self::TooManyTokens => "too-many-tokens",
            Self::TooManyClients => "too-many-clients",
            Self::TooManyFromAddress => "too-many-from-address",
            Self::TooManyConnections => "too-many-connections",
            Self::TooFastFromAddress => "too-fast-from-address",
            Self::TooFast => "too-fast",
            Self::ForeignOrigin => "foreign-origin",
        }
    }

    /// A sentence for the client that is turned away.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Missing => "this task needs a token, and the check-in has none",
            Self::Malformed => "the token is not a JSON Web Token of a kind that this server takes",
            // One sentence for both: a forger is not told which keys there are.
            Self::UnknownKey | Self::BadSignature => {
                "the token is not signed with a key that this server knows"
            }
            Self::NoKeyId => "the token's header has no `kid`, which must say what key signed it",
            Self::Claim(fault) => fault.sentence(),
            Self::WrongAudience => "the token is not for this task",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet",
            Self::TooLongLived => "the token is valid for longer than this task allows",
            Self::Replayed => "this token has been used",
            Self::TooManyTokens => "too many single-use tokens are in use; try again later",
            Self::TooManyClients => "this task has as many clients as it takes; try again later",
            Self::TooManyFromAddress => {
                "this task has as many clients from this address as it takes; try again later"
            }
            Self::TooManyConnections => {
                "there are too many connections from this address; try again later"
            }
            Self::TooFastFromAddress => {
                "this address connects too often; try again later, and less often"
            }
            Self::TooFast => "too many clients connect at this moment; try again later",
            Self::ForeignOrigin => "pages of this origin may not connect to this server",
        }
    }

    /// The status of an HTTP answer.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::TooManyConnections | Self::TooManyFromAddress | Self::TooFastFromAddress => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::TooManyTokens | Self::TooManyClients | Self::TooFast => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::ForeignOrigin => StatusCode::FORBIDDEN,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// The code of a refusal in the protocol.
    fn code(self) -> RefusalCode {
        if self.status() == StatusCode::UNAUTHORIZED || self == Self::ForeignOrigin {
            return RefusalCode::Unauthorized;
        }
        RefusalCode::Overloaded
    }
}

/// Time to stay away when there are too many clients or connections.
const CROWDED: Duration = Duration::from_secs(30);

/// Turned away, and when to come back if that makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Denied {
    pub reason: Reason,
    pub retry_after: Option<Duration>,
}

impl From<ClaimFault> for Reason {
    fn from(fault: ClaimFault) -> Self {
        Self::Claim(fault)
    }
}

impl From<Reason> for Denied {
    fn from(reason: Reason) -> Self {
        let comes_back = reason.code() == RefusalCode::Overloaded;
        Self { reason, retry_after: comes_back.then_some(CROWDED) }
    }
}

impl From<TooFast> for Denied {
    fn from(too_fast: TooFast) -> Self {
        let (reason, wait) = match too_fast {
            TooFast::Block(wait) => (Reason::TooFastFromAddress, wait),
            TooFast::All(wait) => (Reason::TooFast, wait),
        };
        Self { reason, retry_after: Some(wait) }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        let Denied { reason, retry_after } = denied;
        Self { code: reason.code(), message: reason.sentence().to_owned(), retry_after }
    }
}
