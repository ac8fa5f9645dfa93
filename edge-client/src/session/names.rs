//! Names of messages, for people.

use fedra_protocol::ServerMessage;

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
