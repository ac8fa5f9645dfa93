//! Evaluation of a model on examples of this device.

use std::sync::Arc;

use fedra_data::Dataset;
use fedra_learning::{ScoreSums, Weights, score};
use fedra_protocol::{ModelSpec, Scores};

use super::{LocalWork, News, WorkError};
use crate::events::ClientEvent;
use crate::failure::Failure;
use crate::outgoing::{Learned, RoundJob};

/// Examples that are scored at a time: in a browser the worker listens in between.
const SCORED_AT_ONCE: u32 = 256;

impl LocalWork {
    /// Evaluates the model on the examples that are held out. The scores take the place of
    /// an update.
    pub(super) async fn evaluate(
        &self,
        job: &RoundJob,
        global: &Weights,
        tell: &impl Fn(News),
    ) -> Result<Learned, WorkError> {
        let failed = "the round does not fit the task";
        let off = || WorkError::new(Failure::PrivacyFailed, failed);
        let evaluation = job.task.client_evaluation.ok_or_else(off)?;
        let data = self.data_for(&job.task)?;
        let held_out = data.held_out().ok_or_else(off)?;
        let scores = self.scores(&job.task.model, global, held_out).await?;
        let examples = held_out.len() as u64;
        tell(News::Tell(ClientEvent::evaluation(job.assignment.round, examples, &scores)));
        let values = match job.privacy {
            None => scores.plain(),
            Some(_) => scores.protected(evaluation.loss_bound()),
        };
        Ok(Learned { values, examples })
    }

    /// Scores of a model on examples of this device.
    pub(super) async fn scores(
        &self,
        spec: &ModelSpec,
        weights: &Weights,
        data: &Arc<Dataset>,
    ) -> Result<Scores, WorkError> {
        let mut sums = ScoreSums::default();
        let examples = data.len() as u32;
        for first in (0..examples).step_by(SCORED_AT_ONCE as usize) {
            let (spec, weights, data) = (spec.clone(), weights.clone(), data.clone());
            let piece = first..examples.min(first.saturating_add(SCORED_AT_ONCE));
            let scoring = self.slots.run(move || score(&spec, &weights, &data, piece));
            let ended = |error| WorkError::new(Failure::TrainingFailed, error);
            sums.add(scoring.await.map_err(ended)??);
        }
        Ok(sums.scores())
    }
}
