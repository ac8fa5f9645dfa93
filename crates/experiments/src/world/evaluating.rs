//! Evaluation of global models on held-out examples, beside the devices' work.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use fedra_coordinator::storage::{RoundRecord, Storage};
use fedra_learning::metrics::ConfusionMatrix;
use fedra_learning::{LearningError, WeightsView, evaluate, safetensors};
use fedra_protocol::{Evaluation, Quality};

use super::{Round, World, WorldError};
use crate::server::ServerError;

/// A model that is being evaluated.
pub(super) struct Evaluating {
    round: u64,
    result: Receiver<Result<(Quality, Option<ConfusionMatrix>), LearningError>>,
}

impl World {
    /// Takes the rounds that the server has completed.
    pub(super) fn take_completed(&mut self) {
        while let Some(completed) = self.server.completed.pop_front() {
            let epsilon = self.epsilon(completed.record.round);
            let (record, at) = (completed.record, completed.at);
            self.last_completed = at;
            self.open.push_back(Round { record, at, quality: None, epsilon });
        }
    }

    /// Evaluates the models that an earlier run has left unevaluated, if they are kept. Returns
    /// the rounds that were made before.
    pub(crate) fn evaluate_pending(
        &mut self,
        storage: &Storage,
    ) -> Result<Vec<RoundRecord>, WorldError> {
        let history = Arc::clone(&self.server.view().history);
        let is_missing =
            |record: &&RoundRecord| record.quality.is_none() && record.client_quality.is_none();
        for record in history.iter().filter(is_missing) {
            if let Some(file) = storage.model(&self.task.id, &record.sha256)? {
                let trained =
                    safetensors::read(&self.task.model, &file).map_err(ServerError::from)?;
                self.server.to_evaluate.push_back((record.round, Arc::new(trained)));
            }
        }
        self.start_evaluations();
        while let Some(evaluating) = self.evaluating.pop_front() {
            self.collect(evaluating)?;
        }
        Ok(self.server.view().history.iter().filter(|record| record.round > 0).cloned().collect())
    }

    /// Starts the evaluation of new models beside the devices' work.
    pub(super) fn start_evaluations(&mut self) {
        while let Some((round, trained)) = self.server.to_evaluate.pop_front() {
            let Some(data) = self.held_out.clone() else { continue };
            let is_last = self.server.settings.plan.rounds == Some(round);
            let is_due = round > 0 && round.is_multiple_of(self.evaluate_every) || is_last;
            if !is_due && self.server.settings.gate.is_none() {
                continue;
            }
            let (spec, frozen) = (self.task.model.clone(), Arc::clone(&self.server.frozen));
            let (done, result) = sync_channel(1);
            self.pool.spawn_fifo(move || {
                let weights = WeightsView { trained: &trained, frozen: &frozen };
                let evaluated = evaluate(&spec, weights, &data, 1);
                // Fails only when the experiment has ended.
                let _ = done.send(evaluated.map(|of| (of.quality, of.confusion)));
            });
            self.evaluating.push_back(Evaluating { round, result });
        }
    }

    /// Waits for the evaluation of the oldest round that has not been told, if there is one,
    /// and tells the server.
    pub(super) fn collect_evaluations(&mut self) -> Result<(), WorldError> {
        let Some(oldest) = self.open.front().map(|open| open.record.round) else { return Ok(()) };
        while self.evaluating.front().is_some_and(|evaluating| evaluating.round <= oldest)
            && let Some(evaluating) = self.evaluating.pop_front()
        {
            self.collect(evaluating)?;
        }
        Ok(())
    }

    /// Waits for every evaluation, in no virtual time, if the task has a gate: its next round
    /// waits for the verdict.
    pub(super) fn pass_gate(&mut self) -> Result<(), WorldError> {
        while self.server.settings.gate.is_some()
            && let Some(evaluating) = self.evaluating.pop_front()
        {
            self.collect(evaluating)?;
            self.take_completed();
            self.start_evaluations();
        }
        Ok(())
    }

    /// Waits for an evaluation, and tells the server.
    fn collect(&mut self, Evaluating { round, result }: Evaluating) -> Result<(), WorldError> {
        let Ok(result) = result.recv() else { return Ok(()) };
        let (quality, confusion) = match result {
            Ok(evaluated) => evaluated,
            // The gate refuses the model.
            Err(LearningError::Diverged) if self.server.settings.gate.is_some() => {
                let sent = self.server.not_evaluated(round, self.now);
                self.post(sent);
                self.settle();
                return Ok(());
            }
            Err(source) => return Err(WorldError::Evaluation { round, source }),
        };
        if let Some(open) = self.open.iter_mut().find(|open| open.record.round == round) {
            open.quality = Some(quality);
        }
        let evaluation = Evaluation { round, quality };
        let sent = self.server.evaluated(evaluation, confusion.map(Arc::new), self.now)?;
        self.post(sent);
        self.settle();
        Ok(())
    }
}
