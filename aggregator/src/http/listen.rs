//! The loop that accepts connections: limits on their number, in all and from
//! one address, TLS, limits on their headers and on what they leave unread, and
//! an orderly end.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::reply::Response;

use super::headers::Asked;
use super::keep_alive::{IdleConnections, RequestTimer, Signals};
use super::routes;
use super::silent::{Silence, Silent};
use super::stall::Impatient;
use crate::access::{ConnectionSlot, Denied};
use crate::descriptors::{Demand, Share};
use crate::metrics::Metrics;
use crate::platform::{self, Process};
use crate::server::Server;

/// Longest time of requests in progress once the server stops.
const DRAIN: Duration = Duration::from_secs(5);
/// Pause after a failed accept, for example for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// Time for which connections beyond the cap are asked to stay away.
const FULL: Duration = Duration::from_secs(10);
/// Extra time, beyond a session's, that a connection waits for its peer to read what
/// it is sent. It lets the session say why it ends.
const MARGIN: Duration = Duration::from_secs(5);

/// Connections that are turned away with an answer at the same time, and how long
/// they may take.
const TURNED_AWAY: usize = 32;
const NO: Duration = Duration::from_secs(1);

/// A connection's place among those that are open.
pub(super) struct Connection {
    /// The other end: a client, or a proxy.
    pub(super) peer: IpAddr,
    signals: Arc<Signals>,
    metrics: Arc<Metrics>,
    /// Its entry until its first request.
    silence: Silence,
    _permit: OwnedSemaphorePermit,
    _place: Option<ConnectionSlot>,
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
    let routes = TowerToHyperService::new(warp::service(routes(server)));
    let acceptor = Arc::new(Acceptor::new(server, connections.clone(), routes));
    let mut shutdown = std::pin::pin!(shutdown);
    let mut is_failing = false;
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Once until a connection is accepted again.
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "cannot accept connections");
                }
                sleep(PAUSE).await;
                continue;
            }
        };
        is_failing = false;
        acceptor.receive(stream, peer.ip());
    }
    drop(listener);
    server.shutdown.cancel();
    connections.close();
    if timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!("requests did not end in time");
    }
}

/// Most connections at a time: `max_connections`, or fewer if the file descriptors
/// beside those of the store do not suffice.
fn most_connections(server: &Server) -> usize {
    let limit = platform::raise_file_limit();
    let max_connections = server.config.max_connections;
    let demand = Demand {
        max_connections,
        turned_away: TURNED_AWAY,
        open: Process::now().open_files,
        tasks: server.tasks().len(),
    };
    let Share { connections, needed } = demand.share(limit);
    if connections < max_connections {
        tracing::warn!(
            limit,
            needed,
            max_connections,
            connections,
            "the limit on file descriptors is too low for server.max_connections: fewer \
             connections are taken. Raise it (ulimit -n, LimitNOFILE=, --ulimit nofile=), or \
             lower the key"
        );
    }
    server.metrics.max_connections.set(connections as f64);
    connections
}

/// Decides which connections may stay, and has them served.
struct Acceptor<R> {
    server: Arc<Server>,
    places: Arc<Semaphore>,
    turned_away: Arc<Semaphore>,
    silent: Arc<Silent>,
    idle: Arc<IdleConnections>,
    connections: TaskTracker,
    routes: R,
}

