//! `/`: the page from the configured folder, or a few built-in lines.
//!
//! A file that lies compressed beside itself, as `cargo xtask dist` leaves it
//! (`x.js.br`, `x.js.gz`), is sent like that to a client that accepts it.

mod files;
mod folder;
mod kind;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use http::header::{CACHE_CONTROL, CONTENT_ENCODING, LOCATION, VARY};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use warp::filters::BoxedFilter;
use warp::path::FullPath;
use warp::reject::Rejection;
use warp::reply::Response;
use warp::{Filter, Reply};

use super::conditions::{Representation, Verdict};
use super::encoding::{self, Coding};
use super::from_disk;
use super::problem::{problem, unavailable};
use super::reading::only;
use crate::server::Server;
use files::{Files, Want};
use folder::{Located, locate};

const BUILT_IN: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>Fedra</title>
<h1>Fedra aggregator</h1>
<p>This server trains models together with browsers and edge devices. It has no
page configured; set <code>server.page</code> to the folder of one.</p>
<p><a href=\"v1/tasks\">Its tasks</a> and <a href=\"metrics\">its metrics</a>.</p>
</html>
";

/// Times that a file is looked at if it is replaced meanwhile.
const LOOKS: usize = 3;

pub(super) fn route(server: &Arc<Server>) -> BoxedFilter<(Response,)> {
    let Some(folder) = server.config.page.clone() else { return built_in() };
    let site = Arc::new(Site { folder, files: Mutex::default() });
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and_then(move |method, path: FullPath, query, headers| {
            let path = path.as_str().to_owned();
            serve(Arc::clone(&site), Request { method, path, query, headers })
        })
        .boxed()
}

fn built_in() -> BoxedFilter<(Response,)> {
    warp::path::end()
        .and(warp::method())
        .and_then(|method| async move { only(method) })
        .untuple_one()
        .map(|| {
            let mut response = warp::reply::html(BUILT_IN).into_response();
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            response
        })
        .boxed()
}

/// The page's folder, and what is known of its files.
struct Site {
    folder: PathBuf,
    files: Mutex<Files>,
}

struct Request {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
}

async fn serve(site: Arc<Site>, request: Request) -> Result<Response, Rejection> {
    match from_disk(move || site.answer(&request)).await {
        Ok(answer) => answer,
        // Only when the server's runtime is shutting down.
        Err(_) => Ok(unavailable("the server is going away")),
    }
}

impl Site {
    /// The answer to a request, or a rejection where there is nothing to answer with.
    fn answer(&self, request: &Request) -> Result<Response, Rejection> {
        let answer = match locate(&self.folder, &request.path) {
            Ok(Located::Nothing) => return Err(warp::reject::not_found()),
            Ok(Located::Folder) => {
                only(request.method.clone())?;
                return with_slash(request);
            }
            Ok(Located::File(file)) => {
                only(request.method.clone())?;
                self.file(&file, request)
            }
            Err(error) => Err(error),
        };
        answer.or_else(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                return Err(warp::reject::not_found());
            }
            tracing::error!(path = request.path, %error, "cannot read a file of the page");
            Ok(problem(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read"))
        })
    }

    fn file(&self, file: &Path, request: &Request) -> io::Result<Response> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..LOOKS {
            if let Some(response) = attempt(&mut files, file, request)? {
                return Ok(response);
            }
        }
        Ok(unavailable("the file is being replaced"))
    }
}

/// The answer with a file, unless the file is replaced while it is looked at.
fn attempt(files: &mut Files, file: &Path, request: &Request) -> io::Result<Option<Response>> {
    let now = SystemTime::now();
    let original = files.look(now, file, Want::Hash)?;
    let mut chosen = None;
    for coding in encoding::acceptable(&request.headers) {
        if coding == Coding::Identity {
            chosen = Some((coding, file.to_owned()));
        } else if let Some(beside) = files.compressed(now, file, coding, &original)? {
            chosen = Some((coding, beside));
        }
        if chosen.is_some() {
            break;
        }
    }
    let Some((coding, source)) = chosen else {
        let detail = "there is no representation in a content coding that the request accepts";
        return Ok(Some(varying(problem(StatusCode::NOT_ACCEPTABLE, detail))));
    };
    let seen = files.look(now, &source, Want::Hash)?;
    let representation = Representation {
        tag: HeaderValue::from_str(&format!("\"{}\"", seen.sha256))
            .expect("hexadecimal digits are visible ASCII"),
        length: Some(seen.length),
        kind: kind::media_type(file),
        cache: kind::cache(&request.path),
    };
    let verdict = representation.judge(&request.method, &request.headers);
    let sends =
        request.method == Method::GET && matches!(verdict, Verdict::Whole | Verdict::Part(_));
    let mut content = None;
    if sends {
        let whole = files.look(now, &source, Want::Content)?;
        if whole.sha256 != seen.sha256
            || files.look(now, file, Want::Hash)?.sha256 != original.sha256
        {
            return Ok(None);
        }
        content = whole.content;
    }
    let is_described = matches!(verdict, Verdict::Whole | Verdict::Part(_));
    let mut response = representation.answer(verdict, content);
    let name = match coding {
        Coding::Brotli => Some("br"),
        Coding::Gzip => Some("gzip"),
        Coding::Identity => None,
    };
    if let Some(name) = name.filter(|_| is_described) {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    Ok(Some(varying(response)))
}

/// Says that the answer depends on what the client accepts.
fn varying(mut response: Response) -> Response {
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    response
}

/// Sends a client to a folder's address with the slash at its end. The address is
/// relative, so that it is right behind a proxy that puts a prefix before it.
fn with_slash(request: &Request) -> Result<Response, Rejection> {
    let name = request.path.rsplit('/').next().unwrap_or_default();
    let mut address = format!("./{name}/");
    if !request.query.is_empty() {
        address.push('?');
        address.push_str(&request.query);
    }
    let address = HeaderValue::from_str(&address).map_err(|_| warp::reject::not_found())?;
    let mut response = StatusCode::PERMANENT_REDIRECT.into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(LOCATION, address);
    Ok(response)
}
