//! Methods of resources that are only read: GET and HEAD. OPTIONS and every other
//! method get an answer that names those two.

use std::convert::Infallible;

use http::header::ALLOW;
use http::{HeaderValue, Method, StatusCode};
use warp::filters::path::FullPath;
use warp::reject::{Reject, Rejection};
use warp::reply::Response;
use warp::{Filter, Reply};

use super::problem::problem;

/// Methods of a resource that is only read.
const METHODS: &str = "GET, HEAD, OPTIONS";

/// A method that a resource which is only read does not take.
#[derive(Debug)]
pub(super) struct NotRead(Method);

impl Reject for NotRead {}

/// Lets GET and HEAD through, at an address without a slash at its end: relative
/// addresses in an answer would mean something else there.
pub(super) fn read() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    warp::method()
        .and(warp::path::full())
        .and_then(|method: Method, path: FullPath| async move {
            if path.as_str().ends_with('/') { Err(warp::reject::not_found()) } else { only(method) }
        })
        .untuple_one()
}

/// Accepts GET and HEAD; rejects other methods.
pub(super) fn only(method: Method) -> Result<(), Rejection> {
    if method == Method::GET || method == Method::HEAD {
        return Ok(());
    }
    Err(warp::reject::custom(NotRead(method)))
}

impl NotRead {
    /// The answer to the method.
    pub(super) fn response(&self) -> Response {
        let mut response = if self.0 == Method::OPTIONS {
            StatusCode::NO_CONTENT.into_response()
        } else {
            problem(StatusCode::METHOD_NOT_ALLOWED, &format!("this address answers {METHODS}"))
        };
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
        response
    }
}

/// The rejection of a route, as an answer.
pub(super) async fn recover(rejection: Rejection) -> Result<Response, Infallible> {
    if let Some(method) = rejection.find::<NotRead>() {
        return Ok(method.response());
    }
    if rejection.is_not_found() {
        return Ok(super::problem::not_found("there is nothing at this address"));
    }
    tracing::debug!(?rejection, "bad request");
    Ok(problem(StatusCode::BAD_REQUEST, "the request cannot be understood"))
}
