//! Errors over HTTP: every one is a problem details body (RFC 9457).

use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use warp::Reply;
use warp::reply::Response;

use super::uncached;
use crate::access::Denied;

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(flatten)]
    more: Value,
}

impl<'a> Problem<'a> {
    fn new(status: StatusCode, detail: &'a str) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { r#type: "about:blank", title, status: status.as_u16(), detail, more: json!({}) }
    }
}

const KIND: &str = "application/problem+json";

/// An answer with this status and one sentence for a person.
pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    problem_with(status, detail, json!({}))
}

/// The same with more fields, those of the object `more`.
pub(super) fn problem_with(status: StatusCode, detail: &str, more: Value) -> Response {
    let body = Problem { more, ..Problem::new(status, detail) };
    let mut response = warp::reply::json(&body).into_response();
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(KIND));
    // Some errors may be kept by a cache unless they say no.
    uncached(response)
}

pub(super) fn not_found(detail: &str) -> Response {
    problem(StatusCode::NOT_FOUND, detail)
}

pub(super) fn unavailable(detail: &str) -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, detail)
}

/// The same as the bytes of a whole answer, after which the connection is closed.
pub(super) fn raw(status: StatusCode, detail: &str, retry_after: Duration) -> Vec<u8> {
    let body = serde_json::to_string(&Problem::new(status, detail));
    let body = body.expect("a problem is plain text and a number");
    let (code, seconds, length) = (status, seconds(retry_after), body.len());
    let head = format!(
        "HTTP/1.1 {code}\r\ncontent-type: {KIND}\r\ncache-control: no-store\r\nretry-after: {seconds}\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    (head + &body).into_bytes()
}

/// The time in whole seconds, rounded up.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// The answer to a client that is turned away.
pub(super) fn denied(denied: Denied) -> Response {
    let mut response = problem(denied.reason.status(), denied.reason.sentence());
    if let Some(wait) = denied.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds(wait)));
    }
    response
}
