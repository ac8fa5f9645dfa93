//! Subjects whose connections replace each other again and again: one token or one
//! state file on two devices. Each replacement beyond a few begins a time in which
//! the connection that is there stays, and the next is turned away. Bounded, and
//! without a clock.

use std::collections::HashMap;
use std::time::Duration;

use fedra_protocol::SubjectId;

use super::Step;
use crate::messages::{Action, Join, Notice};
use crate::round::Time;

/// Replacements in a row that are taken for a device whose network breaks.
const FREE: u32 = 5;
/// One replacement is forgotten after so long.
const FORGOTTEN: Duration = Duration::from_secs(300);
/// The time of peace after the first replacement beyond these; each next doubles it.
const FIRST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(600);
/// Most subjects remembered, with some sixty bytes each.
const SUBJECTS: usize = 4096;

/// Record of how the connections of one subject have replaced each other.
#[derive(Debug, Clone, Copy)]
struct Contest {
    replacements: u32,
    /// Since when none has been forgotten.
    since: Time,
    /// Until when the connection that is there stays.
    peace: Time,
    is_told: bool,
}

/// A connection that is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TurnedAway {
    wait: Duration,
    /// The first since the contest began.
    is_first: bool,
}

/// The subjects whose connections were replaced of late.
#[derive(Debug, Default)]
pub(super) struct Contested {
    subjects: HashMap<SubjectId, Contest>,
}

impl Contested {
    /// Checks that a connection may replace the one that its subject has.
    fn replace(&mut self, subject: SubjectId, now: Time) -> Result<(), TurnedAway> {
        self.forget(now);
        let new = Contest { replacements: 0, since: now, peace: now, is_told: false };
        let contest = self.subjects.entry(subject).or_insert(new);
        if now < contest.peace {
            let is_first = !std::mem::replace(&mut contest.is_told, true);
            return Err(TurnedAway { wait: now.until(contest.peace), is_first });
        }
        contest.replacements += 1;
        if let Some(beyond) = contest.replacements.checked_sub(FREE + 1) {
            let wait = FIRST.saturating_mul(1_u32.checked_shl(beyond).unwrap_or(u32::MAX));
            contest.peace = now + wait.min(LONGEST);
        }
        Ok(())
    }

    /// Forgets what is long ago, and beyond the bound the oldest.
    fn forget(&mut self, now: Time) {
        self.subjects.retain(|_, contest| {
            while contest.replacements > 0 && now >= contest.since + FORGOTTEN {
                contest.since = contest.since + FORGOTTEN;
                contest.replacements -= 1;
            }
            contest.replacements > 0
        });
        if self.subjects.len() >= SUBJECTS
            && let Some(oldest) = self.subjects.iter().min_by_key(|(_, contest)| contest.since)
        {
            let oldest = *oldest.0;
            self.subjects.remove(&oldest);
        }
    }
}

impl Step<'_> {
    /// Turns a connection away, with a time to come back at, if those of its subject
    /// replace each other too often. Whether it did.
    pub(super) fn turn_away(&mut self, join: &Join) -> bool {
        let core = &mut *self.core;
        let connected = join.subject.filter(|subject| core.clients.is_connected(subject));
        let Some(subject) = connected else { return false };
        let Err(TurnedAway { wait, is_first }) = core.contested.replace(subject, self.now) else {
            return false;
        };
        if is_first {
            tracing::warn!(
                task = %core.settings.id,
                %subject,
                "connections of one subject replace each other again and again: two devices may \
                 have the same token or state file"
            );
        }
        core.metrics.contested();
        core.counters.contest();
        core.actions.push(Action::Notify(join.connection, Notice::Contested(wait)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(number: u64) -> SubjectId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        SubjectId::from_bytes(bytes)
    }

    fn at(seconds: u64) -> Time {
        Time(Duration::from_secs(seconds))
    }

    #[test]
    fn two_devices_of_one_name_replace_each_other_ever_more_slowly() {
        let mut contested = Contested::default();
        // Both try again each second for an hour.
        let mut replaced = Vec::new();
        let mut told = 0;
        for second in 0..3600 {
            match contested.replace(subject(1), at(second)) {
                Ok(()) => replaced.push(second),
                Err(TurnedAway { wait, is_first }) => {
                    assert!(wait <= LONGEST && !wait.is_zero());
                    told += u32::from(is_first);
                }
            }
        }
        assert_eq!(replaced[..9], [0, 1, 2, 3, 4, 5, 35, 95, 215]);
        assert!(replaced.len() < 25, "{replaced:?}");
        assert_eq!(told, 1);
        // Another subject is not concerned, and this one not for ever.
        assert_eq!(contested.replace(subject(2), at(3600)), Ok(()));
        for second in 0..6 {
            assert_eq!(contested.replace(subject(1), at(3600 + 7200 + second)), Ok(()));
        }
    }

    #[test]
    fn a_device_whose_network_breaks_now_and_then_is_let_be() {
        let mut contested = Contested::default();
        for minutes in (0..600).step_by(5) {
            assert_eq!(contested.replace(subject(1), at(60 * minutes)), Ok(()));
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut contested = Contested::default();
        for number in 0..SUBJECTS as u64 + 64 {
            assert_eq!(contested.replace(subject(number), at(number / 1000)), Ok(()));
        }
        assert!(contested.subjects.len() <= SUBJECTS);
        contested.forget(at(3600));
        assert!(contested.subjects.is_empty());
    }
}
