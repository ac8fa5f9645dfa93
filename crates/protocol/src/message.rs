//! The messages of both directions in their checked forms.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::capabilities::Capabilities;
use crate::checksum::checksum;
use crate::codec::CodecName;
use crate::error::DecodeError;
use crate::id::{RoundId, Sha256Hash, TaskId};
use crate::limits::MAX_MESSAGE_BYTES;
use crate::privacy::{
    AdvertisedKeys, EncryptedShare, KeyDirectory, MaskedInputRequest, RevealedShare, RoundPrivacy,
    SubjectId, UnmaskingRequest,
};
use crate::task::{LocalTraining, ModelRef, TaskDescription, TaskStatus};
use crate::token::Token;
use crate::{CLOSE_CODE_BASE, wire};

/// A message from an edge client.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientMessage {
    /// The first message of a session.
    Hello(Hello),
    /// Opens a session with a task.
    CheckIn {
        /// The task.
        task: TaskId,
        /// A participant that may be invited, or an observer for now.
        availability: Availability,
        /// Subject that the client stands for; a task with a privacy policy insists
        /// on it.
        subject: Option<SubjectId>,
        /// Says who it is to the task's site; a task that is not open insists on it.
        token: Option<Token>,
        /// The layers, algorithms and codecs that the client knows.
        capabilities: Capabilities,
    },
    /// Pauses or resumes taking part.
    SetAvailability(Availability),
    /// Announces an update.
    UpdateBegin(UpdateBegin),
    /// A piece of the announced update.
    UpdateChunk(UpdateChunk),
    /// Gives a round up.
    Decline {
        /// The round.
        round: RoundId,
        /// One sentence for the operator.
        reason: String,
        /// For programs; `None` where a cause would tell about the data.
        cause: Option<DeclineCause>,
    },
    /// Secure aggregation: the client has trained and takes part.
    AdvertiseKeys {
        /// The round.
        round: RoundId,
        /// Its keys.
        keys: AdvertisedKeys,
    },
    /// Secure aggregation: shares for the neighbours.
    ShareKeys {
        /// The round.
        round: RoundId,
        /// One for each neighbour.
        shares: Vec<EncryptedShare>,
    },
    /// Secure aggregation: shares that take the masks off.
    UnmaskingShares {
        /// The round.
        round: RoundId,
        /// Shares of the masks of neighbours that survived.
        self_masks: Vec<RevealedShare>,
        /// Shares of the masking keys of those that did not.
        pairwise: Vec<RevealedShare>,
    },
    /// Asks for a [`ServerMessage::Pong`].
    Ping {
        /// Comes back in the answer.
        nonce: u64,
    },
}

/// A message from the aggregator.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerMessage {
    /// Opens the session.
    Welcome(Welcome),
    /// Says no.
    Refusal(Refusal),
    /// Answers a check-in.
    CheckedIn(Box<CheckedIn>),
    /// State of the task.
    TaskStatus(Box<TaskStatus>),
    /// The client is in the cohort of a round.
    RoundAssignment(RoundAssignment),
    /// There is room for the announced update.
    UploadReady {
        /// The round.
        round: RoundId,
        /// First byte that the server wants.
        offset: u64,
    },
    /// Verdict on an update.
    UpdateOutcome(UpdateOutcome),
    /// The client is left out of rounds for a while.
    Standby(Standby),
    /// Secure aggregation: the neighbours to share keys with.
    KeyDirectory(KeyDirectory),
    /// Secure aggregation: send the masked update.
    MaskedInputRequest(MaskedInputRequest),
    /// Secure aggregation: help to take the masks off.
    UnmaskingRequest(UnmaskingRequest),
    /// Answers [`ClientMessage::Ping`].
    Pong {
        /// Nonce of the ping.
        nonce: u64,
    },
}

/// Introduction of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Protocol versions it speaks.
    pub versions: Vec<u32>,
    /// Name and version of its software.
    pub software: String,
}

/// Terms of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The protocol version of the session.
    pub version: u32,
    /// Random name in the server's logs.
    pub session_id: String,
    /// A client that has sent nothing for this long sends a Ping.
    pub heartbeat: Duration,
    /// Largest payload of a chunk, bytes.
    pub max_chunk_bytes: u32,
}

