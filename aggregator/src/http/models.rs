//! `/v1/models/{sha256}`: global models by content, safetensors, whole or a range. An
//! answer never changes, so anything between here and the client may keep it.

use std::sync::Arc;

use bytes::Bytes;
use fedra_protocol::Sha256Hash;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::conditions::{Representation, Verdict};
use super::from_disk;
use super::problem::{not_found, problem};
use super::reading::read;
use crate::server::Server;
use crate::task::Task;

pub(super) fn route(server: &Arc<Server>) -> BoxedFilter<(Response,)> {
    let server = Arc::clone(server);
    warp::path!("v1" / "models" / String)
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
    let Ok(sha256) = name.parse::<Sha256Hash>() else {
        return not_found("a model is named by its SHA-256, 64 lower-case hexadecimal digits");
    };
    match find(server, &sha256).await {
        Ok(Some((task, file))) => model(&task, &sha256, file, method, headers),
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
        if let Some(file) = server.models.in_memory(&task.settings.id, sha256) {
            return Ok(Some((Arc::clone(task), file)));
        }
    }
    let owner = tasks
        .into_iter()
        .find(|task| task.view.borrow().history.iter().any(|record| record.sha256 == *sha256));
    let Some(task) = owner else { return Ok(None) };
    let (models, id, hash) = (Arc::clone(&server.models), task.settings.id.clone(), *sha256);
    match from_disk(move || models.stored(&id, &hash)).await {
        Ok(Ok(file)) => Ok(file.map(|file| (task, file))),
        Ok(Err(error)) => {
            tracing::error!(task = %task.settings.id, %error, "cannot read a model");
            Err(problem(StatusCode::INTERNAL_SERVER_ERROR, "the model cannot be read"))
        }
        Err(_) => Err(problem(StatusCode::INTERNAL_SERVER_ERROR, "the model cannot be read")),
    }
}

fn model(
    task: &Task,
    sha256: &Sha256Hash,
    file: Bytes,
    method: &Method,
    headers: &HeaderMap,
) -> Response {
    let representation = Representation {
        tag: HeaderValue::from_str(&format!("\"{sha256}\""))
            .expect("hexadecimal digits are visible ASCII"),
        length: file.len(),
        kind: HeaderValue::from_static("application/octet-stream"),
        cache: HeaderValue::from_static("public, max-age=31536000, immutable"),
    };
    let verdict = representation.judge(method, headers);
    let sent = match &verdict {
        _ if *method != Method::GET => None,
        Verdict::Whole => Some(file.len()),
        Verdict::Part(range) => Some(range.len()),
        Verdict::NotModified | Verdict::Failed | Verdict::Unsatisfiable => None,
    };
    if let Some(bytes) = sent {
        task.metrics.downloads.increment(1);
        task.sent(bytes);
    }
    representation.answer(verdict, sent.map(|_| file))
}
