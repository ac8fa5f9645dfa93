//! `/v1/models/{sha256}`: global models, frozen parts and control variates by content, whole or a
//! range. A safetensors file never changes, so anything between here and the client may keep it. A
//! file of another format may be another one after an upgrade of the server.

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

/// Cache control of what never changes.
pub(super) const IMMUTABLE: &str = "public, max-age=31536000, immutable";

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
    let representation = || tagged(&sha256.to_string(), IMMUTABLE);
    let part = frozen_part(server, &sha256).or_else(|| control_variate(server, &sha256));
    if let Some((task, file)) = part {
        return match format {
            ModelFormat::Safetensors => sent(&task, representation(), Some(file), method, headers),
            _ => not_found(
                "the frozen part of a model, or a control variate, has no other format; ask for a \
                 model",
            ),
        };
    }
    let Some(task) = owner(server, &sha256) else { return gone() };
    match format {
        ModelFormat::Safetensors => match file(server, &task, &sha256).await {
            Ok(Some(file)) => sent(&task, representation(), Some(file), method, headers),
            Ok(None) => gone(),
            Err(problem) => problem,
        },
        format => converted(server, &task, sha256, format, method, headers).await,
    }
}

fn gone() -> Response {
    not_found("there is no such model, or it is no longer kept")
}

/// The answer with the model in another format. It is converted only if its bytes are to be
/// sent: the entity tag follows from the model and the server's version.
async fn converted(
    server: &Server,
    task: &Arc<Task>,
    sha256: Sha256Hash,
    format: ModelFormat,
    method: &Method,
    headers: &HeaderMap,
) -> Response {
    let tag = format!("{sha256}-{}-{}", format.name(), env!("CARGO_PKG_VERSION"));
    let representation = tagged(&tag, "public, max-age=86400");
    let name = format!("{}-{sha256}.{}", task.settings.id, format.extension());
    let verdict = representation.judge(method, headers);
    if *method != Method::GET || matches!(verdict, Verdict::NotModified | Verdict::Failed) {
        return match is_kept(server, task, &sha256).await {
            Ok(true) => named(representation.answer(verdict, None), &name),
            Ok(false) => gone(),
            Err(problem) => problem,
        };
    }
    let file = match file(server, task, &sha256).await {
        Ok(Some(file)) => file,
        Ok(None) => return gone(),
        Err(problem) => return problem,
    };
    match convert(server, task, sha256, file, format).await {
        Ok(file) => named(sent(task, representation, file, method, headers), &name),
        Err(problem) => problem,
    }
}

/// A model's file in another format.
async fn convert(
    server: &Server,
    task: &Arc<Task>,
    sha256: Sha256Hash,
    file: Bytes,
    format: ModelFormat,
) -> Result<Option<Bytes>, Response> {
    let (models, task) = (Arc::clone(&server.models), Arc::clone(task));
    let converted = from_disk(move || {
        let files = task.files(file);
        let converted = models.converted(&task.settings.model, &sha256, files, format);
        converted.inspect_err(|error| {
            tracing::error!(task = %task.settings.id, %error, "cannot convert a model");
        })
    });
    match converted.await {
        Ok(Ok(file)) => Ok(file),
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

/// The frozen part of a task's models with this hash, and the task.
fn frozen_part(server: &Server, sha256: &Sha256Hash) -> Option<(Arc<Task>, Bytes)> {
    let is_of = |task: &Arc<Task>| {
        task.settings.frozen.as_ref().is_some_and(|frozen| frozen.sha256 == *sha256)
    };
    let task = server.tasks().into_iter().find(is_of)?;
    let file = task.frozen.clone()?;
    Some((task, file))
}

/// The control variate with this hash, and its task.
fn control_variate(server: &Server, sha256: &Sha256Hash) -> Option<(Arc<Task>, Bytes)> {
    server.tasks().into_iter().find_map(|task| {
        let file = server.models.control_in_memory(&task.settings.id, sha256)?;
        Some((task, file))
    })
}

/// A task that the model belongs to.
pub(super) fn owner(server: &Server, sha256: &Sha256Hash) -> Option<Arc<Task>> {
    let tasks = server.tasks();
    let is_newest = |task: &&Arc<Task>| server.models.is_in_memory(&task.settings.id, sha256);
    let knows = |task: &&Arc<Task>| {
        task.view.borrow().history.iter().any(|record| record.sha256 == *sha256)
    };
    tasks.iter().find(is_newest).or_else(|| tasks.iter().find(knows)).cloned()
}

/// The model's file, if it is still kept.
async fn file(
    server: &Server,
    task: &Arc<Task>,
    sha256: &Sha256Hash,
) -> Result<Option<Bytes>, Response> {
    if let Some(file) = server.models.in_memory(&task.settings.id, sha256) {
        return Ok(Some(file));
    }
    let (models, id, hash) = (Arc::clone(&server.models), task.settings.id.clone(), *sha256);
    let read = from_disk(move || models.stored(&id, &hash)).await;
    read.map_err(|_| unreadable())?.map_err(|error| {
        tracing::error!(task = %task.settings.id, %error, "cannot read a model");
        unreadable()
    })
}

/// True if the model is still kept, without reading its file.
async fn is_kept(server: &Server, task: &Arc<Task>, sha256: &Sha256Hash) -> Result<bool, Response> {
    if server.models.is_in_memory(&task.settings.id, sha256) {
        return Ok(true);
    }
    let (store, id) = (server.store.clone(), task.settings.id.clone());
    let rounds = from_disk(move || store.checkpoints(&id)).await;
    let rounds = rounds.map_err(|_| unreadable())?.map_err(|error| {
        tracing::error!(task = %task.settings.id, %error, "cannot read what is kept");
        unreadable()
    })?;
    let view = task.view.borrow();
    let mut of_model = view.history.iter().filter(|record| record.sha256 == *sha256);
    Ok(of_model.any(|record| rounds.contains(&record.round)))
}

pub(super) fn unreadable() -> Response {
    problem(StatusCode::INTERNAL_SERVER_ERROR, "the model cannot be read")
}

/// A model's file with this entity tag, before its length is known.
pub(super) fn tagged(tag: &str, cache: &'static str) -> Representation {
    Representation {
        tag: HeaderValue::from_str(&format!("\"{tag}\"")).expect("a tag is visible ASCII"),
        length: None,
        kind: HeaderValue::from_static("application/octet-stream"),
        cache: HeaderValue::from_static(cache),
    }
}

/// The answer with a file, whose bytes are counted.
pub(super) fn sent(
    task: &Task,
    representation: Representation,
    file: Option<Bytes>,
    method: &Method,
    headers: &HeaderMap,
) -> Response {
    let Some(file) = file else { return gone() };
    let representation = Representation { length: Some(file.len()), ..representation };
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
