//! Failures of invitations: their causes, counts of them, and the words that tell an
//! operator about them.

use std::collections::BTreeMap;

use fedra_protocol::{DeclineCause, StandbyCause, UpdateFault};
use serde::Serialize;

/// Failure of an invitation, with the cause if it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InvitationFailure {
    /// The client declined; under a privacy policy mostly without a cause.
    Declined(Option<DeclineCause>),
    /// The client's contribution was rejected.
    Rejected(UpdateFault),
    /// The deadline passed without an answer.
    MissedDeadline,
    /// The client disconnected and did not come back in time.
    Lost,
}

impl InvitationFailure {
    /// Every failure that there can be.
    pub const ALL: [Self; 18] = [
        Self::Declined(None),
        Self::Declined(Some(DeclineCause::NotNow)),
        Self::Declined(Some(DeclineCause::BadDataset)),
        Self::Declined(Some(DeclineCause::TrainingDiverged)),
        Self::Declined(Some(DeclineCause::TrainingFailed)),
        Self::Declined(Some(DeclineCause::OutOfRange)),
        Self::Declined(Some(DeclineCause::ModelUnavailable)),
        Self::Rejected(UpdateFault::WrongLength),
        Self::Rejected(UpdateFault::WrongOffset),
        Self::Rejected(UpdateFault::ChecksumMismatch),
        Self::Rejected(UpdateFault::NotFinite),
        Self::Rejected(UpdateFault::OutOfRange),
        Self::Rejected(UpdateFault::WeightOutOfRange),
        Self::Rejected(UpdateFault::InvalidKeys),
        Self::Rejected(UpdateFault::InvalidShares),
        Self::Rejected(UpdateFault::WrongStep),
        Self::MissedDeadline,
        Self::Lost,
    ];

    /// Its kind, named as clients are told of it.
    pub fn kind(self) -> StandbyCause {
        match self {
            Self::Declined(_) => StandbyCause::Declined,
            Self::Rejected(_) => StandbyCause::Rejected,
            Self::MissedDeadline => StandbyCause::MissedDeadline,
            Self::Lost => StandbyCause::Lost,
        }
    }

    /// The cause of a decline or the fault of a rejection.
    pub fn cause(self) -> Option<FailureCause> {
        match self {
            Self::Declined(cause) => cause.map(FailureCause::Decline),
            Self::Rejected(fault) => Some(FailureCause::Fault(fault)),
            Self::MissedDeadline | Self::Lost => None,
        }
    }

    /// True if it says only that the client is not there, and nothing of the task.
    pub fn is_departure(self) -> bool {
        matches!(self, Self::Lost | Self::Declined(Some(DeclineCause::NotNow)))
    }

