//! `/v1/models/{sha256}`: global models by content, whole or a range. A safetensors file
//! never changes, so anything between here and the client may keep it. An ONNX file may be
//! another one after an upgrade of the server.

use std::sync::Arc;

use bytes::Bytes;
use fedra_http_api::ModelFormat;
use fedra_protocol::Sha256Hash;
use http::header::CONTENT_DISPOSITION;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::conditions::{Representation, Verdict};
use super::problem::{not_found, problem};
use super::reading::read;
use super::{from_disk, query};
use crate::server::Server;
use crate::task::Task;

pub(super) fn route(server: &Arc<Server>) -> BoxedFilter<(Response,)> {
    let server = Arc::clone(server);
    warp::path!("v1" / "models" / String)
        .and(read())
        .and(query::raw())
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .then(move |name: String, query: String, method, headers| {
            let server = Arc::clone(&server);
            async move { answer(&server, &name, &query, &method, &headers).await }
        })
        .boxed()
}

async fn answer(
    server: &Server,
    name: &str,
    query: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Response {
    let Ok(sha256) = name.parse::<Sha256Hash>() else {
        return not_found("a model is named by its SHA-256, 64 lower-case hexadecimal digits");
    };
    let format = match query::format(query) {
        Ok(format) => format,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let (task, file) = match find(server, &sha256).await {
        Ok(Some(found)) => found,
        Ok(None) => return not_found("there is no such model, or it is no longer kept"),
        Err(problem) => return problem,
    };
    match format {
        ModelFormat::Safetensors => {
            model(&task, &sha256, file, "public, max-age=31536000, immutable", method, headers)
        }
        ModelFormat::Onnx => match convert(server, &task, sha256, file).await {
            Ok((tag, file)) => {
                let answer = model(&task, &tag, file, "public, max-age=86400", method, headers);
                named(answer, &format!("{}-{sha256}.onnx", task.settings.id))
            }
            Err(problem) => problem,
        },
    }
}

/// The ONNX file of a model, and its hash.
async fn convert(
    server: &Server,
    task: &Arc<Task>,
    sha256: Sha256Hash,
    file: Bytes,
) -> Result<(Sha256Hash, Bytes), Response> {
    let (models, task) = (Arc::clone(&server.models), Arc::clone(task));
    let converted = from_disk(move || {
        let converted = models.onnx(&task.settings.model, &sha256, &file);
        converted.inspect_err(|error| {
            tracing::error!(task = %task.settings.id, %error, "cannot convert a model");
        })
    });
    match converted.await {
        Ok(Ok(file)) => Ok((file.sha256, file.shared())),
        Ok(Err(_)) | Err(_) => {
            Err(problem(StatusCode::INTERNAL_SERVER_ERROR, "the model cannot be converted"))
        }
    }
}

/// An answer that is kept under this name when it is saved.
fn named(mut answer: Response, name: &str) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    if let Ok(value) = HeaderValue::from_str(&disposition)
        && answer.status().is_success()
    {
        answer.headers_mut().insert(CONTENT_DISPOSITION, value);
    }
    answer
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

/// The answer with a file of this hash.
fn model(
    task: &Task,
    sha256: &Sha256Hash,
    file: Bytes,
    cache: &'static str,
    method: &Method,
    headers: &HeaderMap,
) -> Response {
    let representation = Representation {
        tag: HeaderValue::from_str(&format!("\"{sha256}\""))
            .expect("hexadecimal digits are visible ASCII"),
        length: file.len(),
        kind: HeaderValue::from_static("application/octet-stream"),
        cache: HeaderValue::from_static(cache),
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