impl<R> Acceptor<R>
where
    R: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    R: Clone + Send + Sync + 'static,
    R::Future: Send,
{
    fn new(server: &Arc<Server>, connections: TaskTracker, routes: R) -> Self {
        Self {
            server: Arc::clone(server),
            places: Arc::new(Semaphore::new(most_connections(server))),
            turned_away: Arc::new(Semaphore::new(TURNED_AWAY)),
            silent: Arc::default(),
            idle: Arc::default(),
            connections,
            routes,
        }
    }

    /// Serves a connection if there is a place for it. The one that has been idle for
    /// longest makes room, or else the one that has been silent for longest.
    fn receive(self: &Arc<Self>, stream: TcpStream, peer: IpAddr) {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return self.admit(stream, peer, place);
        }
        let Ok(turn) = Arc::clone(&self.turned_away).try_acquire_owned() else {
            return self.full(stream);
        };
        if !self.idle.dismiss_oldest() {
            if !self.silent.make_room() {
                drop(turn);
                return self.full(stream);
            }
            self.server.metrics.connections_refused.increment(1);
        }
        let acceptor = Arc::clone(self);
        self.connections.spawn(async move {
            let place = timeout(NO, Arc::clone(&acceptor.places).acquire_owned()).await;
            drop(turn);
            match place {
                Ok(Ok(place)) => acceptor.admit(stream, peer, place),
                Ok(Err(_)) | Err(_) => acceptor.full(stream),
            }
        });
    }

    /// Turns a connection away because all places are taken.
    fn full(&self, stream: TcpStream) {
        self.server.metrics.connections_refused.increment(1);
        let problem = "the server has as many connections as it takes";
        self.turn_away(stream, StatusCode::SERVICE_UNAVAILABLE, problem, FULL);
    }

    /// Serves a connection that has a place, unless its address has had enough.
    fn admit(&self, stream: TcpStream, peer: IpAddr, permit: OwnedSemaphorePermit) {
        let (server, peer) = (&self.server, peer.to_canonical());
        let now = Instant::now();
        let handshake = match server.tls {
            Some(_) => server.access.tls_handshake(peer, now),
            None => Ok(()),
        };
        let place = match handshake.and_then(|()| server.access.connection(peer)) {
            Ok(place) => place,
            Err(Denied { reason, retry_after }) => {
                let wait = retry_after.unwrap_or(FULL);
                return self.turn_away(stream, reason.status(), reason.sentence(), wait);
            }
        };
        server.metrics.connections.up();
        let (silence, is_cut) = self.silent.enter();
        let signals = Arc::<Signals>::default();
        let connection = Arc::new(Connection {
            peer,
            signals: Arc::clone(&signals),
            metrics: Arc::clone(&server.metrics),
            silence,
            _permit: permit,
            _place: place,
        });
        // Small messages must not wait for acknowledgements of earlier ones.
        let _ = stream.set_nodelay(true);
        let limits = &server.config.limits;
        let timer = RequestTimer::new(
            Arc::clone(&signals),
            Arc::clone(&self.idle),
            limits.header_timeout,
            limits.keep_alive_timeout,
        );
        let stream = Impatient::new(stream, server.config.idle_timeout + MARGIN, signals);
        let (routes, server) = (self.routes.clone(), Arc::clone(server));
        // Two tasks of different sizes: without TLS there is nothing to keep for it.
        if server.tls.is_some() {
            let serving = encrypted(stream, connection, timer, routes, server);
            self.connections.spawn(unless_cut(is_cut, serving));
        } else {
            let serving = conversation(stream, connection, timer, routes, server);
            self.connections.spawn(unless_cut(is_cut, serving));
        }
    }

    /// Says no in the background, to a few at a time. Beyond these few, and where
    /// TLS is spoken, a connection is just dropped.
    fn turn_away(&self, stream: TcpStream, status: StatusCode, problem: &str, wait: Duration) {
        if self.server.tls.is_some() {
            return;
        }
        if let Ok(place) = Arc::clone(&self.turned_away).try_acquire_owned() {
            let answer = super::problem::raw(status, problem, wait);
            tokio::spawn(async move {
                // A peer that is slow to read the refusal is dropped.
                let _ = timeout(NO, turn_away(stream, &answer)).await;
                drop(place);
            });
        }
    }
}

/// Serves a connection until it ends, or has to make room.
async fn unless_cut(is_cut: oneshot::Receiver<()>, serving: impl Future<Output = ()>) {
    tokio::select! {
        Ok(()) = is_cut => {}
        () = serving => {}
    }
}

/// Serves one connection after its TLS handshake.
async fn encrypted<R>(
    stream: Impatient<TcpStream>,
    connection: Arc<Connection>,
    timer: RequestTimer,
    routes: R,
    server: Arc<Server>,
) where
    R: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    let Some(tls) = &server.tls else { return };
    let accepted = tokio::select! {
        accepted = tls.accept(stream) => accepted,
        () = server.shutdown.cancelled() => return,
    };
    match accepted {
        Ok(stream) => conversation(stream, connection, timer, routes, Arc::clone(&server)).await,
        Err(error) => {
            server.metrics.tls_failures.increment(1);
            tracing::debug!(peer = %connection.peer, %error, "the TLS handshake failed");
        }
    }
}

/// Serves one connection's requests.
async fn conversation<S, R>(
    stream: S,
    connection: Arc<Connection>,
    timer: RequestTimer,
    routes: R,
    server: Arc<Server>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    R: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    let (limits, shutdown) = (&server.config.limits, server.shutdown.clone());
    let mut builder = http1::Builder::new();
    builder
        .timer(timer)
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes);
    let (shared, signals) = (Arc::clone(&server), Arc::clone(&connection.signals));
    let service = service_fn(move |mut request: Request<Incoming>| {
        let server = Arc::clone(&shared);
        let secure = server.tls.is_some();
        let asked = Asked::new(request.uri().path(), request.headers(), secure);
        connection.silence.end();
        request.extensions_mut().insert(Arc::clone(&connection));
        let answer = routes.call(request);
        async move {
            let mut response = answer.await?;
            asked.dress(&server.access.settings().origins, response.headers_mut());
            Ok::<_, Infallible>(response)
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    until_closed(connection, &signals, shutdown).await;
}

/// Serves one connection; once it is dismissed, or the server stops, only the request
/// in progress.
async fn until_closed<I, S>(
    connection: http1::UpgradeableConnection<I, S>,
    signals: &Signals,
    shutdown: CancellationToken,
) where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    S: HttpService<Incoming>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::ResBody: 'static,
    <S::ResBody as hyper::body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = shutdown.cancelled() => None,
        () = signals.dismissed() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Gives a connection an answer and ends it. The beginning of the request is read
/// first, because a socket that is dropped with unread bytes is reset, and the answer
/// would be lost.
async fn turn_away(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    let mut request = [0; 4096];
    if stream.read(&mut request).await? > 0 {
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        while stream.read(&mut request).await? > 0 {}
    }
    Ok(())
}
