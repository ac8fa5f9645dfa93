//! `/v1/admin`: what an operator may see and do, behind the operator's token.
//!
//! The token is looked at before anything else of a request, so without it not
//! even the paths tell anything. Pages of other origins cannot read the answers.

mod actions;
mod authorization;
mod error;
mod route;
mod views;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut};
use fedra_http_api::{Created, Operated, OperatorAction, RollBack, RolledBack};
use futures_util::{Stream, StreamExt};
use http::header::{ALLOW, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::timeout;
use warp::filters::BoxedFilter;
use warp::path::{Tail, tail};
use warp::reply::Response;
use warp::{Filter, Reply};

use super::listen::Connection;
use super::tasks::operated;
use super::{query, uncached};
use crate::server::Server;
use actions::task_of;
use authorization::Authorization;
use error::AdminError;
use fedra_coordinator::round::Operation;
use route::Route;

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
    warp::path("v1")
        .and(warp::path("admin"))
        .and(tail())
        .and(query::raw())
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
    let route = Route::of(call.path).ok_or(AdminError::NoSuchPath)?;
    if call.method == Method::OPTIONS {
        return Ok(options(route.methods()));
    }
    if !route.takes(&call.method) {
        return Err(AdminError::Method(route.methods()));
    }
    match route {
        Route::Status => views::status(server),
        Route::Tasks => create(server, call.headers, body).await,
        Route::Task(id) => {
            let (task, rounds) = (task_of(server, id)?, query::number(call.query, "rounds")?);
            views::task(server, &task, rounds).await
        }
        Route::Export(id) => export(server, id, call.query).await,
        Route::Operate(id, operation) => operate(server, id, operation).await,
        Route::RollBack(id) => roll_back(server, id, body).await,
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
    server.metrics.admin_action(OperatorAction::Create);
    tracing::info!(task = %id, "an operator has created a task");
    let created = Created { id: id.to_string() };
    let mut response = json_response(StatusCode::CREATED, &created);
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
    server.metrics.admin_action(match operation {
        Operation::Pause => OperatorAction::Pause,
        Operation::Resume => OperatorAction::Resume,
        Operation::Stop => OperatorAction::Stop,
    });
    Ok(json_response(StatusCode::OK, &Operated { state: operated(standing) }))
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
    server.metrics.admin_action(OperatorAction::RollBack);
    Ok(json_response(StatusCode::OK, &RolledBack { round }))
}

/// A model as a file.
async fn export(server: &Arc<Server>, id: &str, query: &str) -> Result<Response, AdminError> {
    let task = task_of(server, id)?;
    let (round, format) = query::export(query)?;
    let (record, file) = actions::model(server, &task, round).await?;
    let round = record.round;
    let (file, sha256) = actions::convert(&task, &record, file, format).await?;
    let (bytes, id, extension) = (file.len(), &task.settings.id, format.extension());
    let format = format.name();
    tracing::info!(task = %id, round, format, bytes, "an operator exports a model");
    let name = format!("attachment; filename=\"{id}-{round}.{extension}\"");
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
