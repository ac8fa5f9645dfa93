//! Run of a server from its start to its orderly stop.

use std::sync::Arc;
use std::time::Duration;

use fedra_coordinator::storage::Storage;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::http;
use crate::server::{ServeError, Server, start};
use crate::signals::Signals;
use crate::storage;

/// Longest time for sessions to close.
const DRAIN: Duration = Duration::from_secs(5);
/// Serves on `listener` until it is told to stop, with the store of the config.
/// In the place of [`Signals`] may be a future: the server stops when it resolves.
///
/// # Errors
///
/// [`ServeError`] if the server could not start.
pub async fn run(
    config: Config,
    listener: TcpListener,
    signals: impl Into<Signals>,
) -> Result<(), ServeError> {
    let folder = config.server.store.clone();
    let store = tokio::task::spawn_blocking(move || storage::open(&folder)).await??;
    run_with_store(config, store, listener, signals).await
}

/// Serves on `listener` until it is told to stop, with any stores.
///
/// # Errors
///
/// [`ServeError`] if the server could not start.
pub async fn run_with_store(
    config: Config,
    store: Storage,
    listener: TcpListener,
    signals: impl Into<Signals>,
) -> Result<(), ServeError> {
    let Signals { shutdown, reload } = signals.into();
    let token = CancellationToken::new();
    // A server whose future is dropped takes its tasks with it.
    let _guard = token.clone().drop_guard();
    let (runtime, cancelled) = (Handle::current(), token.clone());
    let (server, evaluation_ended) =
        tokio::task::spawn_blocking(move || start(config, store, cancelled, runtime)).await??;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, tasks = server.tasks().len(), "listening");
    }
    let reloading = reload_on(reload, Arc::clone(&server));
    server.drivers.spawn(token.clone().run_until_cancelled_owned(reloading));
    let stop = async {
        shutdown.await;
        server.drain().await;
    };
    http::serve(listener, &server, stop).await;

    tracing::info!("stopping");
    token.cancel();
    server.sessions.close();
    server.drivers.close();
    if tokio::time::timeout(DRAIN, server.sessions.wait()).await.is_err() {
        tracing::warn!(sessions = server.sessions.len(), "sessions did not close in time");
    }
    server.drivers.wait().await;
    // A round that is being stored is stored.
    tokio::task::spawn_blocking(move || server.join_writers()).await?;
    // An evaluation in progress may be cut off: it is redone at the next start.
    if tokio::time::timeout(DRAIN, evaluation_ended).await.is_err() {
        tracing::info!("an evaluation is cut off");
    }
    Ok(())
}

/// Applies the reloadable part of each config that comes.
async fn reload_on(mut configs: BoxStream<'static, Config>, server: Arc<Server>) {
    while let Some(config) = configs.next().await {
        server.reload(&config.server);
    }
}