    /// Description of the failure, as a phrase.
    pub fn words(self) -> &'static str {
        self.explained().0
    }

    /// The phrase, and advice where there is some.
    fn explained(self) -> (&'static str, Option<&'static str>) {
        const DIVERGES: Option<&str> = Some("a smaller learning rate may help");
        const RANGE: Option<&str> = Some(
            "a smaller learning rate, targets scaled to values near 1, or a larger update \
             range of the task may help",
        );
        match self {
            Self::Declined(None) => ("declined without a cause", None),
            Self::Declined(Some(cause)) => match cause {
                DeclineCause::NotNow => ("not available now", None),
                DeclineCause::BadDataset => (
                    "the data do not fit the task",
                    Some("compare their dimensions and labels with the task's model"),
                ),
                DeclineCause::TrainingDiverged => ("training diverged", DIVERGES),
                DeclineCause::TrainingFailed => {
                    ("training failed", Some("the client's own messages say more"))
                }
                DeclineCause::OutOfRange => {
                    ("a value of the update is beyond the task's update range", RANGE)
                }
                DeclineCause::ModelUnavailable => (
                    "the model could not be fetched",
                    Some("clients fetch it beside the address that they connect to"),
                ),
            },
            Self::Rejected(fault) => match fault {
                UpdateFault::WrongLength => (
                    "rejected, the update has another length than the model",
                    Some("the clients may be of another version"),
                ),
                UpdateFault::WrongOffset => ("rejected, the update came out of order", None),
                UpdateFault::ChecksumMismatch => {
                    ("rejected, the update did not match its checksum", None)
                }
                UpdateFault::NotFinite => {
                    ("rejected, the update has a value that is not finite", DIVERGES)
                }
                UpdateFault::OutOfRange => {
                    ("rejected, the update has a value beyond the task's update range", RANGE)
                }
                UpdateFault::WeightOutOfRange => (
                    "rejected, the number of examples is not what the task takes",
                    Some("task.round.max_weight is the most"),
                ),
                UpdateFault::InvalidKeys => ("rejected, the keys are not valid", None),
                UpdateFault::InvalidShares => ("rejected, the shares are not valid", None),
                UpdateFault::RoundOver
                | UpdateFault::UnknownRound
                | UpdateFault::NotInCohort
                | UpdateFault::Duplicate
                | UpdateFault::TooStale
                | UpdateFault::WrongStep => {
                    ("rejected, the round did not wait for what was sent", None)
                }
            },
            Self::MissedDeadline => {
                ("the deadline passed without an answer", Some("a longer deadline may help"))
            }
            Self::Lost => ("disconnected", None),
        }
    }
}

/// The cause of a decline, or the fault of what was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum FailureCause {
    /// Cause that the client named.
    Decline(DeclineCause),
    /// Fault that the checks found.
    Fault(UpdateFault),
}

/// Counts of failures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failures(BTreeMap<InvitationFailure, u64>);

impl Failures {
    /// Adds a failure.
    pub fn count(&mut self, failure: InvitationFailure) {
        *self.0.entry(failure).or_default() += 1;
    }

    /// The failures that have happened, the most frequent first.
    pub fn by_count(&self) -> Vec<(InvitationFailure, u64)> {
        let mut counts: Vec<_> = self.0.iter().map(|(failure, count)| (*failure, *count)).collect();
        counts.sort_by_key(|(failure, count)| (std::cmp::Reverse(*count), *failure));
        counts
    }

    /// True if nothing has failed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if clients were only not there. Also if nothing has failed.
    pub fn are_departures(&self) -> bool {
        self.0.keys().all(|failure| failure.is_departure())
    }

    /// Summary of the failures of some of `invited` clients: "3 of 4: training
    /// diverged; a smaller learning rate may help".
    pub fn describe(&self, invited: usize) -> String {
        let part = |(failure, count): (InvitationFailure, u64)| {
            let (words, advice) = failure.explained();
            let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
            format!("{count} of {invited}: {words}{advice}")
        };
        self.by_count().into_iter().map(part).collect::<Vec<_>>().join(". ")
    }
}

