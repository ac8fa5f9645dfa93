//! Inputs and outputs of the session.

use bytes::Bytes;
use fedra_protocol::{DecodeError, RoundAssignment, RoundId, ServerMessage, Token};

use super::secure::{SecureReply, SecureRequest};
use crate::events::ClientEvent;
use crate::failure::Failure;
use crate::privacy::ExampleTerms;
use crate::training::Progress;

/// Something that happened outside.
#[derive(Debug)]
pub enum Event {
    /// The owner wants a connection.
    Start,
    /// There are examples that have not been judged.
    DataGiven,
    /// There are examples that fit the task as it was described last.
    DataReady,
    /// The examples that there were do not fit the task as it is described now.
    Misfit {
        /// Description of what does not fit, and what to do.
        reason: String,
    },
    /// Training has cost the owner's examples this much so far.
    ExamplesSpent(ExampleTerms),
    /// The socket is open.
    Connected {
        /// Token to check in with, if any; asked for before every connection.
        token: Option<Token>,
    },
    /// There is nothing to check in with, though there should be.
    NoToken {
        /// Reason, as text.
        reason: String,
    },
    /// The client went away as a device does that is switched off: without a word,
    /// and with nothing left of its round. For tests of an aggregator.
    Vanished,
    /// The socket could not be opened, or is closed.
    Disconnected {
        /// Reason, as text.
        reason: String,
    },
    /// A message arrived.
    Received(ServerMessage),
    /// The socket has taken the message that [`Session::poll_transmit`] gave last.
    ///
    /// [`Session::poll_transmit`]: super::Session::poll_transmit
    Sent,
    /// Something arrived that is not a message.
    Garbled(DecodeError),
    /// The round's model is here; training begins.
    Downloaded {
        /// The round.
        round: RoundId,
    },
    /// Training goes on.
    Progressed {
        /// The round.
        round: RoundId,
        /// State of the training.
        progress: Progress,
    },
    /// Training is done, and the update is ready to leave. Under secure
    /// aggregation it is not: see [`SecureReply::Keys`].
    Trained {
        /// The round.
        round: RoundId,
        /// The bytes that are to be sent.
        update: Bytes,
        /// Examples it was trained on.
        examples: u64,
    },
    /// A step of secure aggregation is done.
    Secured {
        /// The round.
        round: RoundId,
        /// Result of the step.
        reply: SecureReply,
    },
    /// The participation of [`Action::Record`] is durable.
    Recorded {
        /// The round.
        round: RoundId,
    },
    /// The round's work cannot be done.
    Failed {
        /// The round.
        round: RoundId,
        /// Its kind.
        failure: Failure,
        /// Reason, as text.
        reason: String,
    },
    /// The time that [`Session::deadline`](super::Session::deadline) named has come.
    Timer,
    /// The owner wants a break.
    Pause,
    /// The owner wants to go on.
    Resume,
    /// The person agrees to the task's privacy terms.
    Consent,
    /// The owner is done.
    Close,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Get a token if the task needs one, and open a socket.
    Connect,
    /// Close the socket with this WebSocket code, or stop opening it.
    Disconnect {
        /// WebSocket close code.
        code: u16,
    },
    /// Hold the examples, if there are any, against the task's description. The
    /// answer is [`Event::DataReady`] or [`Event::Misfit`]; none if nothing is new.
    Judge,
    /// Fetch the model and train.
    Work(Box<RoundAssignment>),
    /// Do a step of secure aggregation.
    Secure(RoundId, SecureRequest),
    /// Make the number of participations durable; [`Event::Recorded`] or
    /// [`Event::Failed`] is the answer.
    Record {
        /// The round.
        round: RoundId,
        /// The number, this round included.
        participations: u32,
    },
    /// Stop what is done for the round, and forget its secrets.
    Abort,
    /// Tell the owner.
    Emit(ClientEvent),
}
