//! `/`: the page from the configured folder, or a few built-in lines.

use std::sync::Arc;

use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::server::Server;

const BUILT_IN: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>Fedra</title>
<h1>Fedra aggregator</h1>
<p>This server trains models together with browsers and edge devices. It has no
page configured; set <code>server.page</code> to the folder of one.</p>
<p><a href=\"/v1/tasks\">Its tasks</a> and <a href=\"/metrics\">its metrics</a>.</p>
</html>
";

pub(super) fn route(server: &Arc<Server>) -> BoxedFilter<(Response,)> {
    match &server.config.page {
        Some(folder) => warp::fs::dir(folder.clone()).map(Reply::into_response).boxed(),
        None => warp::path::end()
            .and(warp::get())
            .map(|| warp::reply::html(BUILT_IN).into_response())
            .boxed(),
    }
}
