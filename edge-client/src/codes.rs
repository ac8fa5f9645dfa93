//! Stable names for programs: of `error` events, of calls that are refused, and of the
//! reasons in a `status` event. The page's types are generated from them.

use std::fmt;

use fedra_protocol::StandbyCause;
use serde::{Serialize, Serializer};

use crate::failure::Failure;

/// News in an `error` event that is no failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The task has had its last round. Its model can still be used.
    TaskFinished,
    /// This client has used up its participations. It stays to use the model.
    PrivacyExhausted,
    /// WebGPU was asked for, and is absent or computes wrong. Training runs on the CPU.
    NoWebgpu,
    /// The WebGPU device was lost. Training goes on with the CPU.
    DeviceLost,
    /// The difference to the last model cannot be had, or does not give the new one. The
    /// client fetches the whole model.
    StepUnusable,
}

impl Notice {
    /// Stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TaskFinished => "task-finished",
            Self::PrivacyExhausted => "privacy-exhausted",
            Self::NoWebgpu => "no-webgpu",
            Self::DeviceLost => "device-lost",
            Self::StepUnusable => "step-unusable",
        }
    }
}

/// Reason why a call is refused, where it is no failure of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFault {
    /// The data were taken back, or others were given in their place.
    Aborted,
    /// The client is closed.
    Closed,
    /// The options are not valid.
    InvalidOptions,
    /// There is no global model yet.
    NoModel,
    /// The file is damaged, or a later version may know what is in it.
    BadModel,
    /// The examples do not fit the model.
    BadFeatures,
    /// There is too little memory for the call.
    OutOfMemory,
    /// The model's outputs could not be computed.
    PredictionFailed,
    /// A measurement could not be made.
    BenchFailed,
}

impl CallFault {
    /// Stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::Closed => "closed",
            Self::InvalidOptions => "invalid-options",
            Self::NoModel => "no-model",
            Self::BadModel => "bad-model",
            Self::BadFeatures => "bad-features",
            Self::OutOfMemory => "out-of-memory",
            Self::PredictionFailed => "prediction-failed",
            Self::BenchFailed => "bench-failed",
        }
    }
}

/// Code of an `error` event of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventCode {
    /// A failure.
    Failure(Failure),
    /// Something that the owner should know.
    Notice(Notice),
}

impl EventCode {
    /// Stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failure(failure) => failure.code(),
            Self::Notice(notice) => notice.as_str(),
        }
    }
}

/// Code of a call that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallCode {
    /// A failure of the client, for example the one that ended it.
    Failure(Failure),
    /// A fault of the call.
    Fault(CallFault),
}

impl CallCode {
    /// Stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failure(failure) => failure.code(),
            Self::Fault(fault) => fault.as_str(),
        }
    }
}

/// Reason in a `status` event: a failure of the client, or the end of its last
/// invitations, because of which the server leaves it out for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum StatusReason {
    /// A failure of the client.
    Failure(Failure),
    /// End of its last invitations.
    Standby(StandbyCause),
}

impl From<Failure> for EventCode {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Notice> for EventCode {
    fn from(notice: Notice) -> Self {
        Self::Notice(notice)
    }
}

impl From<Failure> for CallCode {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<CallFault> for CallCode {
    fn from(fault: CallFault) -> Self {
        Self::Fault(fault)
    }
}

impl fmt::Display for EventCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for CallCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl Serialize for EventCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
