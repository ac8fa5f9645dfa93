//! Health of a task: whether its attempts make rounds, and if not, why.
//!
//! Pure bookkeeping of what the round machine decides. It decides nothing itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use fedra_protocol::{RoundId, RoundPhase};

use crate::round::{AbandonReason, ClientId, Progress, Time};
use crate::status::{Failures, Health, HealthState, InvitationFailure};

/// Clients that may be invited, and the least to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Supply {
    pub available: usize,
    /// Clients that are left out for a while.
    pub left_out: usize,
    pub needed: usize,
}

/// Inputs of the health, cheap to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Assessment {
    state: HealthState,
    since: Time,
    attempts: u32,
    /// Supply of clients, if they are lacking.
    supply: Option<Supply>,
    rest: Option<&'static str>,
}

impl Assessment {
    /// True if no more than counts of clients has changed.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.state, self.attempts) == (other.state, other.attempts)
    }
}

/// Clients invited into an attempt, each with its failure if there was one.
type Invited = BTreeMap<ClientId, Option<InvitationFailure>>;

/// Attempts of a task: the one under way, and what became of those before.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    under_way: Invited,
    /// The round whose model is being stored.
    storing: Option<(RoundId, Invited)>,
    total: Failures,
    /// Attempts in a row that came to nothing, and when the first of them ended.
    in_vain: u32,
    first_in_vain: Time,
    /// Reason why the last of them did.
    why: Arc<str>,
    /// True if the clients of the last of them were only not there any more.
    had_departures_only: bool,
    /// The state, and since when.
    state: Option<(HealthState, Time)>,
}

impl Attempts {
    /// A round opens, with clients that may be at work already.
    pub(super) fn open(&mut self, members: impl IntoIterator<Item = ClientId>) {
        self.under_way = members.into_iter().map(|client| (client, None)).collect();
    }

    /// A client is invited into the round under way.
    pub(super) fn invite(&mut self, client: ClientId) {
        self.under_way.insert(client, None);
    }

    /// An invitation of the client has come to nothing.
    pub(super) fn fail(&mut self, client: ClientId, failure: InvitationFailure) {
        self.total.count(failure);
        if let Some(invited) = self.under_way.get_mut(&client) {
            *invited = Some(failure);
        }
    }

    /// The round's reports are in.
    pub(super) fn close(&mut self, round: RoundId) {
        self.storing = Some((round, std::mem::take(&mut self.under_way)));
    }

    /// The round is durable. What to say about those of its clients that failed.
    pub(super) fn complete(&mut self, round: RoundId) -> Option<String> {
        self.in_vain = 0;
        let (_, invited) = self.storing.take_if(|(storing, _)| *storing == round)?;
        let failures = failures(&invited);
        (!failures.is_empty()).then(|| failures.describe(invited.len()))
    }

    /// An attempt has come to nothing. Why, for an operator.
    pub(super) fn abandon(&mut self, round: RoundId, reason: AbandonReason, now: Time) -> Arc<str> {
        let stored = self.storing.take_if(|(storing, _)| *storing == round);
        let invited =
            stored.map_or_else(|| std::mem::take(&mut self.under_way), |(_, invited)| invited);
        let failures = failures(&invited);
        let told = failures.describe(invited.len());
        let why: Arc<str> = match (outcome(reason), told.as_str()) {
            (words, "") => words.into(),
            (_, told) if reason == AbandonReason::TooFewReports => told.into(),
            (words, told) => format!("{words}. {told}").into(),
        };
        if reason.is_failure() {
            self.had_departures_only =
                reason == AbandonReason::TooFewReports && failures.are_departures();
            self.count_in_vain(Arc::clone(&why), now);
        }
        why
    }

    /// A buffered round goes on as its next attempt, because all that were invited
    /// have failed. Why, for an operator.
    pub(super) fn renew(&mut self, now: Time) -> Arc<str> {
        let failures = failures(&self.under_way);
        let why: Arc<str> = failures.describe(self.under_way.len()).into();
        self.had_departures_only = failures.are_departures();
        self.under_way.clear();
        self.count_in_vain(Arc::clone(&why), now);
        why
    }

