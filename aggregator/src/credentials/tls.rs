//! Certificates and their private keys.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{Error, ServerConfig as RustlsConfig, version};

use super::FileError;

/// Protocol that is spoken over the connections.
const HTTP: &[u8] = b"http/1.1";

/// Settings of TLS from the files of a certificate and its key, if they go together.
/// Only TLS 1.3, which every browser that runs WebAssembly SIMD or WebGPU speaks.
pub(crate) fn tls(certificate: &Path, private_key: &Path) -> Result<Arc<RustlsConfig>, FileError> {
    let chain = certificates(certificate)?;
    let key = read_private_key(private_key)?;
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
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    let mut tls = built.map_err(|error| match &error {
        Error::InvalidCertificate(_) => fail(certificate, &error),
        _ => fail(private_key, &error),
    })?;
    tls.alpn_protocols = vec![HTTP.to_vec()];
    // Clients that come back do so without the certificate, and without memory here.
    tls.ticketer = ring::Ticketer::new().map_err(|error| fail(private_key, &error))?;
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

fn read_private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| FileError {
        path: path.to_owned(),
        problem: "must hold a private key in PEM".to_owned(),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|error| FileError { path: path.to_owned(), problem: error.to_string() })
}
