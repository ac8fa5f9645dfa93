//! The loop that accepts connections: a cap on their number, a time limit on
//! their headers, and an orderly end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::routes;
use crate::metrics::Metrics;
use crate::server::Server;

/// Most bytes of a request's head.
const HEAD_BYTES: usize = 16 << 10;
/// How long requests in progress may take once the server stops.
const DRAIN: Duration = Duration::from_secs(5);
/// After a failed accept, for example for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// What a connection beyond the cap gets.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 10\r\n\
    content-length: 0\r\nconnection: close\r\n\r\n";

/// Connections beyond the cap that get an answer at the same time, and how long
/// they may take.
const ANTECHAMBER: usize = 32;
const NO: Duration = Duration::from_secs(1);

/// A connection's place among those that are open.
pub(super) struct Connection {
    pub(super) accepted: Instant,
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.connections.down();
    }
}

/// Serves until `shutdown` resolves, then lets requests in progress end.
pub(crate) async fn serve(
    listener: TcpListener,
    server: &Arc<Server>,
    shutdown: impl Future<Output = ()>,
) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(server.config.max_connections));
    let antechamber = Arc::new(Semaphore::new(ANTECHAMBER));
    let service = TowerToHyperService::new(warp::service(routes(server)));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&places).try_acquire_owned() else {
            server.metrics.connections_refused.increment(1);
            // Beyond these few a connection is just dropped.
            if let Ok(place) = Arc::clone(&antechamber).try_acquire_owned() {
                tokio::spawn(async move {
                    // Whoever is slow to take no for an answer is dropped.
                    let _ = timeout(NO, turn_away(stream)).await;
                    drop(place);
                });
            }
            continue;
        };
        server.metrics.connections.up();
        let connection = Arc::new(Connection {
            accepted: Instant::now(),
            metrics: Arc::clone(&server.metrics),
            _permit: permit,
        });
        let service = service.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Arc::clone(&connection));
            service.call(request)
        });
        // Small messages must not wait for acknowledgements of earlier ones.
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(server.config.handshake_timeout)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        connections.spawn(until_closed(connection, server.shutdown.clone()));
    }
    drop(listener);
    server.shutdown.cancel();
    connections.close();
    if timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!("requests did not end in time");
    }
}

/// Serves one connection; once the server stops, only the request in progress.
async fn until_closed<S>(
    connection: http1::UpgradeableConnection<TokioIo<TcpStream>, S>,
    shutdown: CancellationToken,
) where
    S: HttpService<Incoming>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::ResBody: 'static,
    <S::ResBody as hyper::body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Says that the server is full. The request is read first, as far as it is
/// short: a socket that is dropped with unread bytes is reset, and the answer
/// would be lost.
async fn turn_away(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = [0; 4096];
    if stream.read(&mut request).await? > 0 {
        stream.write_all(FULL).await?;
        stream.shutdown().await?;
        while stream.read(&mut request).await? > 0 {}
    }
    Ok(())
}
