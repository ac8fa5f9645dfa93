//! TLS: reads certificate and key, and takes the handshakes. Only TLS 1.3,
//! which every browser that runs WebAssembly SIMD or WebGPU speaks.

use std::fs;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{Error, ServerConfig as RustlsConfig, version};
use tokio_rustls::server::TlsStream;

use crate::access::FileError;
use crate::config::TlsConfig;

/// What is spoken over the connections.
const HTTP: &[u8] = b"http/1.1";

/// Takes TLS handshakes with the newest certificate.
pub(crate) struct Tls {
    settings: RwLock<(Arc<RustlsConfig>, Duration)>,
}

impl Tls {
    pub(crate) fn new(config: &TlsConfig) -> Result<Self, FileError> {
        let settings = (load(config)?, config.handshake_timeout);
        Ok(Self { settings: RwLock::new(settings) })
    }

    /// Reads the files again for the connections to come; if they cannot be used,
    /// the certificate stays.
    pub(crate) fn reload(&self, config: &TlsConfig) -> Result<(), FileError> {
        let settings = (load(config)?, config.handshake_timeout);
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
        Ok(())
    }

    /// The encrypted connection, or what went wrong.
    pub(super) async fn accept<S>(&self, stream: S) -> std::io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (config, timeout) =
            self.settings.read().unwrap_or_else(PoisonError::into_inner).clone();
        tokio::time::timeout(timeout, TlsAcceptor::from(config).accept(stream)).await?
    }
}

/// Reads certificate and key, and looks whether they go together.
pub(crate) fn load(config: &TlsConfig) -> Result<Arc<RustlsConfig>, FileError> {
    let certificates = certificates(&config.certificate)?;
    let key = private_key(&config.private_key)?;
    let fail = |path: &Path, error: &Error| FileError {
        path: path.to_owned(),
        problem: match error {
            Error::InconsistentKeys(_) => "is not the key of the certificate".to_owned(),
            error => error.to_string(),
        },
    };
    let provider = Arc::new(ring::default_provider());
    let built = RustlsConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key));
    let mut tls = built.map_err(|error| match &error {
        Error::InvalidCertificate(_) => fail(&config.certificate, &error),
        _ => fail(&config.private_key, &error),
    })?;
    tls.alpn_protocols = vec![HTTP.to_vec()];
    // Clients that come back do so without the certificate, and without memory here.
    tls.ticketer = ring::Ticketer::new().map_err(|error| fail(&config.private_key, &error))?;
    Ok(Arc::new(tls))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let bytes = read(path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(FileError {
            path: path.to_owned(),
            problem: "must hold a certificate in PEM, and after it those that signed it".to_owned(),
        }),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| FileError {
        path: path.to_owned(),
        problem: "must hold a private key in PEM".to_owned(),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|error| FileError { path: path.to_owned(), problem: error.to_string() })
}
