//! Names of messages and refusals, for people and programs.

use fedra_protocol::{RefusalCode, ServerMessage};

/// A message's name in the protocol.
pub(super) fn of_message(message: &ServerMessage) -> &'static str {
    match message {
        ServerMessage::Welcome(_) => "Welcome",
        ServerMessage::Refusal(_) => "Refusal",
        ServerMessage::CheckedIn(_) => "CheckedIn",
        ServerMessage::TaskStatus(_) => "TaskStatus",
        ServerMessage::RoundAssignment(_) => "RoundAssignment",
        ServerMessage::UploadReady { .. } => "UploadReady",
        ServerMessage::UpdateOutcome(_) => "UpdateOutcome",
        ServerMessage::KeyDirectory(_) => "KeyDirectory",
        ServerMessage::MaskedInputRequest(_) => "MaskedInputRequest",
        ServerMessage::UnmaskingRequest(_) => "UnmaskingRequest",
        ServerMessage::Standby(_) => "Standby",
        ServerMessage::Pong { .. } => "Pong",
    }
}

/// A refusal's stable name, without the `refused-` in front.
pub(super) fn of_refusal(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::UnsupportedVersion => "unsupported-version",
        RefusalCode::MalformedMessage => "malformed-message",
        RefusalCode::UnexpectedMessage => "unexpected-message",
        RefusalCode::MessageTooLarge => "message-too-large",
        RefusalCode::UnknownTask => "unknown-task",
        RefusalCode::Overloaded => "overloaded",
        RefusalCode::Timeout => "timeout",
        RefusalCode::ShuttingDown => "shutting-down",
        RefusalCode::Replaced => "replaced",
        RefusalCode::NotSelected => "not-selected",
        RefusalCode::Unauthorized => "unauthorized",
    }
}
