//! `/v1/models/{sha256}`: global models by content, safetensors. An answer never
//! changes, so anything between here and the client may keep it.

use std::sync::Arc;

use bytes::Bytes;
use fedra_protocol::Sha256Hash;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderValue, StatusCode};
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use super::from_store;
use super::problem::{not_found, problem};
use crate::server::Server;
use crate::task::Task;

pub(super) fn route(server: &Arc<Server>) -> BoxedFilter<(Response,)> {
    let server = Arc::clone(server);
    warp::path!("v1" / "models" / String)
        .and(warp::get())
        .and(warp::header::optional::<String>(IF_NONE_MATCH.as_str()))
        .then(move |name: String, known: Option<String>| {
            let server = Arc::clone(&server);
            async move { answer(&server, &name, known).await }
        })
        .boxed()
}

async fn answer(server: &Server, name: &str, known: Option<String>) -> Response {
    let Ok(sha256) = name.parse::<Sha256Hash>() else {
        return not_found("a model is named by its SHA-256, 64 lower-case hexadecimal digits");
    };
    match find(server, &sha256).await {
        Ok(Some((task, file))) => model(&task, &sha256, file, known.as_deref()),
        Ok(None) => not_found("there is no such model, or it is no longer kept"),
        Err(problem) => problem,
    }
}

/// The model and a task that it belongs to.
async fn find(
    server: &Server,
    sha256: &Sha256Hash,
) -> Result<Option<(Arc<Task>, Bytes)>, Response> {
    let tasks = server.tasks();
    for task in &tasks {
        if let Some(file) = server.models.in_memory(&task.config.id, sha256) {
            return Ok(Some((Arc::clone(task), file)));
        }
    }
    let owner = tasks
        .into_iter()
        .find(|task| task.view.borrow().history.iter().any(|record| record.sha256 == *sha256));
    let Some(task) = owner else { return Ok(None) };
    let (models, id, hash) = (Arc::clone(&server.models), task.config.id.clone(), *sha256);
    match from_store(move || models.stored(&id, &hash)).await {
        Ok(Ok(file)) => Ok(file.map(|file| (task, file))),
        Ok(Err(error)) => {
            tracing::error!(task = %task.config.id, %error, "cannot read a model");
            Err(problem(StatusCode::INTERNAL_SERVER_ERROR, "the model cannot be read"))
        }
        Err(_) => Err(problem(StatusCode::INTERNAL_SERVER_ERROR, "the model cannot be read")),
    }
}

fn model(task: &Task, sha256: &Sha256Hash, file: Bytes, known: Option<&str>) -> Response {
    let tag = format!("\"{sha256}\"");
    let unchanged = known.is_some_and(|known| {
        known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag)
    });
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        task.metrics.downloads.increment(1);
        task.sent(file.len());
        let mut response = Response::new(file.into());
        let kind = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    };
    let headers = response.headers_mut();
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    headers.insert(CACHE_CONTROL, forever);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}