/// The server's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason, for programs.
    pub code: RefusalCode,
    /// One sentence for a person.
    pub message: String,
    /// Time until another try makes sense, if it ever does.
    pub retry_after: Option<Duration>,
}

/// Reason for refusing a session or a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCode {
    /// No protocol version in common.
    UnsupportedVersion,
    /// Bytes that are not a valid message.
    MalformedMessage,
    /// A valid message at the wrong time.
    UnexpectedMessage,
    /// A message over the size limit.
    MessageTooLarge,
    /// No task of this name here.
    UnknownTask,
    /// No room; try again later.
    Overloaded,
    /// The client was silent for too long.
    Timeout,
    /// The server is going away.
    ShuttingDown,
    /// Another connection of the same subject has taken this one's place.
    Replaced,
    /// Enough clients wait already; come back later.
    NotSelected,
    /// The token is missing or not good for this task, now.
    Unauthorized,
    /// The client does not know a layer, an algorithm or the codec of the task.
    UnsupportedClient,
}

impl RefusalCode {
    /// The WebSocket close code that follows such a refusal.
    pub fn close_code(self) -> u16 {
        CLOSE_CODE_BASE + i32::from(wire::RefusalCode::from(self)) as u16
    }
}

/// Answer to a check-in.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedIn {
    /// The task.
    pub task: TaskDescription,
    /// State of the task.
    pub status: TaskStatus,
}

/// Permission to select a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It may be selected.
    Available,
    /// It may not, and leaves the round it is in.
    Paused,
}

/// Reason for which a client gave a round up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeclineCause {
    /// Paused, waits for consent, has had its part, or has sent its update already.
    NotNow,
    /// The data do not fit the task.
    BadDataset,
    /// Training gave values that are not finite.
    TrainingDiverged,
    /// Training failed in another way.
    TrainingFailed,
    /// A value of the update is beyond the task's update range.
    OutOfRange,
    /// The model could not be fetched, or is not the one that was named.
    ModelUnavailable,
}

/// Notice that a client is left out of rounds, because its last invitations came
/// to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    /// End of the last of them.
    pub cause: StandbyCause,
    /// Time for which the client is left out.
    pub retry_after: Duration,
    /// One sentence for a person.
    pub message: String,
}

/// End of an invitation that came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StandbyCause {
    /// The deadline passed without an answer.
    MissedDeadline,
    /// The client declined.
    Declined,
    /// The server rejected the client's answer.
    Rejected,
    /// The client's connection broke and did not come back in time.
    Lost,
}

/// An invitation into a round.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundAssignment {
    /// The round.
    pub round: RoundId,
    /// The model to start from.
    pub model: ModelRef,
    /// The training plan.
    pub training: LocalTraining,
    /// Time until the deadline.
    pub deadline: Duration,
    /// Most newer models that there may be when the update arrives; 0 if it counts
    /// for this round only.
    pub max_staleness: u32,
    /// Present if and only if the task has a privacy policy.
    pub privacy: Option<RoundPrivacy>,
    /// Form of the update; `None` for the standard one: packed words under a distributed
    /// or local policy, float32 otherwise.
    pub codec: Option<CodecName>,
    /// True if the client evaluates the model on the examples that it holds out, and sends
    /// its scores in place of an update.
    pub evaluates: bool,
    /// Steps that lead to the model, oldest first: each begins at the model that the one
    /// before it makes. Without them the model is fetched as a whole.
    pub steps: Box<[ModelStep]>,
    /// The initial model, if it is the one to start from, or that which the steps begin at.
    pub drawn: Option<Box<DrawnModel>>,
    /// The server's control variate, of local training by SCAFFOLD: a file with the tensors of
    /// a global model, at the address of one. Its round is the first that it is made of. `None`
    /// if it is zero, and is made from this round on.
    pub control: Option<Box<ModelRef>>,
}

impl RoundAssignment {
    /// The steps that lead to the model from the one with this hash, and their bytes; `None`
    /// if there are none from there, or they are not fewer bytes than the model.
    pub fn steps_from(&self, base: &Sha256Hash) -> Option<(&[ModelStep], u64)> {
        if *base == self.model.sha256 {
            return Some((&[], 0));
        }
        let first = self.steps.iter().position(|step| step.base == *base)?;
        let steps = self.steps.get(first..)?;
        let bytes = steps.iter().fold(0, |sum: u64, step| sum.saturating_add(step.file.bytes));
        (bytes < self.model.bytes).then_some((steps, bytes))
    }
}

