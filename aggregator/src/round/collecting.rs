//! Collecting: the cohort trains and reports. The round closes at the report
//! goal, when nobody is left to wait for, or at the deadline.

use std::collections::{BTreeMap, BTreeSet};

use fedra_aggregation::MAX_TOTAL_WEIGHT;
use fedra_protocol::{Availability, RoundId, UpdateFault, UpdateVerdict};

use super::ended::{AbandonReason, Abandoned};
use super::finalizing::Finalizing;
use super::{ClientId, Context, Effect, Event, Phase, Progress, RoundPlan, Time};

/// Where an invited client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Expected to report.
    Working,
    /// Its report was accepted.
    Reported,
    /// Left, declined, paused or was refused: nothing more is expected.
    Gone,
}

/// A round whose cohort is at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Collecting {
    round: RoundId,
    deadline: Time,
    cohort: BTreeMap<ClientId, Part>,
    /// Clients of the cohort at work.
    working: usize,
    reported: usize,
    weight: u64,
}

impl Collecting {
    pub(super) fn new(round: RoundId, cohort: BTreeSet<ClientId>, deadline: Time) -> Self {
        let cohort: BTreeMap<_, _> = cohort.into_iter().map(|c| (c, Part::Working)).collect();
        Self { round, deadline, working: cohort.len(), cohort, reported: 0, weight: 0 }
    }

    pub(super) fn round(&self) -> RoundId {
        self.round
    }

    pub(super) fn deadline(&self) -> Time {
        self.deadline
    }

    pub(super) fn progress(&self, base: Progress) -> Progress {
        Progress {
            cohort: self.cohort.len(),
            reported: self.reported,
            left: self.cohort.len() - self.working - self.reported,
            weight: self.weight,
            deadline: Some(self.deadline),
            ..base
        }
    }

    pub(super) fn handle(mut self, event: Event) -> Self {
        match event {
            Event::Left(client) | Event::AvailabilityChanged(client, Availability::Paused) => {
                self.lose(client);
            }
            Event::Declined(client, round) | Event::Refused(client, round)
                if round == self.round =>
            {
                self.lose(client);
            }
            _ => {}
        }
        self
    }

    /// Nothing more is expected from the client. What it has reported counts.
    fn lose(&mut self, client: ClientId) {
        if let Some(part @ Part::Working) = self.cohort.get_mut(&client) {
            *part = Part::Gone;
            self.working -= 1;
        }
    }

    /// Judges a report for this round. A rejected one ends the client's part.
    pub(super) fn report(
        mut self,
        client: ClientId,
        weight: u64,
        plan: &RoundPlan,
    ) -> (Self, UpdateVerdict) {
        let verdict = match self.cohort.get(&client) {
            None | Some(Part::Gone) => UpdateVerdict::Rejected(UpdateFault::NotInCohort),
            Some(Part::Reported) => UpdateVerdict::Rejected(UpdateFault::Duplicate),
            Some(Part::Working) if !self.has_room_for(weight, plan) => {
                self.lose(client);
                UpdateVerdict::Rejected(UpdateFault::WeightOutOfRange)
            }
            Some(Part::Working) => {
                self.cohort.insert(client, Part::Reported);
                self.working -= 1;
                self.reported += 1;
                self.weight += weight;
                UpdateVerdict::Accepted
            }
        };
        (self, verdict)
    }

    fn has_room_for(&self, weight: u64, plan: &RoundPlan) -> bool {
        (1..=plan.max_weight).contains(&weight) && weight <= MAX_TOTAL_WEIGHT - self.weight
    }

    /// Closes the round if it is time to.
    pub(super) fn review(self, context: &mut Context<'_>) -> Result<Phase, Self> {
        let over = self.reported >= context.plan.report_goal
            || self.working == 0
            || context.now >= self.deadline;
        let hopeless = self.reported + self.working < context.plan.minimum_reports;
        if !over && !hopeless {
            return Err(self);
        }
        let late = self.cohort.iter().filter(|(_, part)| **part == Part::Working);
        context.effects.extend(late.map(|(client, _)| Effect::Dismiss(*client, self.round)));
        if self.reported < context.plan.minimum_reports {
            let reason = AbandonReason::TooFewReports;
            return Ok(Phase::Abandoned(Abandoned::new(self.round, reason)));
        }
        context.effects.push(Effect::Finalize(self.round));
        let progress = (self.cohort.len(), self.reported, self.weight);
        Ok(Phase::Finalizing(Finalizing::new(self.round, progress)))
    }
}
