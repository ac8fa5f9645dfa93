//! The file that a new task begins with: `initial` of its section in the config.

use std::fs;
use std::io;
use std::path::PathBuf;

use fedra_learning::safetensors::ModelFileError;
use fedra_learning::{Weights, initial};
use fedra_protocol::ModelSpec;
use thiserror::Error;

use crate::config::InitialConfig;

/// Failure to use an initial file.
#[derive(Debug, Error)]
pub enum InitialError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It is not one of the model.
    #[error("{path}: {source}")]
    Model {
        /// The file.
        path: PathBuf,
        /// The first mistake in it.
        source: ModelFileError,
    },
}

/// Reads the weights of a model from the file. Blocking.
///
/// # Errors
///
/// [`InitialError`] with the file at fault.
pub fn load(spec: &ModelSpec, config: &InitialConfig) -> Result<Weights, InitialError> {
    let InitialConfig { path, names } = config;
    let file =
        fs::read(path).map_err(|source| InitialError::File { path: path.clone(), source })?;
    initial::read(spec, &file, names)
        .map_err(|source| InitialError::Model { path: path.clone(), source })
}
