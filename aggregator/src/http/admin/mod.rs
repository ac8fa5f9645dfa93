//! `/v1/admin`: what an operator may see and do, behind the operator's token.
//!
//! The token is looked at before anything else of a request, so without it not
//! even the paths tell anything. Pages of other origins cannot read the answers.

mod actions;
mod authorization;
mod error;
mod views;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut};
use futures_util::{Stream, StreamExt};
use http::header::{ALLOW, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;
use warp::filters::BoxedFilter;
use warp::path::{Tail, tail};
use warp::reply::Response;
use warp::{Filter, Reply};

use super::listen::Connection;
use super::uncached;
use crate::metrics::AdminAction;
use crate::server::Server;
use actions::task_of;
use authorization::Authorization;
use error::AdminError;
use fedra_coordinator::round::Operation;

/// Most bytes of a task's config.
const TASK_BYTES: usize = 256 << 10;
/// Most bytes of any other body.
const BODY_BYTES: usize = 4 << 10;
/// Longest time for a body to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);

/// The admin API, for every path below it and every method.
pub(super) fn route(server: &Arc<Server>) -> BoxedFilter<(Response,)> {
    let server = Arc::clone(server);
    let authorization = Arc::new(Authorization::new());
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::path("v1")
        .and(warp::path("admin"))
        .and(tail())
        .and(query)
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Arc<Connection>>())
        .and(warp::body::stream())
        .then(move |path: Tail, query: String, method, headers: HeaderMap, connection, body| {
            let (server, authorization) = (Arc::clone(&server), Arc::clone(&authorization));
            async move {
                let path = path.as_str();
                let call = Call { method, path, query: &query, headers: &headers };
                let answer = match admit(&server, &authorization, connection, &headers).await {
                    Ok(()) => answer(&server, call, body).await,
                    Err(error) => Err(error),
                };
                uncached(answer.unwrap_or_else(|error| error.response()))
            }
        })
        .boxed()
}

async fn admit(
    server: &Server,
    authorization: &Authorization,
    connection: Option<Arc<Connection>>,
    headers: &HeaderMap,
) -> Result<(), AdminError> {
    let settings = server.access.settings();
    let address = connection.map(|connection| settings.client(connection.peer, headers));
    authorization.admit(settings.operator, headers, address, &server.metrics).await
}

/// A request without its body.
struct Call<'a> {
    method: Method,
    /// Path below `/v1/admin/`.
    path: &'a str,
    query: &'a str,
    headers: &'a HeaderMap,
}

async fn answer<B: Buf>(
    server: &Arc<Server>,
    call: Call<'_>,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Response, AdminError> {
    let path: Vec<&str> = call.path.split('/').collect();
    // The head of an answer to GET; its body is not sent.
    let method = if call.method == Method::HEAD { &Method::GET } else { &call.method };
    match (method, path.as_slice()) {
        (&Method::GET, ["status"]) => views::status(server).await,
        (&Method::POST, ["tasks"]) => create(server, call.headers, body).await,
        (&Method::GET, ["tasks", id]) => views::task(server, &task_of(server, id)?).await,
        (&Method::GET, ["tasks", id, "export"]) => export(server, id, call.query).await,
        (&Method::POST, ["tasks", id, "pause"]) => operate(server, id, Operation::Pause).await,
        (&Method::POST, ["tasks", id, "resume"]) => operate(server, id, Operation::Resume).await,
        (&Method::POST, ["tasks", id, "stop"]) => operate(server, id, Operation::Stop).await,
        (&Method::POST, ["tasks", id, "rollback"]) => roll_back(server, id, body).await,
        (method, path) => match allowed(path) {
            Some(methods) if *method == Method::OPTIONS => Ok(options(methods)),
            Some(methods) => Err(AdminError::Method(methods)),
            None => Err(AdminError::NoSuchPath),
        },
    }
}

