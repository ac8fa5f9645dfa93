//! Health of a task in the JSON of the API.

use fedra_coordinator::status::{FailureCause as Cause, HealthState as State, TaskView};
use fedra_http_api::{Failure, FailureCause, FailureKind, Health, HealthState};
use fedra_protocol::{DeclineCause, StandbyCause, UpdateFault};

use crate::task::Task;

/// Health of the task, with all failures of this run.
pub(super) fn health(task: &Task, view: &TaskView) -> Health {
    let health = &view.health;
    let failures = health.failures.by_count().into_iter();
    Health {
        state: match health.state {
            State::Ok => HealthState::Ok,
            State::Waiting => HealthState::Waiting,
            State::Failing => HealthState::Failing,
        },
        reason: health.reason.clone(),
        since: humantime::format_rfc3339_seconds(task.date(health.since)).to_string(),
        attempts: health.attempts,
        failures: failures
            .map(|(failure, count)| Failure {
                kind: kind(failure.kind()),
                cause: failure.cause().map(cause),
                count,
                text: failure.words().to_owned(),
            })
            .collect(),
    }
}

fn kind(kind: StandbyCause) -> FailureKind {
    match kind {
        StandbyCause::MissedDeadline => FailureKind::MissedDeadline,
        StandbyCause::Declined => FailureKind::Declined,
        StandbyCause::Rejected => FailureKind::Rejected,
        StandbyCause::Lost => FailureKind::Lost,
    }
}

fn cause(cause: Cause) -> FailureCause {
    match cause {
        Cause::Decline(cause) => match cause {
            DeclineCause::NotNow => FailureCause::NotNow,
            DeclineCause::BadDataset => FailureCause::BadDataset,
            DeclineCause::TrainingDiverged => FailureCause::TrainingDiverged,
            DeclineCause::TrainingFailed => FailureCause::TrainingFailed,
            DeclineCause::OutOfRange => FailureCause::OutOfRange,
            DeclineCause::ModelUnavailable => FailureCause::ModelUnavailable,
        },
        Cause::Fault(fault) => match fault {
            UpdateFault::RoundOver => FailureCause::RoundOver,
            UpdateFault::UnknownRound => FailureCause::UnknownRound,
            UpdateFault::NotInCohort => FailureCause::NotInCohort,
            UpdateFault::Duplicate => FailureCause::Duplicate,
            UpdateFault::TooStale => FailureCause::TooStale,
            UpdateFault::WrongLength => FailureCause::WrongLength,
            UpdateFault::WrongOffset => FailureCause::WrongOffset,
            UpdateFault::ChecksumMismatch => FailureCause::ChecksumMismatch,
            UpdateFault::NotFinite => FailureCause::NotFinite,
            UpdateFault::OutOfRange => FailureCause::OutOfRange,
            UpdateFault::WeightOutOfRange => FailureCause::WeightOutOfRange,
            UpdateFault::InvalidKeys => FailureCause::InvalidKeys,
            UpdateFault::InvalidShares => FailureCause::InvalidShares,
            UpdateFault::WrongStep => FailureCause::WrongStep,
        },
    }
}