/// A model as the difference to an earlier one: added to the earlier model's parameters, its
/// values give the later one's, bit for bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelStep {
    /// Hash of the earlier model.
    pub base: Sha256Hash,
    /// File of the difference: `round` is that of the later model, the address
    /// `steps/{sha256}`.
    pub file: ModelRef,
    /// Form of the difference, within the task's update range.
    pub codec: CodecName,
}

/// The initial model of a task, which whoever has the task can draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrawnModel {
    /// Hash of its file.
    pub sha256: Sha256Hash,
    /// Seed that its values are drawn from.
    pub seed: u64,
    /// Beginning of its file, before its first value: the same for every model of the task.
    pub head: Bytes,
}

/// Announces an update, local minus global, in the form of the round's codec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateBegin {
    /// The round.
    pub round: RoundId,
    /// Length of the update.
    pub bytes: u64,
    /// Examples that were trained on; 1 under a privacy policy, and with SCAFFOLD.
    pub examples: u64,
    /// CRC-32 (IEEE) of the whole update.
    pub crc32: u32,
}

/// A piece of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateChunk {
    /// The round.
    pub round: RoundId,
    /// Position of the first byte.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
    /// CRC-32 (IEEE) of `data`.
    pub crc32: u32,
}

impl UpdateChunk {
    /// A chunk with its checksum.
    pub fn new(round: RoundId, offset: u64, data: Bytes) -> Self {
        let crc32 = checksum(&data);
        Self { round, offset, data, crc32 }
    }
}

/// Verdict on an update, with a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateOutcome {
    /// The round that the update was for.
    pub round: RoundId,
    /// Accepted, rejected or discarded.
    pub verdict: UpdateVerdict,
    /// One sentence for a person; empty when accepted.
    pub message: String,
}

/// The three fates of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpdateVerdict {
    /// Counted in the average.
    Accepted,
    /// Not valid, or not asked for.
    Rejected(UpdateFault),
    /// Valid, but too late.
    Discarded(UpdateFault),
}

/// Reason for which an update was not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateFault {
    /// The round closed before the update was complete.
    RoundOver,
    /// No such round, now or before.
    UnknownRound,
    /// The client was not invited into this round, or has left it.
    NotInCohort,
    /// The client has already reported.
    Duplicate,
    /// Not as long as the task's updates are.
    WrongLength,
    /// A chunk that does not continue where the last one ended.
    WrongOffset,
    /// The bytes do not match their checksum.
    ChecksumMismatch,
    /// A NaN or an infinity.
    NotFinite,
    /// A value larger than any honest update has.
    OutOfRange,
    /// No examples, or more than the task allows.
    WeightOutOfRange,
    /// More newer models than the assignment allowed for.
    TooStale,
    /// Keys that no honest client makes.
    InvalidKeys,
    /// Shares that are not the ones that were asked for.
    InvalidShares,
    /// An answer that the round does not wait for now.
    WrongStep,
}

impl ClientMessage {
    /// The message as bytes for one WebSocket message.
    pub fn encode(&self) -> Bytes {
        wire::ClientMessage::from(self.clone()).encode_to_vec().into()
    }

    /// Parses and checks one WebSocket message.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] for the first thing that is wrong, or that only a later version
    /// knows.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        wire::ClientMessage::decode(capped(bytes)?)?.try_into()
    }
}

impl ServerMessage {
    /// The message as bytes for one WebSocket message.
    pub fn encode(&self) -> Bytes {
        wire::ServerMessage::from(self.clone()).encode_to_vec().into()
    }

    /// Parses and checks one WebSocket message.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] for the first thing that is wrong, or that only a later version
    /// knows.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        wire::ServerMessage::decode(capped(bytes)?)?.try_into()
    }
}

fn capped(bytes: Bytes) -> Result<Bytes, DecodeError> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(DecodeError::TooLarge(bytes.len()));
    }
    Ok(bytes)
}
