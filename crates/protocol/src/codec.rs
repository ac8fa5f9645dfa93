//! Codecs of updates by name, and their wire form.

use serde::{Deserialize, Serialize};

use crate::error::DecodeError;
use crate::limits::{DEFAULT_SENT_SHARE, MAX_SENT_SHARE};
use crate::wire;
use crate::wire::codec::Kind;

/// Codec of an update by name: the form in which it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodecName {
    /// One little-endian float32 a parameter.
    F32,
    /// One little-endian float16 (IEEE 754 binary16) a parameter.
    F16,
    /// Words of a distributed or local privacy policy, bit by bit.
    Packed,
    /// Rotated, then rounded at random to 256 levels.
    Int8,
    /// Rotated, then rounded at random to 16 levels.
    Int4,
    /// Rotated, then rounded to 4 levels (EDEN).
    Eden2,
    /// Rotated, then the signs alone (EDEN, DRIVE).
    Eden1,
    /// The values of largest magnitude, as float16.
    TopK(SentShare),
    /// The signs of the values of largest magnitude, and their mean magnitude (STC).
    Stc(SentShare),
}

/// Share of an update's values that is sent, in parts per million: 1 to
/// [`MAX_SENT_SHARE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct SentShare(u32);

/// A number that is no [`SentShare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a share of values is 1 to {MAX_SENT_SHARE} parts per million; it is {0}")]
pub struct SentShareError(u32);

impl SentShare {
    /// Checks the value.
    ///
    /// # Errors
    ///
    /// [`SentShareError`] for none, or more than half of the values.
    pub fn new(parts_per_million: u32) -> Result<Self, SentShareError> {
        if (1..=MAX_SENT_SHARE).contains(&parts_per_million) {
            Ok(Self(parts_per_million))
        } else {
            Err(SentShareError(parts_per_million))
        }
    }

    /// Number of values that are sent of `values`, rounded up: at least one of any.
    pub fn of(self, values: usize) -> usize {
        // At most half of them.
        (values as u64 * u64::from(self.0)).div_ceil(1_000_000) as usize
    }
}

impl TryFrom<u32> for SentShare {
    type Error = SentShareError;

    fn try_from(parts_per_million: u32) -> Result<Self, SentShareError> {
        Self::new(parts_per_million)
    }
}

impl From<SentShare> for u32 {
    fn from(share: SentShare) -> Self {
        share.0
    }
}

impl CodecName {
    /// Every codec that this version knows, those that send a share with its default.
    pub const ALL: [Self; 9] = [
        Self::F32,
        Self::F16,
        Self::Packed,
        Self::Int8,
        Self::Int4,
        Self::Eden2,
        Self::Eden1,
        Self::TopK(SentShare(DEFAULT_SENT_SHARE)),
        Self::Stc(SentShare(DEFAULT_SENT_SHARE)),
    ];

    /// The name in a client's capabilities and in a config file.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Packed => "packed",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::Eden2 => "eden2",
            Self::Eden1 => "eden1",
            Self::TopK(_) => "topk",
            Self::Stc(_) => "stc",
        }
    }

    /// The codec of this name, with the default share.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// The codec with this share of the values; `None` for one that sends all of them.
    pub fn with_share(self, share: SentShare) -> Option<Self> {
        match self {
            Self::TopK(_) => Some(Self::TopK(share)),
            Self::Stc(_) => Some(Self::Stc(share)),
            Self::F32
            | Self::F16
            | Self::Packed
            | Self::Int8
            | Self::Int4
            | Self::Eden2
            | Self::Eden1 => None,
        }
    }

    /// True if part of an update is not sent: a client keeps it for its next one.
    pub fn is_sparse(self) -> bool {
        matches!(self, Self::TopK(_) | Self::Stc(_))
    }
}

impl From<CodecName> for wire::Codec {
    fn from(codec: CodecName) -> Self {
        let unit = wire::Unit {};
        let sent = |SentShare(parts_per_million)| wire::SentShare { parts_per_million };
        let kind = match codec {
            CodecName::F32 => Kind::F32(unit),
            CodecName::F16 => Kind::F16(unit),
            CodecName::Packed => Kind::Packed(unit),
            CodecName::Int8 => Kind::Int8(unit),
            CodecName::Int4 => Kind::Int4(unit),
            CodecName::Eden2 => Kind::Eden2(unit),
            CodecName::Eden1 => Kind::Eden1(unit),
            CodecName::TopK(share) => Kind::Topk(sent(share)),
            CodecName::Stc(share) => Kind::Stc(sent(share)),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<wire::Codec> for CodecName {
    type Error = DecodeError;

    fn try_from(codec: wire::Codec) -> Result<Self, DecodeError> {
        let share = |wire::SentShare { parts_per_million }| {
            SentShare::new(parts_per_million).map_err(|error| DecodeError::Invalid {
                field: "round_assignment.codec",
                problem: error.to_string(),
            })
        };
        // One that a later version may know.
        let unsupported = DecodeError::Unsupported { what: "the codec of the update" };
        Ok(match codec.kind.ok_or(unsupported)? {
            Kind::F32(_) => Self::F32,
            Kind::F16(_) => Self::F16,
            Kind::Packed(_) => Self::Packed,
            Kind::Int8(_) => Self::Int8,
            Kind::Int4(_) => Self::Int4,
            Kind::Eden2(_) => Self::Eden2,
            Kind::Eden1(_) => Self::Eden1,
            Kind::Topk(sent) => Self::TopK(share(sent)?),
            Kind::Stc(sent) => Self::Stc(share(sent)?),
        })
    }
}
