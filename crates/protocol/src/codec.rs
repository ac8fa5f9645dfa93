//! Names of the codecs of updates, and their wire form.

use crate::wire;
use crate::wire::codec::Kind;

/// Codec of an update by name: the form in which it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodecName {
    /// One little-endian float32 a parameter.
    F32,
    /// One little-endian float16 (IEEE 754 binary16) a parameter.
    F16,
    /// Words of a distributed or local privacy policy, bit by bit.
    Packed,
}

impl CodecName {
    /// Every codec that this version knows.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Packed];

    /// The name in a client's capabilities and in a config file.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Packed => "packed",
        }
    }

    /// The codec of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

impl From<CodecName> for wire::Codec {
    fn from(codec: CodecName) -> Self {
        let unit = wire::Unit {};
        let kind = match codec {
            CodecName::F32 => Kind::F32(unit),
            CodecName::F16 => Kind::F16(unit),
            CodecName::Packed => Kind::Packed(unit),
        };
        Self { kind: Some(kind) }
    }
}

impl wire::Codec {
    /// The codec's name; `None` for one that a later version may know.
    pub(crate) fn known(self) -> Option<CodecName> {
        Some(match self.kind? {
            Kind::F32(_) => CodecName::F32,
            Kind::F16(_) => CodecName::F16,
            Kind::Packed(_) => CodecName::Packed,
        })
    }
}