impl FromIterator<InvitationFailure> for Failures {
    fn from_iter<T: IntoIterator<Item = InvitationFailure>>(failures: T) -> Self {
        let mut counts = Self::default();
        failures.into_iter().for_each(|failure| counts.count(failure));
        counts
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const DIVERGED: InvitationFailure =
        InvitationFailure::Declined(Some(DeclineCause::TrainingDiverged));

    #[test]
    fn failures_are_told_with_their_cause_and_advice_the_most_frequent_first() {
        let failures: Failures =
            [InvitationFailure::Lost, DIVERGED, DIVERGED].into_iter().collect();
        assert_eq!(
            failures.describe(4),
            "2 of 4: training diverged; a smaller learning rate may help. 1 of 4: disconnected"
        );
        assert_eq!(failures.by_count(), [(DIVERGED, 2), (InvitationFailure::Lost, 1)]);
        assert_eq!(Failures::default().describe(4), "");
    }

    #[test]
    fn only_clients_that_are_not_there_are_departures() {
        let not_now = InvitationFailure::Declined(Some(DeclineCause::NotNow));
        let gone: Failures = [InvitationFailure::Lost, not_now].into_iter().collect();
        assert!(gone.are_departures());
        for failure in InvitationFailure::ALL
            .into_iter()
            .filter(|f| ![InvitationFailure::Lost, not_now].contains(f))
        {
            let failures: Failures = [InvitationFailure::Lost, failure].into_iter().collect();
            assert!(!failures.are_departures(), "{failure:?}");
        }
    }

    /// The manual's table has every failure, and no other.
    #[test]
    fn the_manual_lists_every_failure_with_its_words_and_advice() {
        const MANUAL: &str = include_str!("../../../../docs/OPERATIONS.md");
        let name = |value| serde_json::to_string(&value).expect("JSON").replace('"', "");
        let row = |failure: InvitationFailure| {
            let (words, advice) = failure.explained();
            let cause = failure.cause().map(|cause| serde_json::to_string(&cause).expect("JSON"));
            let cells = [
                name(failure.kind()),
                cause.unwrap_or_default().replace('"', ""),
                words.to_owned(),
                advice.unwrap_or_default().to_owned(),
            ];
            cells.iter().fold("|".to_owned(), |row, cell| match cell.as_str() {
                "" => row + " |",
                cell => row + " " + cell + " |",
            })
        };
        let kinds = ["| declined |", "| rejected |", "| missed-deadline |", "| lost |"];
        let listed: Vec<&str> =
            MANUAL.lines().filter(|line| kinds.iter().any(|kind| line.starts_with(kind))).collect();
        let expected: Vec<String> = InvitationFailure::ALL.into_iter().map(row).collect();
        assert_eq!(listed, expected);
    }

    /// A new fault or cause does not compile until it has been decided here.
    #[test]
    fn every_failure_is_listed() {
        use {DeclineCause as D, UpdateFault as F};
        let counts = |fault| match fault {
            F::WrongLength
            | F::WrongOffset
            | F::ChecksumMismatch
            | F::NotFinite
            | F::OutOfRange
            | F::WeightOutOfRange
            | F::InvalidKeys
            | F::InvalidShares
            | F::WrongStep => true,
            // Of contributions that no invitation waits for.
            F::RoundOver | F::UnknownRound | F::NotInCohort | F::Duplicate | F::TooStale => false,
        };
        let may_be_told = |cause| match cause {
            D::NotNow
            | D::BadDataset
            | D::TrainingDiverged
            | D::TrainingFailed
            | D::OutOfRange
            | D::ModelUnavailable => true,
        };
        let (mut faults, mut causes) = (0, 0);
        for failure in InvitationFailure::ALL {
            match failure {
                InvitationFailure::Rejected(fault) => {
                    assert!(counts(fault), "{fault:?}");
                    faults += 1;
                }
                InvitationFailure::Declined(Some(cause)) => {
                    assert!(may_be_told(cause));
                    causes += 1;
                }
                _ => {}
            }
        }
        assert_eq!((faults, causes), (9, 6));
    }

    #[test]
    fn every_failure_has_words_of_its_own_and_a_name_of_its_own() {
        let words: BTreeSet<_> =
            InvitationFailure::ALL.into_iter().map(InvitationFailure::words).collect();
        assert_eq!(words.len(), InvitationFailure::ALL.len());
        let name = |failure: InvitationFailure| {
            let kind = serde_json::to_value(failure.kind()).expect("JSON");
            let cause = serde_json::to_value(failure.cause()).expect("JSON");
            format!("{kind} {cause}")
        };
        let names: BTreeSet<_> = InvitationFailure::ALL.into_iter().map(name).collect();
        assert_eq!(names.len(), InvitationFailure::ALL.len());
        for name in [r#""declined" "training-diverged""#, r#""missed-deadline" null"#] {
            assert!(names.contains(name), "{names:?}");
        }
    }
}
