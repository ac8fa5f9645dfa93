//! Connections, with and without TLS.

use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use hyper::Uri;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, CertificateError, ClientConfig, RootCertStore};

use crate::transport::{TlsError, TransportError, TrustError};

/// Protocol over the connections.
const HTTP: &[u8] = b"http/1.1";

/// The system's authorities, read when the first connection needs them.
static SYSTEM: LazyLock<Result<Trust, TrustError>> = LazyLock::new(|| {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        let errors: String = found.errors.iter().map(|error| format!(" ({error})")).collect();
        return Err(TrustError::NoneOnSystem(errors));
    }
    Ok(Trust::roots(roots))
});

/// The authorities that a server's certificate may come from: by default the
/// system's.
#[derive(Clone, Debug, Default)]
pub struct Trust(Option<Arc<ClientConfig>>);

impl Trust {
    /// The system's authorities, read now.
    ///
    /// # Errors
    ///
    /// [`TrustError::NoneOnSystem`] if it has none.
    pub fn system() -> Result<Self, TrustError> {
        SYSTEM.clone()
    }

    /// The certificates of a PEM file, and no other.
    ///
    /// # Errors
    ///
    /// [`TrustError`] if the file cannot be read, is damaged, or has no certificate.
    pub fn file(path: &Path) -> Result<Self, TrustError> {
        let shown = path.display().to_string();
        let pem = std::fs::read(path).map_err(|error| TrustError::Unreadable {
            path: shown.clone(),
            problem: error.to_string(),
        })?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let number = roots.len() + 1;
            let damaged = |problem| TrustError::Damaged { path: shown.clone(), number, problem };
            let certificate = certificate.map_err(|error| damaged(error.to_string()))?;
            roots.add(certificate).map_err(|error| damaged(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(TrustError::Empty(shown));
        }
        Ok(Self::roots(roots))
    }

    fn roots(roots: RootCertStore) -> Self {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has a cipher suite for each of the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![HTTP.to_vec()];
        Self(Some(Arc::new(config)))
    }

    fn connector(&self) -> Result<TlsConnector, TrustError> {
        match &self.0 {
            Some(config) => Ok(config.clone().into()),
            None => Self::system()?.connector(),
        }
    }
}

/// Abilities of a connection.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// A connection, with or without TLS.
pub(super) type Connection = Box<dyn Duplex>;

/// True if the address is reached over TLS.
pub(super) fn is_encrypted(address: &Uri) -> bool {
    matches!(address.scheme_str(), Some("https" | "wss"))
}

/// Connects to the address's host, with TLS if its scheme asks for it.
pub(super) async fn dial(address: &Uri, trust: &Trust) -> Result<Connection, TransportError> {
    let is_encrypted = is_encrypted(address);
    let host = address.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = address.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 });
    let network = |error: io::Error| TransportError::Network(error.to_string());
    let stream = TcpStream::connect((host, port)).await.map_err(network)?;
    stream.set_nodelay(true).map_err(network)?;
    if !is_encrypted {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| TlsError::Handshake(format!("{host} cannot be a server's name")))?;
    let connector = trust.connector().map_err(TlsError::from)?;
    Ok(Box::new(connector.connect(name, stream).await.map_err(|error| failure(&error))?))
}

/// Meaning of a failed handshake.
fn failure(error: &io::Error) -> TransportError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(problem)) => of_certificate(problem).into(),
        Some(rustls::Error::InvalidMessage(_)) => TlsError::NotTls.into(),
        Some(other) => TlsError::Handshake(other.to_string()).into(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => TlsError::BrokenOff.into(),
        None if error.kind() == io::ErrorKind::ConnectionReset => TlsError::BrokenOff.into(),
        None => TransportError::Network(error.to_string()),
    }
}

fn of_certificate(problem: &CertificateError) -> TlsError {
    match problem {
        // A bad signature is that of another authority with the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsError::UnknownIssuer,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsError::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsError::NotYetValid
        }
        CertificateError::NotValidForNameContext { expected, presented } => TlsError::WrongName {
            expected: expected.to_str().into_owned(),
            presented: names(presented),
        },
        // The library has no kind of its own for this one.
        other if other.to_string().contains("CaUsedAsEndEntity") => TlsError::IsAuthority,
        other => TlsError::Certificate(other.to_string()),
    }
}

/// The first few names of a certificate, each given as `DnsName("name")`.
fn names(presented: &[String]) -> String {
    const MOST: usize = 5;
    let name = |given: &String| {
        let inner = given.split_once('(').map_or(&**given, |(_, inner)| inner);
        inner.trim_end_matches(')').trim_matches('"').to_owned()
    };
    let mut names: Vec<_> = presented.iter().take(MOST).map(name).collect();
    match presented.len() {
        0 => return "no name at all".to_owned(),
        count if count > MOST => names.push("others".to_owned()),
        _ => {}
    }
    names.join(", ")
}