    fn count_in_vain(&mut self, why: Arc<str>, now: Time) {
        if self.in_vain == 0 {
            self.first_in_vain = now;
        }
        self.in_vain = self.in_vain.saturating_add(1);
        self.why = why;
    }

    /// The operator has put an earlier model in place: what failed with the last one
    /// says nothing of it.
    pub(super) fn restart(&mut self) {
        self.in_vain = 0;
    }

    /// Judges the task. `supply` is asked only where it matters.
    pub(super) fn assess(
        &mut self,
        progress: &Progress,
        supply: impl FnOnce() -> Supply,
        now: Time,
    ) -> Assessment {
        let rest = match progress.phase {
            RoundPhase::Paused => Some("the task is paused"),
            RoundPhase::Finished => Some("the task is finished"),
            _ => None,
        };
        // In buffered rounds the phase stays when the last client goes.
        let is_idle = match progress.phase {
            RoundPhase::Selecting => true,
            RoundPhase::Collecting => progress.cohort == progress.reported + progress.left,
            _ => false,
        };
        let supply = is_idle.then(supply).filter(|supply| supply.available < supply.needed);
        let state = match (rest, supply) {
            (Some(_), _) => HealthState::Ok,
            (None, None) if self.in_vain > 0 => HealthState::Failing,
            (None, Some(_)) if self.in_vain > 0 && !self.had_departures_only => {
                HealthState::Failing
            }
            (None, Some(_)) => HealthState::Waiting,
            (None, None) => HealthState::Ok,
        };
        let since = match (state, self.state) {
            (HealthState::Failing, _) => self.first_in_vain,
            (_, Some((known, since))) if known == state => since,
            _ => now,
        };
        self.state = Some((state, since));
        let attempts = if state == HealthState::Failing { self.in_vain } else { 0 };
        Assessment { state, since, attempts, supply, rest }
    }

    /// The health that follows from an assessment.
    pub(super) fn health(&self, assessment: Assessment) -> Health {
        let Assessment { state, since, attempts, supply, rest } = assessment;
        let lacking = supply.map(|supply| supply.to_string());
        let reason = match (state, lacking) {
            (HealthState::Ok, _) => rest.map(str::to_owned),
            (HealthState::Waiting, lacking) => lacking,
            (HealthState::Failing, None) => Some(self.why.to_string()),
            (HealthState::Failing, Some(lacking)) => Some(format!("{}. Now {lacking}", self.why)),
        };
        Health { state, since, attempts, reason, failures: self.total.clone() }
    }
}

impl std::fmt::Display for Supply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { available, left_out, needed } = *self;
        let are = if needed == 1 { "is" } else { "are" };
        match available {
            0 => write!(f, "no client is available, {needed} {are} needed"),
            1 => write!(f, "1 client is available, {needed} {are} needed"),
            _ => write!(f, "{available} clients are available, {needed} {are} needed"),
        }?;
        match left_out {
            0 => Ok(()),
            1 => f.write_str("; 1 is left out for a while"),
            _ => write!(f, "; {left_out} are left out for a while"),
        }
    }
}

fn failures(invited: &Invited) -> Failures {
    invited.values().copied().flatten().collect()
}

/// Outcome of an attempt, as a sentence without a full stop.
fn outcome(reason: AbandonReason) -> &'static str {
    match reason {
        AbandonReason::TooFewReports => "too few updates came",
        AbandonReason::TooFewSurvivors => {
            "too few clients stayed until secure aggregation was done"
        }
        AbandonReason::NotPrepared => "a step could not be prepared; the log says why",
        AbandonReason::NotFinite => {
            "the new model would have values that are not finite; a smaller \
             server_optimizer.learning_rate or training.learning_rate may help"
        }
        AbandonReason::NotStored => "the new model could not be stored; the log says why",
        AbandonReason::BudgetSpent => "the privacy budget has no room for another round",
        AbandonReason::Stopped => "the operator stopped the task",
        AbandonReason::RolledBack => "the task went back to an earlier model",
    }
}

#[cfg(test)]
mod tests;
