//! A model of this device's own: the newest global one, whose last layer is trained further
//! on the device's data. It never leaves the device.

use std::rc::Rc;
use std::sync::Arc;

use fedra_learning::{LocalTrainer, Weights};
use fedra_protocol::{LocalTraining, ModelSpec, Scores};
use serde::Serialize;

use super::{GlobalModel, LocalWork};
use crate::codes::CallFault;
use crate::devices::Trainer;
use crate::failure::Failure;
use crate::predict::{Features, Outputs, PredictError};

/// A model of this device's own.
#[derive(Debug)]
pub(super) struct PersonalModel {
    /// The task's model, of which the last layer with parameters is trained.
    pub spec: ModelSpec,
    pub weights: Weights,
}

/// Result of a personalisation: both models on examples that neither was trained on here.
///
/// The global model may have been trained on them where the task holds nothing out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Personalization {
    /// Examples that the personal model was trained on.
    pub examples: u32,
    /// Examples that both are scored on.
    pub held_out: u32,
    /// Scores of the newest global model.
    pub global: ModelScores,
    /// Scores of the personal model.
    pub personal: ModelScores,
}

/// Scores of a model on examples of this device.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ModelScores {
    /// Mean loss.
    pub loss: f64,
    /// Share of right answers, 0 to 1; absent for a regression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
}

impl From<Scores> for ModelScores {
    fn from(Scores { loss, accuracy }: Scores) -> Self {
        Self { loss, accuracy }
    }
}

impl LocalWork {
    /// Trains the last layer of `model` on the local examples, on the CPU, and keeps the
    /// result in place of an earlier one.
    pub async fn personalize(
        &self,
        model: &GlobalModel,
        plan: &LocalTraining,
    ) -> Result<Personalization, PredictError> {
        let misfit = |reason: &str| PredictError::new(Failure::BadDataset, reason);
        let data = self.data().ok_or_else(|| misfit("there is no data to train on"))?;
        let (train, held_out) = data.divided();
        let global = self.weights_for_a_call(model).await?;
        let spec = model.spec.with_last_layer_trained();
        let frozen = global.divided_as(&model.spec, &spec)?;
        let trainer = LocalTrainer::new(&spec, &frozen, train.clone(), plan)?;
        let failed =
            |error: &dyn ToString| PredictError::new(Failure::TrainingFailed, error.to_string());
        let training = self.slots.train(Trainer::Cpu(Box::new(trainer)), |_| {});
        let trained = Arc::new(training.await.map_err(|error| failed(&error))?);
        let weights = Weights { trained, frozen: frozen.frozen };
        let result = Personalization {
            examples: train.len() as u32,
            held_out: held_out.len() as u32,
            global: self.scores(&model.spec, &global, &held_out).await?.into(),
            personal: self.scores(&spec, &weights, &held_out).await?.into(),
        };
        *self.personal.borrow_mut() = Some(Rc::new(PersonalModel { spec, weights }));
        Ok(result)
    }

    /// Hands on the probabilities (or values) of the personal model for `features`.
    pub async fn predict_personal(
        &self,
        features: &(impl Features + ?Sized),
        outputs: &mut impl Outputs,
    ) -> Result<(), PredictError> {
        let model = self.personal.borrow().clone().ok_or_else(|| {
            let message = "there is no personal model yet: call personalize first";
            PredictError::new(CallFault::NoModel, message)
        })?;
        self.predict_with(&model.spec, &model.weights, features, outputs).await
    }
}
