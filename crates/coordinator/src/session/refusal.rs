//! Refusals with which a session ends its connection.

use std::time::Duration;

use fedra_protocol::limits::MAX_TEXT_BYTES;
use fedra_protocol::{Refusal, RefusalCode};

pub(super) fn refusal(code: RefusalCode, message: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into(), retry_after: None }
}

/// Refusal of bytes that are no message of the protocol.
#[must_use]
pub fn malformed(problem: &str) -> Refusal {
    let end = problem.floor_char_boundary(MAX_TEXT_BYTES);
    refusal(RefusalCode::MalformedMessage, &problem[..end])
}

/// Refusal of a message that has no place here.
pub(super) fn unexpected(problem: &str) -> Refusal {
    refusal(RefusalCode::UnexpectedMessage, problem)
}

/// Refusal of a participant that no ledger could count.
pub(super) fn no_subject() -> Refusal {
    unexpected("this task has a privacy policy: the check-in of a participant must name a subject")
}

pub(super) fn replaced() -> Refusal {
    refusal(
        RefusalCode::Replaced,
        "another connection of this device has taken this one's place; close the other one, or \
         this one",
    )
}

/// Refusal while connections of one subject replace each other too often: the one that
/// is there stays.
pub(super) fn contested(retry_after: Duration) -> Refusal {
    Refusal {
        code: RefusalCode::Replaced,
        message: "connections with this device's token or name replace each other again and \
                  again; is it in use on two devices?"
            .to_owned(),
        retry_after: Some(retry_after),
    }
}
