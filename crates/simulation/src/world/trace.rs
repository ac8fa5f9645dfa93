//! End of a history as text, a line an event.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use fedra_protocol::{Availability, ClientMessage, RoundId, ServerMessage, UpdateVerdict};

/// Lines that are kept.
const LINES: usize = 400;

/// Event, with its client and its round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Note {
    pub what: &'static str,
    pub client: Option<usize>,
    pub round: Option<RoundId>,
}

/// Formatted only if it is read.
#[derive(Default)]
pub(crate) struct Trace(VecDeque<(Duration, Note)>);

impl Trace {
    pub(crate) fn add(&mut self, at: Duration, note: Note) {
        if self.0.len() == LINES {
            self.0.pop_front();
        }
        self.0.push_back((at, note));
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Note { what, client, round }) in &self.0 {
            write!(f, "{:10.4} {what}", at.as_secs_f64())?;
            if let Some(client) = client {
                write!(f, " client {client}")?;
            }
            if let Some(round) = round {
                write!(f, " round {round}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// A message of a client's that is worth a line.
pub(crate) fn of_client(message: &ClientMessage, client: usize) -> Option<Note> {
    let (what, round) = match message {
        ClientMessage::Hello(_) => ("-> Hello", None),
        ClientMessage::CheckIn { .. } => ("-> CheckIn", None),
        ClientMessage::SetAvailability(Availability::Paused) => ("-> pauses", None),
        ClientMessage::SetAvailability(Availability::Available) => ("-> resumes", None),
        ClientMessage::UpdateBegin(begin) => ("-> UpdateBegin", Some(begin.round)),
        ClientMessage::UpdateChunk(chunk) => ("-> UpdateChunk", Some(chunk.round)),
        ClientMessage::Decline { round, .. } => ("-> Decline", Some(*round)),
        ClientMessage::AdvertiseKeys { round, .. } => ("-> AdvertiseKeys", Some(*round)),
        ClientMessage::ShareKeys { round, .. } => ("-> ShareKeys", Some(*round)),
        ClientMessage::UnmaskingShares { round, .. } => ("-> UnmaskingShares", Some(*round)),
        ClientMessage::Ping { .. } => return None,
    };
    Some(Note { what, client: Some(client), round })
}

/// A message of the server's that is worth a line.
pub(crate) fn of_server(message: &ServerMessage, client: usize) -> Option<Note> {
    let (what, round) = match message {
        ServerMessage::Welcome(_) => ("<- Welcome", None),
        ServerMessage::Refusal(_) => ("<- Refusal", None),
        ServerMessage::CheckedIn(_) => ("<- CheckedIn", None),
        ServerMessage::RoundAssignment(order) => ("<- RoundAssignment", Some(order.round)),
        ServerMessage::UploadReady { round, .. } => ("<- UploadReady", Some(*round)),
        ServerMessage::UpdateOutcome(outcome) => match outcome.verdict {
            UpdateVerdict::Accepted => ("<- accepted", Some(outcome.round)),
            UpdateVerdict::Rejected(_) => ("<- rejected", Some(outcome.round)),
            UpdateVerdict::Discarded(_) => ("<- discarded", Some(outcome.round)),
        },
        ServerMessage::KeyDirectory(directory) => ("<- KeyDirectory", Some(directory.round)),
        ServerMessage::MaskedInputRequest(request) => {
            ("<- MaskedInputRequest", Some(request.round))
        }
        ServerMessage::UnmaskingRequest(request) => ("<- UnmaskingRequest", Some(request.round)),
        ServerMessage::Standby(_) => ("<- Standby", None),
        ServerMessage::TaskStatus(_) | ServerMessage::Pong { .. } => return None,
    };
    Some(Note { what, client: Some(client), round })
}
