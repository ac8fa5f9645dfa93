//! Connections to servers with good and bad certificates, with TLS where none is
//! expected and the other way round.

use std::future::Future;
use std::net::SocketAddr;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion, version};
use tokio_tungstenite::accept_async;

use super::*;
use crate::transport::{TlsError, TrustError};

const MODEL: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nmodel";
const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

type Authority = CertifiedIssuer<'static, KeyPair>;

/// Keeps a test that fails from standing still.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("in time")
}

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Trusts an authority by way of a file.
fn trust(authority: &Authority) -> Trust {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, authority.pem()).unwrap();
    Trust::file(&path).unwrap()
}

fn names(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
}

/// TLS with a certificate that the authority makes from `params`.
fn tls(
    params: &CertificateParams,
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Listens on a port of loopback and gives `serve` every connection.
async fn listen<F>(
    serve: impl Fn(Box<dyn dial::Duplex>) -> F + Send + 'static,
    tls: Option<TlsAcceptor>,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            match &tls {
                None => drop(tokio::spawn(serve(Box::new(stream)))),
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        tokio::spawn(serve(Box::new(stream)));
                    }
                }
            }
        }
    });
    address
}

/// A server that answers every request with the same bytes and hangs up.
async fn answering(answer: &'static [u8], tls: Option<TlsAcceptor>) -> SocketAddr {
    let serve = move |mut stream: Box<dyn dial::Duplex>| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let _ = stream.write_all(answer).await;
        let _ = stream.shutdown().await;
    };
    listen(serve, tls).await
}

async fn fetched(
    scheme: &str,
    address: SocketAddr,
    trust: &Trust,
) -> Result<Vec<u8>, TransportError> {
    let url = format!("{scheme}://localhost:{}/v1/models/ab", address.port());
    soon(fetch(&url, 100, trust)).await
}

async fn opened(scheme: &str, address: SocketAddr, trust: &Trust) -> Result<(), TransportError> {
    let url = format!("{scheme}://localhost:{}/v1/connect", address.port());
    soon(connect(&url, trust)).await.map(|_| ())
}

/// Failure of the file and of the socket, which must be the same.
async fn failure(schemes: [&str; 2], address: SocketAddr, trust: &Trust) -> TransportError {
    let file = fetched(schemes[0], address, trust).await.unwrap_err();
    let socket = opened(schemes[1], address, trust).await.unwrap_err();
    assert_eq!(file, socket);
    file
}

const PLAIN: [&str; 2] = ["http", "ws"];
const ENCRYPTED: [&str; 2] = ["https", "wss"];

#[tokio::test]
async fn files_come_over_tls_of_both_versions() {
    let authority = authority();
    let trust = trust(&authority);
    for version in VERSIONS {
        let tls = tls(&names(&["localhost", "127.0.0.1"]), &authority, &[version]);
        let address = answering(MODEL, Some(tls)).await;
        assert_eq!(fetched("https", address, &trust).await.unwrap(), b"model");
        let url = format!("https://{address}/v1/models/ab");
        assert_eq!(soon(fetch(&url, 5, &trust)).await.unwrap(), b"model");
    }
}

