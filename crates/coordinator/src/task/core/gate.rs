//! Gate of a task: a durable model waits until it is judged, and one that is refused is
//! replaced by the last kept one before any client trains from it.

use fedra_protocol::{Quality, RoundId};

use super::{Step, TaskCore};
use crate::messages::Action;
use crate::round::{Event, Operation, Standing};
use crate::status::{Health, HealthState};
use crate::storage::{GateRefusal, LossSource};
use crate::writer::{GlobalModel, RollBackError, WriterJob};

impl TaskCore {
    /// Next thing to do about the model that is ready, if the gate has a say in it and does
    /// not let it pass at once.
    pub(super) fn on_unjudged(&self) -> Option<Action> {
        let model = self.ready.as_ref()?;
        let gate = self.settings.gate.filter(|gate| gate.judges(&model.record))?;
        let GlobalModel { record, parameters, .. } = model;
        if gate.source == LossSource::Server && gate.loss(record).is_none() {
            return Some(Action::Evaluate(record.round, parameters.clone()));
        }
        let refusal = gate.refusal(record, self.history.iter())?;
        Some(Action::Write(Box::new(WriterJob::Refuse(gate, refusal))))
    }

    /// Health with what the gate has to say of it.
    pub(super) fn with_gate(&self, health: Health) -> Health {
        if let Some(problem) = &self.stuck {
            let reason = Some(problem.clone());
            return Health { state: HealthState::Failing, reason, ..health };
        }
        let refusal = self.history.back().and_then(|newest| newest.refusal);
        let gate = self.settings.gate.filter(|_| self.rounds.standing() == Standing::Paused);
        match gate.zip(refusal) {
            Some((gate, refusal)) if gate.pauses(&refusal) => {
                let times = match refusal.in_a_row {
                    1 => "after a roll-back".to_owned(),
                    many => format!("after {many} roll-backs in a row"),
                };
                Health { reason: Some(format!("paused by the gate {times}: {refusal}")), ..health }
            }
            _ => health,
        }
    }
}

impl Step<'_> {
    /// The model that is ready is durable. It is announced, unless the gate has to judge it.
    pub(super) fn stored(&mut self, round: RoundId) {
        match self.core.on_unjudged() {
            None => self.step(Event::Stored(round)),
            Some(action) => self.core.actions.push(action),
        }
    }

    /// Judges the model of a round if the gate has waited for its evaluation; false if it is
    /// refused.
    pub(super) fn passes(&mut self, round: u64, quality: Option<Quality>) -> bool {
        match &mut self.core.ready {
            Some(model) if model.record.round == round => model.record.quality = quality,
            _ => return true,
        }
        self.judge();
        self.core.ready.is_none()
    }

    pub(super) fn not_evaluated(&mut self, round: u64) {
        self.passes(round, None);
    }

    /// Announces the model that is ready, or has the last kept one take its place.
    fn judge(&mut self) {
        let Some((gate, model)) = self.core.settings.gate.zip(self.core.ready.as_ref()) else {
            return;
        };
        let record = &model.record;
        match gate.refusal(record, self.core.history.iter()) {
            None => {
                self.step(Event::Stored(RoundId { round: record.round, attempt: record.attempt }));
            }
            Some(refusal) => self.write(WriterJob::Refuse(gate, refusal)),
        }
    }

    /// The last kept model has taken the place of one that was refused, or could not.
    pub(super) fn refused(
        &mut self,
        refusal: &GateRefusal,
        done: Result<GlobalModel, RollBackError>,
    ) {
        let task = &self.core.settings.id;
        let GateRefusal { round, loss, limit, in_a_row } = *refusal;
        // The operator may have gone back in the meantime.
        if self.core.ready.as_ref().is_none_or(|model| model.record.round != round) {
            return;
        }
        let model = match done {
            Ok(model) => model,
            Err(error) => {
                tracing::error!(%task, round, %error, "a refused model could not be rolled back");
                self.core.stuck = Some(format!(
                    "{refusal}, and the model before it cannot be restored: {error}. Roll back to \
                     another round, or mend the store and start the server again"
                ));
                self.core.assessment = None;
                return;
            }
        };
        let (to, restored) = (model.record.restored, model.record.round);
        tracing::warn!(
            target: "fedra::events", event = "model-refused",
            %task, round, loss, limit, in_a_row, to, restored, reason = %refusal,
            "the gate has refused the model, and the last kept one is in its place"
        );
        self.core.metrics.refused();
        if self.core.settings.gate.is_some_and(|gate| gate.pauses(refusal)) {
            tracing::warn!(%task, in_a_row, "the gate has paused the task");
            self.step(Event::Operated(Operation::Pause));
            self.core.metrics.standing(self.core.rounds.standing());
        }
        self.go_back(model);
    }

    /// Remembers the model that is ready, if there is one, without announcing it: an earlier
    /// one takes its place.
    pub(super) fn pass_over(&mut self) {
        self.core.stuck = None;
        if let Some(GlobalModel { record, .. }) = self.core.ready.take() {
            self.note_completed(&record);
            self.remember(record);
        }
    }
}
