//! Errors of operators' calls, and their answers over HTTP.

use fedra_http_api::Problem;
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use thiserror::Error;
use warp::reply::Response;

use crate::config::{Mistake, Mistakes};
use crate::http::problem::{answer, details};
use crate::http::query::BadQuery;
use crate::server::{CreateTaskError, ServeError};
use fedra_coordinator::messages::OperateError;
use fedra_coordinator::storage::StoreError;
use fedra_coordinator::writer::RollBackError;

/// Reason to refuse a call.
#[derive(Debug, Error)]
pub(super) enum AdminError {
    #[error(
        "the admin API is not enabled; set server.admin.token_file in the config, and send the \
             server SIGHUP"
    )]
    NotEnabled,
    #[error("this address needs the operator's token, as `Authorization: Bearer ...`")]
    Unauthorized,
    #[error("too many calls with a wrong token; try again in a moment")]
    TooMany,
    #[error("there is nothing at this address")]
    NoSuchPath,
    #[error("this address answers {0}")]
    Method(&'static str),
    #[error("there is no task of this name")]
    NoSuchTask,
    #[error("{0}")]
    BadRequest(String),
    #[error("send the task's config as application/toml")]
    NotToml,
    #[error("the body has more than {0} bytes")]
    TooLarge(usize),
    #[error("the body did not come in time")]
    TooSlow,
    #[error("{0}")]
    Mistakes(#[from] Mistakes),
    #[error("{0}")]
    Conflict(String),
    #[error("{problem}")]
    NotKept { problem: String, kept: Vec<u64> },
    #[error("the server is going away")]
    GoingAway,
    #[error("the server failed at this; its log says more")]
    Failed(String),
    #[error("{0}")]
    NotStarted(String),
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        let problem = error.to_string();
        match error {
            StoreError::NotKept { kept, .. } => Self::NotKept { problem, kept },
            StoreError::TaskExists(_) => Self::Conflict(problem),
            _ => Self::Failed(problem),
        }
    }
}

impl From<BadQuery> for AdminError {
    fn from(error: BadQuery) -> Self {
        Self::BadRequest(error.to_string())
    }
}

impl From<OperateError> for AdminError {
    fn from(error: OperateError) -> Self {
        let problem = error.to_string();
        match error {
            OperateError::WrongState(_) | OperateError::Finished | OperateError::Busy => {
                Self::Conflict(problem)
            }
            OperateError::RollBack(RollBackError::Store(error)) | OperateError::Store(error) => {
                error.into()
            }
            OperateError::RollBack(RollBackError::File(_)) => Self::Failed(problem),
            OperateError::GoingAway => Self::GoingAway,
        }
    }
}

impl From<CreateTaskError> for AdminError {
    fn from(error: CreateTaskError) -> Self {
        let problem = error.to_string();
        match error {
            CreateTaskError::Mistakes(mistakes) => mistakes.into(),
            CreateTaskError::Taken(_) => Self::Conflict(problem),
            // Nothing was created: the files that it names are no good.
            CreateTaskError::Start(ServeError::Evaluation(_)) => {
                Mistakes(vec![Mistake { path: "task.evaluation".to_owned(), problem }]).into()
            }
            CreateTaskError::Start(_) => Self::Failed(problem),
            CreateTaskError::NotStarted(_, error) => {
                tracing::error!(%error, "{problem}");
                Self::NotStarted(problem)
            }
        }
    }
}

impl AdminError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotEnabled | Self::NoSuchPath | Self::NoSuchTask => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotToml => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Mistakes(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Conflict(_) | Self::NotKept { .. } => StatusCode::CONFLICT,
            Self::GoingAway => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(_) | Self::NotStarted(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A header that goes with the status.
    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Unauthorized => Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Self::TooMany => Some((RETRY_AFTER, HeaderValue::from_static("1"))),
            Self::Method(method) => Some((ALLOW, HeaderValue::from_static(method))),
            _ => None,
        }
    }

    /// The sentence, and machine-readable details beside it.
    fn problem(&self) -> Problem {
        let problem = details(self.status(), &self.to_string());
        match self {
            Self::Mistakes(Mistakes(mistakes)) => {
                let mistake = |mistake: &Mistake| fedra_http_api::Mistake {
                    path: mistake.path.clone(),
                    problem: mistake.problem.clone(),
                };
                Problem { mistakes: Some(mistakes.iter().map(mistake).collect()), ..problem }
            }
            Self::NotKept { kept, .. } => Problem { kept: Some(kept.clone()), ..problem },
            _ => problem,
        }
    }

    /// The answer.
    pub(super) fn response(&self) -> Response {
        if let Self::Failed(error) = self {
            tracing::error!(error, "an admin call failed");
        }
        let mut response = answer(self.status(), &self.problem());
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
