//! Failures to decode a message.

use crate::data::DataSpecError;
use crate::model::ModelSpecError;
use crate::privacy::PrivacyPolicyError;
use crate::task::LocalTrainingError;

/// Bytes that are not a valid message. The peer gets the text in a refusal.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than any message may be.
    #[error("the message has {0} bytes; at most {max} are allowed", max = crate::limits::MAX_MESSAGE_BYTES)]
    TooLarge(usize),
    /// Not protobuf, or cut short.
    #[error("not a Fedra message: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// A field that every message of the kind has is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field is too long or too large.
    #[error("{field} is {actual}; at most {max} is allowed")]
    OverLimit {
        /// The field's path.
        field: &'static str,
        /// The value.
        actual: u64,
        /// The largest allowed value.
        max: u64,
    },
    /// A field has a value outside its range.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field's path.
        field: &'static str,
        /// The mistake.
        problem: String,
    },
    /// Something that a later version may know: a message, a layer, an algorithm, a codec,
    /// a loss, a mechanism, a code. Bytes that leave it out read the same.
    #[error("{what} is of a kind that this version does not know; a newer version may")]
    Unsupported {
        /// The thing, with its article.
        what: &'static str,
    },
    /// A model that does not fit together.
    #[error("model: {0}")]
    Model(#[from] ModelSpecError),
    /// A description of data that describes none.
    #[error("data: {0}")]
    Data(#[from] DataSpecError),
    /// A training plan outside its ranges.
    #[error("training: {0}")]
    Training(#[from] LocalTrainingError),
    /// A privacy policy outside its ranges.
    #[error("privacy policy: {0}")]
    Privacy(#[from] PrivacyPolicyError),
}
