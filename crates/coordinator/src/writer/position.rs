//! Point from which a task's next round goes on: the newest parameters, and the state of
//! the server optimizer beside them.

use std::sync::Arc;

use bytes::Bytes;
use fedra_aggregation::{ApplyError, OptimizerState, StateError};
use fedra_learning::safetensors::{self, ModelFileError};
use thiserror::Error;

use crate::settings::TaskSettings;
use crate::storage::CheckpointFiles;

/// Damage of a checkpoint's files that was there before they got their hashes.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The model is not one of this task.
    #[error(transparent)]
    Model(#[from] ModelFileError),
    /// The state of the server optimizer is not one of this task.
    #[error("the server optimizer's state: {0}")]
    State(#[from] StateError),
}

/// Parameters of the newest model, with the optimizer's state after its round.
#[derive(Debug, Clone)]
pub struct Position {
    /// The parameters, in the order of the model.
    pub parameters: Arc<Vec<f32>>,
    /// The state.
    pub state: OptimizerState,
}

impl Position {
    /// Point of a checkpoint. A state that the task's optimizer does not take is left
    /// behind with a warning: the optimizer then begins anew.
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
        Ok(Self { parameters: Arc::new(parameters), state })
    }

    /// The point after a round's mean update. Nothing has moved until it is stored.
    pub(super) fn after(
        &self,
        settings: &TaskSettings,
        round: u64,
        mean: &[f64],
    ) -> Result<Self, ApplyError> {
        let optimizer = settings.optimizer(round);
        let (parameters, state) = optimizer.step(&self.state, &self.parameters, mean)?;
        Ok(Self { parameters: Arc::new(parameters), state })
    }

    /// Files of a checkpoint at this point.
    pub(super) fn files(
        &self,
        settings: &TaskSettings,
    ) -> Result<CheckpointFiles, CheckpointError> {
        let model = safetensors::write(&settings.model, &self.parameters)?.into();
        let optimizer_state = self.state.encode()?.map(Bytes::from);
        Ok(CheckpointFiles { model, optimizer_state, frozen: None })
    }
}
