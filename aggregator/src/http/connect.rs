//! `/v1/connect`: the upgrade to a WebSocket, after which the session takes over.

use std::sync::Arc;

use http::header::{CONNECTION, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::handshake::server::create_response;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::listen::Connection;
use super::problem::{denied, problem, unavailable};
use super::reading::read;
use crate::server::Server;
use crate::session;

pub(super) fn route(server: &Arc<Server>) -> BoxedFilter<(Response,)> {
    let server = Arc::clone(server);
    warp::path!("v1" / "connect")
        .and(read())
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::ext::optional::<Arc<Connection>>())
        .map(move |method, headers, upgrade, connection| {
            connect(&server, method, headers, upgrade, connection)
        })
        .boxed()
}

fn connect(
    server: &Arc<Server>,
    method: Method,
    headers: HeaderMap,
    upgrade: Option<OnUpgrade>,
    connection: Option<Arc<Connection>>,
) -> Response {
    if server.shutdown.is_cancelled() {
        return unavailable("the server is going away");
    }
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.headers_mut() = headers;
    let (Ok(response), Some(upgrade), Some(connection)) =
        (create_response(&request), upgrade, connection)
    else {
        let mut response =
            problem(StatusCode::UPGRADE_REQUIRED, "connect to this address by WebSocket");
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return response;
    };
    let entrance = match server.access.upgrade(connection.peer, request.headers(), Instant::now()) {
        Ok(entrance) => entrance,
        Err(refusal) => return denied(refusal),
    };
    let shared = Arc::clone(server);
    // Not since the connection: a proxy may have kept it for a while.
    let opened = Instant::now();
    server.sessions.spawn(async move {
        session::serve(upgrade, opened, entrance.address, shared).await;
        // The places among the server's and the address's connections are kept
        // until here.
        drop((connection, entrance.place));
    });
    response.map(|()| Default::default())
}
