//! Everything over HTTP: the routes, and the loop that serves them.
//!
//! The routes only read what coordinators publish. Anything is changed over the
//! WebSocket, by clients, or below `/v1/admin`, by operators.

mod admin;
mod card;
mod conditions;
mod connect;
mod encoding;
mod headers;
mod health;
mod keep_alive;
mod listen;
mod models;
mod page;
mod privacy;
mod problem;
mod query;
mod reading;
mod silent;
mod stall;
mod steps;
mod tasks;

use std::sync::Arc;

use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use tokio::sync::Semaphore;
use tokio::task::JoinError;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::server::Server;
use reading::read;

pub(crate) use listen::serve;

/// All routes. The loop adds the headers that every answer has.
fn routes(server: &Arc<Server>) -> BoxedFilter<(Response,)> {
    admin::route(server).or(public(server)).unify().boxed()
}

/// The public routes.
fn public(server: &Arc<Server>) -> BoxedFilter<(Response,)> {
    connect::route(server)
        .or(tasks::routes(server))
        .unify()
        .or(privacy::routes(server))
        .unify()
        .or(models::route(server))
        .unify()
        .or(steps::route(server))
        .unify()
        .or(card::route(server))
        .unify()
        .or(health(server))
        .unify()
        .or(metrics(server))
        .unify()
        .or(page::route(server))
        .unify()
        .recover(reading::recover)
        .unify()
        .boxed()
}

/// Permits to read from disk for public requests: models, ledgers, the page.
static READS: Semaphore = Semaphore::const_new(2);

/// Reads from disk for a client that need not be known, in turn. A read that has
/// begun goes on, and keeps its turn, when the client is gone.
async fn from_disk<T: Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    let turn = READS.acquire().await;
    let read = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        read()
    });
    read.await
}

/// `/healthz`: the process answers. `/readyz`: it takes clients.
fn health(server: &Arc<Server>) -> BoxedFilter<(Response,)> {
    let healthy = warp::path!("healthz").and(read()).map(|| uncached("ok\n".into_response()));
    let server = Arc::clone(server);
    let ready = warp::path!("readyz").and(read()).map(move || {
        if server.is_draining() {
            return problem::unavailable("the server is going away");
        }
        uncached(ready(&server).into_response())
    });
    healthy.or(ready).unify().boxed()
}

/// `ready`, and a line for each task that could not start.
fn ready(server: &Server) -> String {
    let set_aside = server.set_aside.list().into_iter();
    let lines = set_aside.map(|task| format!("task {} is set aside: {}\n", task.id, task.reason));
    std::iter::once("ready\n".to_owned()).chain(lines).collect()
}

fn metrics(server: &Arc<Server>) -> BoxedFilter<(Response,)> {
    let server = Arc::clone(server);
    warp::path!("metrics")
        .and(read())
        .map(move || {
            server.metrics.upload_bytes.set(server.budget_used() as f64);
            server.metrics.upload_budget.set(server.config.upload_budget as f64);
            let mut response = server.metrics.render().into_response();
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            uncached(response)
        })
        .boxed()
}

/// Marks an answer that is out of date at once.
fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
