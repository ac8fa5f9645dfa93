//! Errors over HTTP: every one is a problem details body (RFC 9457).

use std::convert::Infallible;

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use warp::Reply;
use warp::reject::Rejection;
use warp::reply::Response;

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(flatten)]
    more: Value,
}

/// An answer with this status and one sentence for a person.
pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    problem_with(status, detail, json!({}))
}

/// The same with more fields, those of the object `more`.
pub(super) fn problem_with(status: StatusCode, detail: &str, more: Value) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = Problem { r#type: "about:blank", title, status: status.as_u16(), detail, more };
    let mut response = warp::reply::json(&body).into_response();
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

pub(super) fn not_found(detail: &str) -> Response {
    problem(StatusCode::NOT_FOUND, detail)
}

pub(super) fn unavailable(detail: &str) -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, detail)
}

/// What no route took.
pub(super) async fn recover(rejection: Rejection) -> Result<Response, Infallible> {
    if rejection.is_not_found() {
        return Ok(not_found("there is nothing at this address"));
    }
    if rejection.find::<warp::reject::MethodNotAllowed>().is_some() {
        let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "this address answers GET");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return Ok(response);
    }
    tracing::debug!(?rejection, "bad request");
    Ok(problem(StatusCode::BAD_REQUEST, "the request cannot be understood"))
}
