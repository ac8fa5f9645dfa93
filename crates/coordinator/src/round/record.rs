//! Record of a participant: how its last invitations ended, and whether it is left
//! out of cohorts because of that.
//!
//! A participant that fails several times in a row is left out for a time that
//! doubles with each further failure. Then it is on trial: it is invited beside a
//! cohort, which does not wait for it. One success makes it a full member again, and
//! halves the time of the next exclusion.

use std::time::Duration;

use fedra_protocol::StandbyCause;

use super::Time;

/// Failures in a row after which a participant is left out.
pub const SEVERAL: u32 = 3;
/// Time of the first exclusion.
pub const EXCLUSION: Duration = Duration::from_secs(30);
/// Doublings of [`EXCLUSION`] at most: a bit more than an hour.
const DOUBLINGS: u32 = 7;
/// Endings that are kept.
const KEPT: usize = 8;

/// Outcome of an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The participant did all that it was asked for.
    Reported,
    /// The invitation came to nothing.
    Failed(StandbyCause),
}

/// The cause of a failure by the deadline.
pub(super) fn missed(is_lost: bool) -> StandbyCause {
    if is_lost { StandbyCause::Lost } else { StandbyCause::MissedDeadline }
}

/// Consequence of a participant's record for the next cohort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// It may be a member of a cohort.
    #[default]
    Full,
    /// It is not invited before this time.
    LeftOut(Time),
    /// It is invited beside a cohort.
    OnTrial,
}

/// Record of one participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Record {
    /// The newest ending first.
    endings: [Option<Ending>; KEPT],
    failures: u32,
    /// Exclusions, less the successes since.
    exclusions: u32,
    trust: Trust,
}

impl Record {
    /// Notes an ending. The end of the exclusion that follows from it, if any.
    pub fn note(&mut self, ending: Ending, now: Time) -> Option<Time> {
        self.endings.rotate_right(1);
        self.endings[0] = Some(ending);
        if ending == Ending::Reported {
            self.failures = 0;
            self.exclusions = self.exclusions.saturating_sub(1);
            self.trust = Trust::Full;
            return None;
        }
        self.failures += 1;
        if self.failures < SEVERAL {
            return None;
        }
        let until = now + EXCLUSION * (1 << self.exclusions.min(DOUBLINGS));
        self.exclusions = (self.exclusions + 1).min(DOUBLINGS + 1);
        self.trust = Trust::LeftOut(until);
        Some(until)
    }

    /// Ends an exclusion whose time is over.
    pub(super) fn expire(&mut self, now: Time) {
        if let Trust::LeftOut(until) = self.trust
            && until <= now
        {
            self.trust = Trust::OnTrial;
        }
    }

    /// Consequence for the next cohort.
    #[must_use]
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// Reason why the last invitation came to nothing, if it did.
    #[must_use]
    pub fn last_failure(&self) -> Option<StandbyCause> {
        match self.endings[0] {
            Some(Ending::Failed(cause)) => Some(cause),
            _ => None,
        }
    }

    /// True if the record says more than that of a newcomer. Successes alone do not.
    #[must_use]
    pub fn is_notable(&self) -> bool {
        self.failures > 0 || self.exclusions > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSED: Ending = Ending::Failed(StandbyCause::MissedDeadline);

    fn seconds(seconds: u64) -> Time {
        Time(Duration::from_secs(seconds))
    }

    #[test]
    fn exclusions_double_up_to_about_an_hour_and_halve_after_a_success() {
        let mut record = Record::default();
        for _ in 1..SEVERAL {
            assert_eq!(record.note(MISSED, seconds(0)), None);
        }
        let mut lengths = Vec::new();
        for _ in 0..10 {
            let until = record.note(MISSED, seconds(0)).expect("left out");
            assert_eq!(record.trust(), Trust::LeftOut(until));
            record.expire(until);
            assert_eq!(record.trust(), Trust::OnTrial);
            lengths.push(until.0.as_secs());
        }
        assert_eq!(lengths, [30, 60, 120, 240, 480, 960, 1920, 3840, 3840, 3840]);
        for _ in 0..7 {
            assert_eq!(record.note(Ending::Reported, seconds(0)), None);
            assert_eq!(record.trust(), Trust::Full);
        }
        for _ in 1..SEVERAL {
            assert_eq!(record.note(MISSED, seconds(0)), None, "counted from the success on");
        }
        assert_eq!(record.note(MISSED, seconds(7)), Some(seconds(67)));
    }

    #[test]
    fn a_success_between_failures_leaves_nobody_out() {
        let mut record = Record::default();
        for _ in 0..20 {
            for _ in 1..SEVERAL {
                assert_eq!(record.note(MISSED, seconds(1)), None);
            }
            assert!(record.is_notable());
            assert_eq!(record.note(Ending::Reported, seconds(1)), None);
            assert!(!record.is_notable());
        }
    }

    #[test]
    fn an_exclusion_ends_at_its_time_and_not_before() {
        let mut record = Record::default();
        record.note(MISSED, seconds(0));
        record.note(MISSED, seconds(0));
        record.note(Ending::Failed(StandbyCause::Declined), seconds(1));
        assert_eq!(record.last_failure(), Some(StandbyCause::Declined));
        record.expire(seconds(30));
        assert_eq!(record.trust(), Trust::LeftOut(seconds(31)));
        record.expire(seconds(31));
        assert_eq!(record.trust(), Trust::OnTrial);
    }
}
