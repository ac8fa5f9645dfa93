//! Messages between an edge client and the aggregator, and the task types both share.
//!
//! Messages are protobuf over WebSocket ([`wire`], generated from
//! `proto/fedra.proto`); the types here are their checked forms. A value that
//! [`ClientMessage::decode`] or [`ServerMessage::decode`] returns is within every
//! bound of [`limits`]. This crate does no I/O, reads no clock and draws no
//! random number.
//!
//! # Example
//!
//! ```
//! use fedra_protocol::{ClientMessage, ModelSpec};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bytes = ClientMessage::Ping { nonce: 7 }.encode();
//! assert_eq!(ClientMessage::decode(bytes)?, ClientMessage::Ping { nonce: 7 });
//! // What is too long or unknown is refused, not guessed at.
//! assert!(ClientMessage::decode(vec![0xff; 40].into()).is_err());
//!
//! let spec = ModelSpec::builtin("softmax-regression").ok_or("it is built in")?;
//! assert_eq!(spec.parameters(), 784 * 10 + 10);
//! # Ok(())
//! # }
//! ```

mod capabilities;
mod checksum;
mod codec;
mod conversion;
pub mod data;
mod error;
mod evaluation;
mod id;
pub mod limits;
mod message;
mod model;
mod privacy;
mod task;
mod token;
mod update_range;

/// The generated protobuf messages. Use the checked types of the crate's root.
#[allow(missing_docs, clippy::all, reason = "generated code")]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/fedra.v1.rs"));
}

pub use capabilities::Capabilities;
pub use checksum::checksum;
pub use codec::{CodecName, SentShare, SentShareError};
pub use data::{DataSpec, DataSpecError, EncodedDataSpec, TargetKind};
pub use error::DecodeError;
pub use evaluation::{
    ClientEvaluation, ClientEvaluationError, Evaluation, Headline, Quality, Scores,
};
pub use id::{IdError, RoundId, Sha256Hash, TaskId};
pub use message::{
    Availability, CheckedIn, ClientMessage, DeclineCause, DrawnModel, Hello, ModelStep, Refusal,
    RefusalCode, RoundAssignment, ServerMessage, Standby, StandbyCause, UpdateBegin, UpdateChunk,
    UpdateFault, UpdateOutcome, UpdateVerdict, Welcome,
};
pub use model::layers;
pub use model::{
    ElementKind, ForwardCost, Init, Layer, Loss, ModelSpec, ModelSpecError, Objective, Shape,
    TensorInfo,
};
pub use privacy::{
    AdvertisedKeys, BandedNoise, CentralNoise, EncryptedShare, KeyDirectory, MaskedInputRequest,
    MaskingGroup, Mechanism, Neighbour, PrivacyPolicy, PrivacyPolicyError, RevealedShare,
    RoundPrivacy, SubjectId, UnmaskingRequest,
};
pub use task::{
    ClientAlgorithm, LocalTraining, LocalTrainingError, ModelRef, RawLocalTraining, RoundPhase,
    TaskDescription, TaskStatus,
};
pub use token::{Token, TokenError};
pub use update_range::{UpdateRange, UpdateRangeError};

/// The protocol version that this crate speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// WebSocket close code for a refusal: 4000 plus the wire number of its code.
pub const CLOSE_CODE_BASE: u16 = 4000;