/// The methods of a path that there is.
fn allowed(path: &[&str]) -> Option<&'static str> {
    match path {
        ["status"] | ["tasks", _] | ["tasks", _, "export"] => Some("GET, HEAD, OPTIONS"),
        ["tasks"] | ["tasks", _, "pause" | "resume" | "stop" | "rollback"] => Some("POST, OPTIONS"),
        _ => None,
    }
}

fn options(methods: &'static str) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

async fn create<B: Buf>(
    server: &Arc<Server>,
    headers: &HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Response, AdminError> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/toml") {
        return Err(AdminError::NotToml);
    }
    let toml = String::from_utf8(read(body, TASK_BYTES).await?)
        .map_err(|_| AdminError::BadRequest("the config is not UTF-8".to_owned()))?;
    let id = actions::create(server, toml).await?;
    server.metrics.admin_action(AdminAction::Create);
    tracing::info!(task = %id, "an operator has created a task");
    let mut response = json_response(StatusCode::CREATED, &json!({ "id": id }));
    // Relative, so that it is right behind a proxy that puts a prefix before it.
    if let Ok(location) = HeaderValue::from_str(&format!("tasks/{id}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

async fn operate(
    server: &Arc<Server>,
    id: &str,
    operation: Operation,
) -> Result<Response, AdminError> {
    let task = task_of(server, id)?;
    let standing = actions::operate(&task, operation).await?;
    server.metrics.admin_action(AdminAction::Operate(operation));
    Ok(json_response(StatusCode::OK, &json!({ "standing": standing })))
}

/// The body of a roll-back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollBack {
    round: u64,
}

async fn roll_back<B: Buf>(
    server: &Arc<Server>,
    id: &str,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Response, AdminError> {
    let task = task_of(server, id)?;
    let body = read(body, BODY_BYTES).await?;
    let RollBack { round: to } = serde_json::from_slice(&body).map_err(|error| {
        AdminError::BadRequest(format!("the body must be {{\"round\": n}}: {error}"))
    })?;
    let round = actions::roll_back(&task, to).await?;
    server.metrics.admin_action(AdminAction::RollBack);
    Ok(json_response(StatusCode::OK, &json!({ "round": round })))
}

/// A model as a file.
async fn export(server: &Arc<Server>, id: &str, query: &str) -> Result<Response, AdminError> {
    let task = task_of(server, id)?;
    let round = match query.split_once('=') {
        None if query.is_empty() => None,
        Some(("round", number)) => Some(number.parse().map_err(|_| {
            AdminError::BadRequest("`round` must be the number of a round".to_owned())
        })?),
        _ => return Err(AdminError::BadRequest("the query is `round=n`, or nothing".to_owned())),
    };
    let (record, file) = actions::model(server, &task, round).await?;
    let (round, bytes, sha256) = (record.round, file.len(), record.sha256);
    tracing::info!(task = %task.settings.id, round, bytes, "an operator exports a model");
    let name = format!("attachment; filename=\"{}-{round}.safetensors\"", task.settings.id);
    let mut response = Response::new(file.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert("fedra-round", HeaderValue::from(round));
    for (header, text) in [(CONTENT_DISPOSITION, name), (ETAG, format!("\"{sha256}\""))] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(header, value);
        }
    }
    Ok(response)
}

/// The whole body, as long as it keeps to `limit` bytes and to the time.
async fn read<B: Buf>(
    body: impl Stream<Item = Result<B, warp::Error>>,
    limit: usize,
) -> Result<Vec<u8>, AdminError> {
    let read = async {
        let mut body = std::pin::pin!(body);
        let mut bytes = Vec::new();
        while let Some(part) = body.next().await {
            let part = part.map_err(|_| AdminError::BadRequest("the body broke off".to_owned()))?;
            if bytes.len() + part.remaining() > limit {
                return Err(AdminError::TooLarge(limit));
            }
            bytes.put(part);
        }
        Ok(bytes)
    };
    timeout(BODY_TIME, read).await.unwrap_or(Err(AdminError::TooSlow))
}

fn json_response(status: StatusCode, body: &impl serde::Serialize) -> Response {
    warp::reply::with_status(warp::reply::json(body), status).into_response()
}
