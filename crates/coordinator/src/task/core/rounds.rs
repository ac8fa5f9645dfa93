//! Way of a round through the core: what its opening asks for, what the writer has made
//! durable, and the model that is announced.

use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use fedra_learning::metrics::ConfusionMatrix;
use fedra_privacy_policy::DerivedPolicy;
use fedra_protocol::{Evaluation, Quality, RoundId, RoundPrivacy};
use rand::RngExt;

use super::Step;
use crate::messages::{Action, Order};
use crate::round::{Budget, ClientId, Eligibility, Event, Progress, RoundCounts, Stage};
use crate::settings::EvaluationRounds;
use crate::status::{HISTORY, Spent, control_ref, model_ref, steps_to_newest};
use crate::storage::{Debit, RoundRecord, StepRecord};
use crate::writer::{GlobalModel, Prepared, RoundFigures, WriterError, WriterJob};

impl Step<'_> {
    pub(super) fn prepared(&mut self, round: RoundId, stage: Stage, prepared: Prepared) {
        if let Some(debit) = &prepared.debit {
            self.debited(debit, round.round);
        }
        self.step(Event::Prepared(round, stage));
        let progress = self.core.rounds.progress();
        let Some(deadline) = progress.deadline.filter(|_| progress.round == round) else { return };
        let deadline_ms = self.now.until(deadline).as_millis() as u64;
        let task = &self.core.settings.id;
        tracing::info!(
            target: "fedra::events", event = "round-advanced",
            %task, %round, ?stage, deadline_ms, "round advanced"
        );
        for (client, request) in prepared.requests {
            let invitation = self.core.rounds.invitation(client, round);
            let group = self.group_of(round, invitation);
            let request = Arc::new(request);
            let order = Order::Asked { round: invitation, group, request, deadline };
            self.core.clients.notify(client, order);
        }
    }

    pub(super) fn finalized(&mut self, round: RoundId, done: Result<GlobalModel, WriterError>) {
        match done {
            Ok(model) => {
                self.core.ready = Some(model);
                self.stored(round);
            }
            Err(error) => {
                let task = &self.core.settings.id;
                tracing::error!(%task, %round, %error, "the round's model was not stored");
                self.core.counters.give_back(self.core.traffic);
                self.step(match error {
                    WriterError::NotFinite(_) => Event::NotFinite(round),
                    _ => Event::NotStored(round),
                });
            }
        }
    }

    /// A debit is durable: what it leaves of the budget is known from here on. `next` is the
    /// first round that is not stored.
    pub(super) fn debited(&mut self, debit: &Debit, next: u64) {
        let core = &mut *self.core;
        let Some(ledger) = &mut core.ledger else { return };
        ledger.record(debit);
        if let Some(spent) = &mut core.spent {
            *spent = Spent {
                epsilon: ledger.spent_epsilon(),
                participations: ledger.most_participations(),
                debits: ledger.debits(),
                subjects: ledger.subjects(),
                ..*spent
            };
            core.metrics.spent(spent.epsilon);
        }
        let budget = ledger.budget();
        let counted = debit.subjects.iter().map(|own| (own, ledger.eligibility(own, next)));
        let changed = counted.filter(|(_, eligibility)| *eligibility != Eligibility::Free);
        let changed = changed.filter_map(|(s, now)| Some((core.clients.of_subject(s)?, now)));
        for (client, eligibility) in changed.collect::<Vec<_>>() {
            self.step(Event::EligibilityChanged(client, eligibility));
        }
        if budget == Budget::Spent {
            let task = &self.core.settings.id;
            tracing::info!(%task, "the privacy budget has no room for another round");
            self.step(Event::BudgetSpent);
        }
    }

    pub(super) fn open(&mut self, round: RoundId) {
        let Progress { cohort, deadline, .. } = self.core.rounds.progress();
        let deadline_ms = deadline.map(|deadline| self.now.until(deadline).as_millis() as u64);
        let task = &self.core.settings.id;
        tracing::info!(
            target: "fedra::events", event = "round-opened",
            %task, %round, cohort, deadline_ms, "round opened"
        );
        self.core.opened = self.now;
        // What fails while a masking group is at work is told of its round.
        if self.core.group.is_none() {
            let members = self.core.rounds.members();
            self.core.attempts.open(members);
        }
        self.core.round_privacy = self.round_numbers(round);
        if !self.core.settings.plan.forms_groups() {
            self.write(WriterJob::Open(round, self.core.round_privacy));
        }
        let absent = self.core.clients.absent();
        let were_absent = mem::replace(&mut self.core.were_absent, absent.clone());
        // In buffered rounds many may open while a client is away for a moment.
        let busy: BTreeSet<_> = self.core.rounds.members().into_iter().collect();
        let gone = |client: &ClientId| absent.contains(client) && !busy.contains(client);
        for client in were_absent.into_iter().filter(gone) {
            let change = self.core.clients.forget(client);
            self.follow(change);
        }
    }

    /// Numbers of a round under a privacy policy, drawn anew.
    pub(super) fn round_numbers(&mut self, round: RoundId) -> Option<RoundPrivacy> {
        let Spent { clipping_norm, .. } = self.core.spent?;
        let evaluation = self.core.settings.evaluation(round.round);
        let fixed = evaluation.and_then(EvaluationRounds::derived).map(DerivedPolicy::policy);
        let fixed = fixed.map(|policy| policy.clipping_norm);
        let clipping_norm = fixed.unwrap_or(clipping_norm);
        Some(RoundPrivacy { clipping_norm, rotation: self.rng.random() })
    }

    pub(super) fn finalize(&mut self, round: RoundId, counts: RoundCounts) {
        self.core.attempts.close(round);
        let opened = self.end_group(round).unwrap_or(self.core.opened);
        let RoundCounts { cohort, reported, weight } = counts;
        self.core.traffic = self.core.counters.take_traffic();
        let figures = RoundFigures {
            round: round.round,
            attempt: round.attempt,
            cohort: cohort as u32,
            reports: reported as u32,
            weight,
            elapsed: opened.until(self.now),
            traffic: self.core.traffic,
            clipping_norm: self.core.spent.map(|spent| spent.clipping_norm),
        };
        self.write(WriterJob::Finalize(figures));
    }

    /// The model is durable: from here on it may be seen.
    pub(super) fn complete(&mut self) {
        let Some(model) = self.core.ready.take() else { return };
        self.note_completed(&model.record);
        match model.record.client_quality {
            Some(quality) => self.evaluated_by_clients(model.record.round, quality),
            // Before a gate it has been evaluated.
            None if model.record.quality.is_some() => {}
            None => self.evaluate(&model),
        }
        self.announce(model);
    }

    /// Notes that a round is complete.
    pub(super) fn note_completed(&mut self, record: &RoundRecord) {
        let round = RoundId { round: record.round, attempt: record.attempt };
        let failed = self.core.attempts.complete(round);
        tracing::info!(
            target: "fedra::events",
            event = "round-completed",
            task = %self.core.settings.id,
            %round,
            reports = record.reports,
            cohort = record.cohort,
            weight = record.weight,
            seconds = record.seconds,
            bytes_up = record.bytes_up,
            bytes_down = record.bytes_down,
            model = %record.sha256,
            failed,
            "round completed"
        );
        let took = Duration::try_from_secs_f64(record.seconds).unwrap_or_default();
        self.core.metrics.completed(record.round, took);
    }

    /// The clients have evaluated the newest model.
    fn evaluated_by_clients(&mut self, round: u64, quality: Quality) {
        let core = &mut *self.core;
        let (task, Quality { accuracy, loss, .. }) = (&core.settings.id, quality);
        tracing::info!(%task, round, accuracy, loss, "model evaluated by the clients");
        let evaluation = Evaluation { round, quality };
        core.client_evaluation = Some(evaluation);
        core.metrics.evaluated_by_clients(&evaluation);
    }

    /// Makes a durable model the newest.
    pub(super) fn announce(&mut self, model: GlobalModel) {
        let GlobalModel { record, file, step, control, .. } = model;
        let core = &mut *self.core;
        core.metrics.newest(record.round);
        core.model = model_ref(&record);
        core.control = control_ref(&record);
        if let (Some(spent), Some(clipping_norm)) = (&mut core.spent, record.clipping_norm) {
            spent.clipping_norm = clipping_norm;
        }
        if let Some((StepRecord { sha256, .. }, file)) = record.step.zip(step) {
            core.actions.push(Action::ServeStep(sha256, file));
        }
        if let Some((control, file)) = record.control.zip(control) {
            core.actions.push(Action::ServeControl(control.sha256, file));
        }
        core.actions.push(Action::Serve(record.sha256, file));
        self.remember(record);
        let core = &mut *self.core;
        core.steps = steps_to_newest(&core.settings, &core.history);
    }

    /// Adds a durable round to those that are shown.
    pub(super) fn remember(&mut self, record: RoundRecord) {
        let history = Arc::make_mut(&mut self.core.history);
        history.push_back(record);
        while history.len() > HISTORY {
            history.pop_front();
        }
    }

    /// Has a durable model evaluated.
    pub(super) fn evaluate(&mut self, model: &GlobalModel) {
        let GlobalModel { record, parameters, .. } = model;
        self.core.actions.push(Action::Evaluate(record.round, Arc::clone(parameters)));
    }

    pub(super) fn evaluated(
        &mut self,
        evaluation: Evaluation,
        confusion: Option<Arc<ConfusionMatrix>>,
    ) {
        let Evaluation { round, quality } = evaluation;
        let core = &mut *self.core;
        let task = &core.settings.id;
        let Quality { accuracy, loss, .. } = quality;
        tracing::info!(%task, round, accuracy, loss, "model evaluated");
        if !self.passes(round, Some(quality)) {
            return;
        }
        let core = &mut *self.core;
        let history = Arc::make_mut(&mut core.history);
        if let Some(record) = history.iter_mut().rev().find(|record| record.round == round) {
            record.quality = Some(quality);
        }
        if core.evaluation.is_none_or(|newest| newest.round <= round) {
            core.evaluation = Some(evaluation);
            core.confusion = confusion;
            core.metrics.evaluated(&evaluation);
        }
    }
}
