//! Privacy ledger of a task: counts of the debits that the store holds.

use std::collections::HashMap;
use std::sync::Arc;

use fedra_privacy_policy::DerivedPolicy;
use fedra_protocol::{RoundId, SubjectId};

use crate::round::{Budget, Eligibility};
use crate::settings::{Counting, PrivacySettings};
use crate::storage::Debit;

/// The count of a task's debits.
#[derive(Debug)]
pub struct Ledger {
    privacy: Arc<DerivedPolicy>,
    counting: Counting,
    debits: u32,
    /// Round of the last entry.
    last: Option<RoundId>,
    participations: HashMap<SubjectId, Participations>,
}

/// Participations of a subject.
#[derive(Debug, Default)]
struct Participations {
    count: u32,
    /// Round of the last one.
    last: u64,
}

impl Ledger {
    /// The ledger with the entries that the store has.
    pub fn new(settings: &PrivacySettings, debits: &[Debit]) -> Self {
        let mut ledger = Self {
            privacy: Arc::clone(&settings.derived),
            counting: settings.counting,
            debits: 0,
            last: None,
            participations: HashMap::new(),
        };
        debits.iter().for_each(|debit| ledger.record(debit));
        ledger
    }

    /// Counts an entry that is durable.
    pub fn record(&mut self, debit: &Debit) {
        self.debits = self.debits.saturating_add(1);
        self.last = Some(RoundId { round: debit.round, attempt: debit.attempt });
        for subject in &debit.subjects {
            let Participations { count, last } = self.participations.entry(*subject).or_default();
            *count = count.saturating_add(1);
            *last = debit.round.max(*last);
        }
    }

    /// The attempt at `round` that has no entry yet: no two have the same number,
    /// not even across a restart.
    pub fn next_attempt(&self, round: u64) -> u32 {
        match self.last {
            Some(last) if last.round == round => last.attempt.saturating_add(1),
            _ => 0,
        }
    }

    /// State of the budget: the task may begin another round, or not.
    pub fn budget(&self) -> Budget {
        let granted = self.privacy.policy().max_participations;
        match self.counting {
            Counting::Rounds if self.debits >= granted => Budget::Spent,
            Counting::Rounds | Counting::Subjects => Budget::Left,
        }
    }

    /// Right of the subject to take part in `round`, which is the next one that is not stored,
    /// and the round from which it has it again. An attempt at this very round has come to nothing: the subject need not
    /// rest after it.
    pub fn eligibility(&self, subject: &SubjectId, round: u64) -> Eligibility {
        let granted = self.privacy.policy().max_participations;
        let Some(own) = self.participations.get(subject) else { return Eligibility::Free };
        let until = own.last.saturating_add(self.privacy.separation().into());
        if own.count >= granted {
            Eligibility::Spent
        } else if own.last < round && round < until {
            Eligibility::Rests(until)
        } else {
            Eligibility::Free
        }
    }

    /// Participations of the subject that has most of them; every round if it is
    /// rounds that are counted.
    pub fn most_participations(&self) -> u32 {
        match self.counting {
            Counting::Rounds => self.debits,
            Counting::Subjects => {
                self.participations.values().map(|own| own.count).max().unwrap_or(0)
            }
        }
    }

    /// Epsilon of that subject.
    pub fn spent_epsilon(&self) -> f64 {
        self.privacy.epsilon_after(self.most_participations())
    }

    /// Entries so far.
    pub fn debits(&self) -> u32 {
        self.debits
    }

    /// Subjects that have an entry.
    pub fn subjects(&self) -> usize {
        self.participations.len()
    }
}
