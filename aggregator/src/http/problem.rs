//! Errors over HTTP: every one is a problem details body (RFC 9457).

use std::time::Duration;

use fedra_http_api::Problem;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use warp::Reply;
use warp::reply::Response;

use super::uncached;
use crate::access::Denied;

const KIND: &str = "application/problem+json";

/// The problem with this status and one sentence for a person.
pub(super) fn details(status: StatusCode, detail: &str) -> Problem {
    Problem::new(status.as_u16(), status.canonical_reason().unwrap_or("Error"), detail)
}

/// An answer with this status and one sentence for a person.
pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    answer(status, &details(status, detail))
}

/// An answer with this status and problem.
pub(super) fn answer(status: StatusCode, problem: &Problem) -> Response {
    let mut response = warp::reply::json(problem).into_response();
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
    let body = serde_json::to_string(&details(status, detail));
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
