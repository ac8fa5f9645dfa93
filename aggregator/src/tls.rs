//! TLS handshakes, with a certificate that can be replaced while the server runs.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig as RustlsConfig;
use tokio_rustls::server::TlsStream;

use crate::config::TlsConfig;
use crate::credentials::{self, FileError};

/// Takes TLS handshakes with the newest certificate.
pub(crate) struct Tls {
    settings: RwLock<(Arc<RustlsConfig>, Duration)>,
}

impl Tls {
    pub(crate) fn new(config: &TlsConfig) -> Result<Self, FileError> {
        let settings =
            (credentials::tls(&config.certificate, &config.private_key)?, config.handshake_timeout);
        Ok(Self { settings: RwLock::new(settings) })
    }

    /// Reads the files again for the connections to come; if they cannot be used,
    /// the certificate stays.
    pub(crate) fn reload(&self, config: &TlsConfig) -> Result<(), FileError> {
        let settings =
            (credentials::tls(&config.certificate, &config.private_key)?, config.handshake_timeout);
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
        Ok(())
    }

    /// The encrypted connection, or what went wrong.
    pub(crate) async fn accept<S>(&self, stream: S) -> std::io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (config, timeout) =
            self.settings.read().unwrap_or_else(PoisonError::into_inner).clone();
        tokio::time::timeout(timeout, TlsAcceptor::from(config).accept(stream)).await?
    }
}
