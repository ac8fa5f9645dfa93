//! Requests of operators' calls to the tasks and to the store. HTTP ends before
//! this file.

use std::sync::Arc;

use bytes::Bytes;
use fedra_http_api::ModelFormat;
use fedra_onnx::Origin;
use fedra_protocol::{Sha256Hash, TaskId};

use super::error::AdminError;
use crate::models::{self, ConvertError};
use crate::server::Server;
use crate::task::Task;
use fedra_coordinator::round::{Operation, Standing};
use fedra_coordinator::storage::{Decision, RoundRecord, Storage, StoreError};

/// The task of this name.
pub(super) fn task_of(server: &Server, id: &str) -> Result<Arc<Task>, AdminError> {
    let id = TaskId::new(id).map_err(|_| AdminError::NoSuchTask)?;
    server.task(&id).ok_or_else(|| match server.set_aside.reason(&id) {
        Some(reason) => AdminError::Conflict(format!(
            "the task could not start and is set aside: {reason}. Mend that, and start the server \
             again"
        )),
        None => AdminError::NoSuchTask,
    })
}

/// Adds a task from its section of a config.
pub(super) async fn create(server: &Arc<Server>, toml: String) -> Result<TaskId, AdminError> {
    Ok(server.create_task(toml).await?)
}

/// Pauses, resumes or stops a task; returns what holds then.
pub(super) async fn operate(task: &Task, operation: Operation) -> Result<Standing, AdminError> {
    Ok(task.operate(operation).await?)
}

/// Makes the model of round `to` the newest again; returns the new round.
pub(super) async fn roll_back(task: &Task, to: u64) -> Result<u64, AdminError> {
    Ok(task.roll_back(to).await?)
}

/// The store's state of a task.
pub(super) struct Stored {
    /// Rounds whose model is kept, oldest first.
    pub(super) checkpoints: Vec<u64>,
    /// Oldest first.
    pub(super) decisions: Vec<Decision>,
}

/// Asks the store about a task.
pub(super) async fn stored(server: &Server, task: &Task) -> Result<Stored, AdminError> {
    let id = task.settings.id.clone();
    ask(server, move |store| {
        Ok(Stored { checkpoints: store.checkpoints(&id)?, decisions: store.tasks.decisions(&id)? })
    })
    .await
}

/// The model of a round, or the newest, and its record.
pub(super) async fn model(
    server: &Server,
    task: &Task,
    round: Option<u64>,
) -> Result<(RoundRecord, Bytes), AdminError> {
    let round = round.unwrap_or_else(|| task.view.borrow().model.round);
    let id = task.settings.id.clone();
    let (record, files) = ask(server, move |store| store.checkpoint(&id, round)).await?;
    Ok((record, files.model))
}

/// The file of a round's whole model in a format, and its hash.
pub(super) async fn convert(
    task: &Arc<Task>,
    record: &RoundRecord,
    file: Bytes,
    format: ModelFormat,
) -> Result<(Bytes, Sha256Hash), AdminError> {
    let origin = Origin { round: Some(record.round), sha256: Some(record.sha256) };
    let task = Arc::clone(task);
    let convert = move || {
        let files = task.files(file);
        let file = models::convert(&task.settings.model, files, format, &origin)?;
        Ok::<_, ConvertError>((Sha256Hash::of(&file), file))
    };
    match tokio::task::spawn_blocking(convert).await {
        Ok(Ok((sha256, file))) => Ok((file, sha256)),
        Ok(Err(error)) => Err(AdminError::Failed(error.to_string())),
        // Only when the server's runtime is shutting down.
        Err(_) => Err(AdminError::GoingAway),
    }
}

/// Runs a question to the store where it may wait for a disk.
async fn ask<T: Send + 'static>(
    server: &Server,
    question: impl FnOnce(&Storage) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, AdminError> {
    let store = server.store.clone();
    match tokio::task::spawn_blocking(move || question(&store)).await {
        Ok(answer) => Ok(answer?),
        // Only when the server's runtime is shutting down.
        Err(_) => Err(AdminError::GoingAway),
    }
}
