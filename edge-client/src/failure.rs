//! The failures of a client: the name of each, what follows from it, and the cause
//! that it sends. docs/PROTOCOL.md has the same table.

#[cfg(test)]
mod tests;

use fedra_learning::LearningError;
use fedra_protocol::{DeclineCause, RefusalCode, UpdateFault};

use crate::devices::TrainingError;

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The examples do not fit the task.
    BadDataset,
    /// Training gave values that are not finite.
    TrainingDiverged,
    /// A value of the update is beyond the task's range.
    OutOfRange,
    /// Training failed in another way.
    TrainingFailed,
    /// The model could not be fetched, or what came is not the one that was named.
    ModelUnavailable,
    /// The file that was named is not a model of the task.
    ModelUnreadable,
    /// The update was rejected, and not because the round was another one.
    UpdateRejected,
    /// A participation could not be written down.
    ParticipationNotKept,
    /// The system gives no random numbers.
    NoRandomness,
    /// The update could not be protected.
    PrivacyFailed,
    /// A step of secure aggregation went wrong.
    SecureAggregationFailed,
    /// The server is away, is silent, or sends what makes no sense.
    NoServer,
    /// The owner has no token to check in with.
    TokenFailed,
    /// The server sends what only a later version knows: a layer, an algorithm, a loss, a
    /// mechanism, a message.
    UnsupportedTask,
    /// The task promises less privacy than the owner asks for, or something else than
    /// before.
    PrivacyRefused,
    /// The server refuses the client.
    Refused(RefusalCode),
}

/// Consequence of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Takes no part until there are other examples, or another description of the
    /// task.
    UntilNewData,
    /// Takes no part until there are other examples, a new model, or another connection:
    /// the operator may have changed the task.
    UntilNewModel,
    /// Tries again, each time after a longer wait.
    BackOff,
    /// The same if the server names a time. Otherwise the session ends.
    BackOffIfTold,
    /// The same with a fresh token, three times. Then the session ends.
    FreshToken,
    /// The session ends.
    End,
}

impl Failure {
    /// Stable name.
    pub fn code(self) -> &'static str {
        match self {
            Self::BadDataset => "bad-dataset",
            Self::TrainingDiverged => "training-diverged",
            Self::OutOfRange => "out-of-range",
            Self::TrainingFailed => "training-failed",
            Self::ModelUnavailable => "model-unavailable",
            Self::ModelUnreadable => "model-unreadable",
            Self::UpdateRejected => "update-rejected",
            Self::ParticipationNotKept => "participation-not-kept",
            Self::NoRandomness => "no-randomness",
            Self::PrivacyFailed => "privacy-failed",
            Self::SecureAggregationFailed => "secure-aggregation-failed",
            Self::NoServer => "no-server",
            Self::TokenFailed => "token-failed",
            Self::UnsupportedTask => "unsupported-task",
            Self::PrivacyRefused => "privacy-refused",
            Self::Refused(code) => refusal(code),
        }
    }

    /// Consequence of the failure. Under a privacy policy the first four take no other
    /// course than the next round: there an update of zeros takes the place of what
    /// failed.
    pub fn course(self) -> Course {
        match self {
            Self::BadDataset => Course::UntilNewData,
            Self::TrainingDiverged | Self::OutOfRange | Self::ModelUnreadable => {
                Course::UntilNewModel
            }
            Self::TrainingFailed
            | Self::ModelUnavailable
            | Self::UpdateRejected
            | Self::ParticipationNotKept
            | Self::NoRandomness
            | Self::PrivacyFailed
            | Self::SecureAggregationFailed
            | Self::NoServer
            | Self::TokenFailed => Course::BackOff,
            Self::UnsupportedTask | Self::PrivacyRefused => Course::End,
            Self::Refused(code) => match code {
                RefusalCode::NotSelected
                | RefusalCode::Overloaded
                | RefusalCode::Timeout
                | RefusalCode::ShuttingDown => Course::BackOff,
                RefusalCode::Replaced => Course::BackOffIfTold,
                RefusalCode::Unauthorized => Course::FreshToken,
                RefusalCode::UnsupportedVersion
                | RefusalCode::MalformedMessage
                | RefusalCode::UnexpectedMessage
                | RefusalCode::MessageTooLarge
                | RefusalCode::UnknownTask
                | RefusalCode::UnsupportedClient => Course::End,
            },
        }
    }

    /// Cause with which a round is declined, where the task has no privacy policy.
    pub fn cause(self) -> Option<DeclineCause> {
        match self {
            Self::BadDataset => Some(DeclineCause::BadDataset),
            Self::TrainingDiverged => Some(DeclineCause::TrainingDiverged),
            Self::OutOfRange => Some(DeclineCause::OutOfRange),
            Self::TrainingFailed => Some(DeclineCause::TrainingFailed),
            Self::ModelUnavailable | Self::ModelUnreadable => Some(DeclineCause::ModelUnavailable),
            _ => None,
        }
    }

    /// True if it may tell something about the data.
    pub(crate) fn is_of_data(self) -> bool {
        matches!(
            self,
            Self::BadDataset | Self::TrainingDiverged | Self::OutOfRange | Self::TrainingFailed
        )
    }

    /// Failure of this client that a verdict on an update shows. `None` where the
    /// update was for another round than the server's.
    pub(crate) fn of_fault(fault: UpdateFault) -> Option<Self> {
        match fault {
            UpdateFault::OutOfRange | UpdateFault::NotFinite => Some(Self::OutOfRange),
            UpdateFault::WrongLength
            | UpdateFault::WrongOffset
            | UpdateFault::ChecksumMismatch
            | UpdateFault::WeightOutOfRange
            | UpdateFault::InvalidKeys
            | UpdateFault::InvalidShares => Some(Self::UpdateRejected),
            UpdateFault::RoundOver
            | UpdateFault::UnknownRound
            | UpdateFault::NotInCohort
            | UpdateFault::Duplicate
            | UpdateFault::TooStale
            | UpdateFault::WrongStep => None,
        }
    }
}

impl From<&LearningError> for Failure {
    fn from(error: &LearningError) -> Self {
        match error {
            LearningError::Dataset(_) => Self::BadDataset,
            LearningError::Diverged => Self::TrainingDiverged,
            LearningError::OutOfRange { .. } => Self::OutOfRange,
            _ => Self::TrainingFailed,
        }
    }
}

impl From<&TrainingError> for Failure {
    fn from(error: &TrainingError) -> Self {
        match error {
            TrainingError::Learning(error) => Self::from(error),
            TrainingError::Device(_) | TrainingError::Ended(_) => Self::TrainingFailed,
        }
    }
}

/// A refusal's stable name.
fn refusal(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::UnsupportedVersion => "refused-unsupported-version",
        RefusalCode::MalformedMessage => "refused-malformed-message",
        RefusalCode::UnexpectedMessage => "refused-unexpected-message",
        RefusalCode::MessageTooLarge => "refused-message-too-large",
        RefusalCode::UnknownTask => "refused-unknown-task",
        RefusalCode::Overloaded => "refused-overloaded",
        RefusalCode::Timeout => "refused-timeout",
        RefusalCode::ShuttingDown => "refused-shutting-down",
        RefusalCode::Replaced => "refused-replaced",
        RefusalCode::NotSelected => "refused-not-selected",
        RefusalCode::Unauthorized => "refused-unauthorized",
        RefusalCode::UnsupportedClient => "refused-unsupported-client",
    }
}
