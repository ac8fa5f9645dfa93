//! Point from which a task's next round goes on: the newest parameters, the state of the
//! server optimizer beside them, what the steps of the model have left out, and the control
//! variate of the server.

use std::sync::Arc;

use bytes::Bytes;
use fedra_aggregation::{ApplyError, OptimizerState, StateError, Step, control};
use fedra_learning::safetensors::{self, ModelFileError};
use fedra_protocol::RoundId;
use rand::{CryptoRng, RngExt};
use thiserror::Error;

use super::residual::{Residual, ResidualError};
use crate::settings::TaskSettings;
use crate::storage::{CheckpointFiles, ControlFile};

/// Damage of a checkpoint's files that was there before they got their hashes.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The model is not one of this task.
    #[error(transparent)]
    Model(#[from] ModelFileError),
    /// The state of the server optimizer is not one of this task.
    #[error("the server optimizer's state: {0}")]
    State(#[from] StateError),
    /// The residual of the steps is not one of this task.
    #[error(transparent)]
    Residual(#[from] ResidualError),
    /// The control variate is not one of this task.
    #[error("the control variate: {0}")]
    Control(ModelFileError),
}

/// Parameters of the newest model, with the optimizer's state after its round, the residual of
/// its steps and the control variate.
#[derive(Debug, Clone)]
pub struct Position {
    /// The parameters, in the order of the model.
    pub parameters: Arc<Vec<f32>>,
    /// The state.
    pub state: OptimizerState,
    /// The residual, if models are made by steps.
    pub residual: Residual,
    /// Control variate of the server, after a round with variates.
    pub control: Option<Control>,
}

/// Control variate of the server.
#[derive(Debug, Clone)]
pub struct Control {
    /// First round that it is made of.
    pub since: u64,
    /// Its values, in the order of the model.
    pub values: Arc<Vec<f32>>,
}

/// A round's mean update, with what else the next point follows from.
#[derive(Debug, Clone, Copy)]
pub(super) struct MeanUpdate<'a> {
    /// The round.
    pub round: u64,
    /// The mean, one value a parameter.
    pub mean: &'a [f64],
    /// Updates that it is over.
    pub updates: u32,
}

impl Position {
    /// Point of a checkpoint. A state that the task's optimizer does not take is left
    /// behind with a warning: the optimizer then begins anew. So is the residual of a task
    /// whose models travel whole from now on.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] if a file is not one of this task.
    pub fn of(settings: &TaskSettings, files: &CheckpointFiles) -> Result<Self, CheckpointError> {
        let parameters = safetensors::read(&settings.model, &files.model)?;
        let state = match &files.optimizer_state {
            None => OptimizerState::Empty,
            Some(file) => OptimizerState::decode(file, parameters.len())?,
        };
        let state = if settings.optimizer.takes(&state) {
            state
        } else {
            let (task, of) = (&settings.id, state.optimizer().unwrap_or_default());
            tracing::warn!(%task, of, "the stored state is of another server optimizer: left behind");
            OptimizerState::Empty
        };
        let residual = match (&files.residual, &settings.model_codec) {
            (None, _) => Residual::default(),
            (Some(file), Some(_)) => Residual::decode(file, parameters.len())?,
            (Some(_), None) => {
                let task = &settings.id;
                tracing::warn!(%task, "the residual of the models' steps is left behind");
                Residual::default()
            }
        };
        let control = files.control.as_ref().map(|ControlFile { since, file }| {
            let values = safetensors::read(&settings.model, file);
            let values = values.map_err(CheckpointError::Control)?;
            Ok::<_, CheckpointError>(Control { since: *since, values: Arc::new(values) })
        });
        let control = control.transpose()?;
        Ok(Self { parameters: Arc::new(parameters), state, residual, control })
    }

    /// The point after a round's mean update, and the step that leads to it, if models travel
    /// so. Nothing has moved until it is stored.
    pub(super) fn after(
        &self,
        settings: &TaskSettings,
        update: MeanUpdate<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, Option<Bytes>), ApplyError> {
        let optimizer = settings.optimizer(update.round);
        let (wanted, state) = optimizer.step(&self.state, &self.parameters, update.mean)?;
        let control = self.control_after(settings, update);
        let step = settings.model_codec.as_ref().and_then(|codec| {
            let (base, residual) = (&self.parameters, self.residual.values());
            let (codec, most) = (codec.values().ok()?, settings.update_range.magnitude());
            Step::towards(&wanted, base, residual, codec, most, &rng.random())
        });
        Ok(match step {
            Some(Step { bytes, parameters, residual }) => {
                let (parameters, residual) = (Arc::new(parameters), Residual::new(residual));
                (Self { parameters, state, residual, control }, Some(bytes.into()))
            }
            // One that is not finite is refused when it is written.
            None => {
                let (parameters, residual) = (Arc::new(wanted), Residual::default());
                (Self { parameters, state, residual, control }, None)
            }
        })
    }

    /// The control variate after a round; none after one without variates, which the clients'
    /// have no part in.
    fn control_after(&self, settings: &TaskSettings, update: MeanUpdate<'_>) -> Option<Control> {
        let MeanUpdate { round, mean, updates } = update;
        let share = f64::from(updates) / f64::from(settings.population?);
        let reach = settings.training(RoundId { round, attempt: 0 }).reach();
        let before = self.control.as_ref();
        let values = before.map_or(&[][..], |control| &control.values);
        let values = Arc::new(control::of_server(values, mean, share, reach));
        Some(Control { since: before.map_or(round, |control| control.since), values })
    }

    /// Files of a checkpoint at this point.
    pub(super) fn files(
        &self,
        settings: &TaskSettings,
    ) -> Result<CheckpointFiles, CheckpointError> {
        let model = safetensors::write(&settings.model, &self.parameters)?.into();
        let optimizer_state = self.state.encode()?.map(Bytes::from);
        let residual = self.residual.encode();
        let control = self.control.as_ref().map(|Control { since, values }| {
            let file = safetensors::write(&settings.model, values);
            let file = file.map_err(CheckpointError::Control)?.into();
            Ok::<_, CheckpointError>(ControlFile { since: *since, file })
        });
        let control = control.transpose()?;
        let files = CheckpointFiles::of_model(model);
        Ok(CheckpointFiles { optimizer_state, residual, control, ..files })
    }
}