#[tokio::test]
async fn a_socket_opens_over_tls() {
    let authority = authority();
    let echo = |stream| async move {
        let mut socket = accept_async(stream).await.unwrap();
        let message = socket.next().await.unwrap().unwrap();
        socket.send(message).await.unwrap();
    };
    let tls = tls(&names(&["localhost"]), &authority, &VERSIONS);
    let address = listen(echo, Some(tls)).await;
    let url = format!("wss://localhost:{}/v1/connect", address.port());
    let (mut sender, mut receiver) = soon(connect(&url, &trust(&authority))).await.unwrap();
    sender.start(Bytes::from_static(b"hello"));
    soon(sender.sent()).await.unwrap();
    let answer = soon(receiver.next()).await.unwrap();
    assert!(matches!(&answer, Incoming::Message(bytes) if bytes == "hello"), "{answer:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_told_apart() {
    let authority = authority();
    let other_name = names(&["other.example", "192.0.2.1"]);
    let mut old = names(&["localhost"]);
    (old.not_before, old.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
    let mut early = names(&["localhost"]);
    (early.not_before, early.not_after) = (date_time_ymd(4000, 1, 1), date_time_ymd(4001, 1, 1));
    let mut of_authority = names(&["localhost"]);
    of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let wrong_name = TlsError::WrongName {
        expected: "localhost".into(),
        presented: "other.example, 192.0.2.1".into(),
    };
    for (params, expected) in [
        (other_name, wrong_name),
        (old, TlsError::Expired),
        (early, TlsError::NotYetValid),
        (of_authority, TlsError::IsAuthority),
    ] {
        let address = answering(MODEL, Some(tls(&params, &authority, &VERSIONS))).await;
        let failure = failure(ENCRYPTED, address, &trust(&authority)).await;
        assert_eq!(failure, TransportError::Tls(expected));
    }
}

#[tokio::test]
async fn other_authorities_are_not_trusted() {
    let tls = tls(&names(&["localhost"]), &authority(), &VERSIONS);
    let address = answering(MODEL, Some(tls)).await;
    let failure = failure(ENCRYPTED, address, &trust(&authority())).await;
    assert_eq!(failure, TransportError::Tls(TlsError::UnknownIssuer));
    assert!(failure.to_string().contains("--ca"), "{failure}");
}

#[tokio::test]
async fn tls_on_a_port_without_it_is_told_as_that() {
    let trust = trust(&authority());
    // A server of HTTP answers what it cannot read.
    let not_read = |mut stream: Box<dyn dial::Duplex>| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(BAD_REQUEST).await;
        let _ = stream.shutdown().await;
    };
    let address = listen(not_read, None).await;
    assert_eq!(failure(ENCRYPTED, address, &trust).await, TransportError::Tls(TlsError::NotTls));
    // Or hangs up.
    let hang_up = |mut stream: Box<dyn dial::Duplex>| async move {
        let _ = stream.read(&mut [0; 1024]).await;
    };
    let address = listen(hang_up, None).await;
    let failure = failure(ENCRYPTED, address, &trust).await;
    assert_eq!(failure, TransportError::Tls(TlsError::BrokenOff));
    assert!(failure.to_string().contains("http:// or ws://"), "{failure}");
}

#[tokio::test]
async fn no_tls_on_a_port_with_it_is_told_as_that() {
    let trust = Trust::default();
    let tls = tls(&names(&["localhost"]), &authority(), &VERSIONS);
    let address = answering(MODEL, Some(tls)).await;
    let alert = failure(PLAIN, address, &trust).await;
    assert_eq!(alert, TransportError::NotHttp);
    // As nginx and others do.
    let address = answering(BAD_REQUEST, None).await;
    let refusal = failure(PLAIN, address, &trust).await;
    assert!(matches!(refusal, TransportError::Status { status: 400, .. }), "{refusal:?}");
    for error in [alert, refusal] {
        assert!(error.to_string().contains("https:// or wss://"), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_but_told() {
    const MOVED: &[u8] = b"HTTP/1.1 301 Moved Permanently\r\nlocation: https://other.example/\r\n\
        content-length: 0\r\n\r\n";
    let address = answering(MOVED, None).await;
    let failure = failure(PLAIN, address, &Trust::default()).await;
    assert!(matches!(failure, TransportError::Status { status: 301, .. }), "{failure:?}");
    assert!(failure.to_string().contains("points to https://other.example/"), "{failure}");
}

#[tokio::test]
async fn other_answers_and_too_many_bytes_are_failures() {
    let gone = answering(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", None).await;
    let failure = failure(PLAIN, gone, &Trust::default()).await;
    assert_eq!(failure.to_string(), "the server answered 404");
    let address = answering(MODEL, None).await;
    let url = format!("http://{address}/");
    let short = soon(fetch(&url, 4, &Trust::default())).await;
    assert_eq!(short, Err(TransportError::TooLong(4)));
}

#[tokio::test]
async fn nobody_listening_is_a_failure_of_the_network() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let failure = failure(ENCRYPTED, address, &trust(&authority())).await;
    assert!(matches!(failure, TransportError::Network(_)), "{failure:?}");
}

#[tokio::test]
async fn a_fetch_that_is_given_up_ends_its_connection() {
    let (ended, end) = tokio::sync::oneshot::channel();
    let ended = std::sync::Mutex::new(Some(ended));
    let (asked, request) = tokio::sync::oneshot::channel();
    let asked = std::sync::Mutex::new(Some(asked));
    let silent = move |mut stream: Box<dyn dial::Duplex>| {
        let (asked, ended) = (asked.lock().unwrap().take(), ended.lock().unwrap().take());
        async move {
            let _ = stream.read_u8().await;
            asked.unwrap().send(()).unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
            ended.unwrap().send(()).unwrap();
        }
    };
    let address = listen(silent, None).await;
    let fetching = tokio::spawn(async move { fetched("http", address, &Trust::default()).await });
    soon(request).await.unwrap();
    fetching.abort();
    soon(end).await.unwrap();
}

#[test]
fn a_file_of_certificates_has_one_or_more_of_them() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        Trust::file(&path).map(|_| ())
    };
    let (first, second) = (authority().pem(), authority().pem());
    assert_eq!(file("one.pem", &first), Ok(()));
    assert_eq!(file("two.pem", &format!("of the site\n{first}\n{second}")), Ok(()));
    let key = KeyPair::generate().unwrap().serialize_pem();
    for (name, content) in [("empty.pem", ""), ("text.pem", "certificate"), ("key.pem", &key)] {
        let error = file(name, content).unwrap_err();
        assert!(matches!(error, TrustError::Empty(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(name) && text.contains("-----BEGIN CERTIFICATE-----"), "{text}");
    }
    let cut = &first[..first.len() / 2];
    let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for damaged in [cut, no_der] {
        let error = file("damaged.pem", &format!("{second}\n{damaged}")).unwrap_err();
        assert!(matches!(error, TrustError::Damaged { number: 2, .. }), "{error:?}");
    }
    let missing = Trust::file(&folder.path().join("missing.pem")).unwrap_err();
    assert!(matches!(missing, TrustError::Unreadable { .. }), "{missing:?}");
    assert!(missing.to_string().contains("missing.pem"), "{missing}");
}
