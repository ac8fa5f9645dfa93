//! Counts of what happened in histories, because an empty one must not pass for a good
//! one.

use std::fmt;

/// Something that is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Figure {
    Steps,
    Rounds,
    Accepted,
    Unmasked,
    Reconnects,
    ResumedUploads,
    SlowUploads,
    RepeatedVerdicts,
    Deaths,
    Freezes,
    Crashes,
    CrashesAtWrites,
    LostMessages,
    Operations,
    RollBacks,
    SentAway,
    LeftOut,
}

/// In the order of [`Figure`].
const NAMES: [&str; 17] = [
    "steps",
    "rounds completed",
    "updates accepted",
    "answers to requests for unmasking",
    "reconnects",
    "uploads resumed",
    "uploads given up as too slow",
    "verdicts repeated",
    "clients killed",
    "clients frozen",
    "server crashes",
    "of these at a write",
    "messages lost",
    "operations",
    "roll-backs",
    "clients sent away",
    "clients left out",
];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
/// Counts of what happened in a history, or in several.
pub struct Figures([u64; NAMES.len()]);

impl Figures {
    pub(crate) fn count(&mut self, what: Figure) {
        self.count_many(what, 1);
    }

    pub(crate) fn count_many(&mut self, what: Figure, times: u64) {
        self.0[what as usize] += times;
    }

    /// Adds the counts of another history.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }

    /// True if everything that can happen did.
    #[must_use]
    pub fn covers_everything(&self) -> bool {
        self.0.iter().all(|count| *count > 0)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (count, name)) in self.0.iter().zip(NAMES).enumerate() {
            write!(f, "{}{count} {name}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
