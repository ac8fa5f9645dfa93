//! Signals to a running server: to stop, and to read its config again. A test
//! passes its own; [`Signals::of_process`] are the process's.

use std::future::Future;
use std::path::PathBuf;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, Stream, StreamExt, stream};

use crate::config::Config;
use crate::platform;

/// Signals to a server from outside.
pub struct Signals {
    pub(crate) shutdown: BoxFuture<'static, ()>,
    pub(crate) reload: BoxStream<'static, Config>,
}

impl Signals {
    /// The server stops when `shutdown` resolves.
    pub fn new(shutdown: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { shutdown: shutdown.boxed(), reload: stream::pending().boxed() }
    }

    /// Each config that comes replaces the parts of the earlier one that can change
    /// while the server runs: token keys, the operator's token, allowed origins,
    /// limits and the TLS certificate.
    #[must_use]
    pub fn with_reload(self, reload: impl Stream<Item = Config> + Send + 'static) -> Self {
        Self { reload: reload.boxed(), ..self }
    }

    /// Stops on ctrl-c and SIGTERM; reads the config file again on SIGHUP. One
    /// with mistakes is logged and passed over. To be called in a runtime.
    #[must_use]
    pub fn of_process(config: PathBuf) -> Self {
        // Working out what a privacy policy costs can take a moment.
        let reload = platform::hang_ups().then(move |()| {
            let read = tokio::task::spawn_blocking({
                let config = config.clone();
                move || read_again(&config)
            });
            async { read.await.ok().flatten() }
        });
        Self::new(platform::stop_signal()).with_reload(reload.filter_map(std::future::ready))
    }
}

impl<F: Future<Output = ()> + Send + 'static> From<F> for Signals {
    fn from(shutdown: F) -> Self {
        Self::new(shutdown)
    }
}

fn read_again(path: &std::path::Path) -> Option<Config> {
    match Config::load(path) {
        Ok(config) => Some(config),
        Err(mistakes) => {
            tracing::error!(%mistakes, "the config is not read again");
            None
        }
    }
}
