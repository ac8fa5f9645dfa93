//! `/v1/steps/{sha256}`: steps between global models by content, whole or a range. A step never
//! changes, so anything between here and the client may keep it.

use std::sync::Arc;

use fedra_protocol::Sha256Hash;
use http::{HeaderMap, Method};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::from_disk;
use super::models::{IMMUTABLE, sent, tagged, unreadable};
use super::problem::not_found;
use super::reading::read;
use crate::server::Server;
use crate::task::Task;

pub(super) fn route(server: &Arc<Server>) -> BoxedFilter<(Response,)> {
    let server = Arc::clone(server);
    warp::path!("v1" / "steps" / String)
        .and(read())
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .then(move |name: String, method, headers| {
            let server = Arc::clone(&server);
            async move { answer(&server, &name, &method, &headers).await }
        })
        .boxed()
}

async fn answer(server: &Server, name: &str, method: &Method, headers: &HeaderMap) -> Response {
    let gone = || not_found("there is no such step, or it is no longer kept; fetch the model");
    let Ok(sha256) = name.parse::<Sha256Hash>() else {
        return not_found("a step is named by its SHA-256, 64 lower-case hexadecimal digits");
    };
    let Some(task) = owner(server, &sha256) else { return gone() };
    let file = match server.models.step_in_memory(&task.settings.id, &sha256) {
        Some(file) => Some(file),
        None => {
            let (store, id) = (server.store.clone(), task.settings.id.clone());
            match from_disk(move || store.step(&id, &sha256)).await {
                Ok(Ok(file)) => file,
                Ok(Err(error)) => {
                    tracing::error!(task = %task.settings.id, %error, "cannot read a step");
                    return unreadable();
                }
                Err(_) => return unreadable(),
            }
        }
    };
    match file {
        Some(file) => {
            sent(&task, tagged(&sha256.to_string(), IMMUTABLE), Some(file), method, headers)
        }
        None => gone(),
    }
}

/// A task one of whose rounds has this step.
fn owner(server: &Server, sha256: &Sha256Hash) -> Option<Arc<Task>> {
    let has = |task: &&Arc<Task>| {
        let view = task.view.borrow();
        view.history.iter().any(|record| record.step.is_some_and(|step| step.sha256 == *sha256))
    };
    server.tasks().iter().find(has).cloned()
}
