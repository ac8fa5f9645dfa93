//! TLS from the handshake to a round, a new certificate while the server runs,
//! and peers that do not speak TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use fedra_aggregator::config::Config;
use fedra_protocol::{ClientMessage, Hello, PROTOCOL_VERSION, ServerMessage};
use futures_util::{SinkExt, StreamExt};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{TestServer, check_in, config, metric_in, soon};

/// Writes a fresh certificate and its key into the folder.
pub fn certify(folder: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(folder.join("certificate.pem"), cert.pem()).expect("writes");
    std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).expect("writes");
    cert.der().clone()
}

/// A config with the certificate in the folder.
pub fn tls_config(folder: &Path, rest: &str) -> Config {
    let tls = format!(
        "[server.tls]\ncertificate = \"{0}/certificate.pem\"\nprivate_key = \"{0}/key.pem\"\n{rest}",
        folder.display()
    );
    let config = config(&folder.join("store"), "cohort_size = 1", &tls);
    assert!(config.server.tls.is_some());
    config
}

async fn start(rest: &str) -> (TestServer, CertificateDer<'static>) {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let certificate = certify(folder.path());
    let server = TestServer::start_config(tls_config(folder.path(), rest), folder).await;
    (server, certificate)
}

/// A TLS connection that trusts one certificate alone.
async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = soon(TcpStream::connect(address)).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

async fn fetch(mut stream: TlsStream<TcpStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    soon(stream.write_all(request.as_bytes())).await.expect("writes");
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.expect("an orderly end");
    answer
}

#[tokio::test]
async fn a_session_over_tls() {
    let (server, certificate) = start("").await;
    let stream = connect(server.address, &certificate).await.expect("trusted");
    let (mut socket, _) =
        soon(client_async("wss://localhost/v1/connect", stream)).await.expect("upgrades");
    let hello = Hello { versions: vec![PROTOCOL_VERSION], software: "test".to_owned() };
    for message in [ClientMessage::Hello(hello), check_in("tiny")] {
        soon(socket.send(Message::Binary(message.encode()))).await.expect("sends");
    }
    let invited = async {
        loop {
            let message = socket.next().await.expect("open").expect("sound");
            let Message::Binary(bytes) = message else { continue };
            if let ServerMessage::RoundAssignment(assignment) =
                ServerMessage::decode(bytes).expect("valid")
            {
                return assignment;
            }
        }
    };
    assert_eq!(soon(invited).await.round.round, 1);

    let answer = fetch(connect(server.address, &certificate).await.expect("trusted"), "/").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("strict-transport-security: max-age="), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_new_certificate_replaces_the_old_one_and_a_bad_one_does_not() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let first = certify(folder.path());
    let config = tls_config(folder.path(), "");
    let (server, reload) = TestServer::start_reloading(config.clone(), Arc::clone(&folder)).await;
    let mut open = connect(server.address, &first).await.expect("trusted");

    let second = certify(folder.path());
    reload.send(config.clone()).expect("running");
    soon(async { while connect(server.address, &second).await.is_err() {} }).await;
    assert!(connect(server.address, &first).await.is_err());
    // What was open stays open.
    soon(open.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"))
        .await
        .expect("writes");
    let mut status = [0; 12];
    soon(open.read_exact(&mut status)).await.expect("reads");
    assert_eq!(&status, b"HTTP/1.1 200");

    // The key of another certificate. A third, sound one says when it was seen.
    std::fs::write(folder.path().join("key.pem"), "nonsense").expect("writes");
    reload.send(config.clone()).expect("running");
    assert!(connect(server.address, &second).await.is_ok());
    let third = certify(folder.path());
    reload.send(config).expect("running");
    soon(async { while connect(server.address, &third).await.is_err() {} }).await;
    server.stop().await;
}

#[tokio::test]
async fn peers_that_do_not_speak_tls_are_dropped() {
    let (server, certificate) = start("").await;
    // Plain HTTP: an alert and the end, nothing in the clear.
    let mut plain = soon(TcpStream::connect(server.address)).await.expect("connects");
    soon(plain.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")).await.expect("writes");
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = soon(plain.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    let metrics = fetch(connect(server.address, &certificate).await.expect("trusted"), "/metrics");
    let metrics = metrics.await;
    assert_eq!(metric_in(&metrics, "fedra_tls_failures_total"), 1);
    assert_eq!(metric_in(&metrics, "fedra_connections"), 1);
    server.stop().await;
}

#[tokio::test]
async fn peers_that_say_nothing_are_dropped() {
    let (server, _) = start("handshake_timeout = \"200ms\"").await;
    let mut silent = soon(TcpStream::connect(server.address)).await.expect("connects");
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = soon(silent.read_to_end(&mut answer)).await;
    assert!(answer.is_empty());
    server.stop().await;
}

#[test]
fn certificates_that_cannot_be_used_are_mistakes() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    certify(folder.path());
    std::fs::rename(path("key.pem"), path("other.pem")).expect("renames");
    certify(folder.path());
    std::fs::write(path("empty.pem"), "").expect("writes");
    for (certificate, key, expected) in [
        ("certificate.pem", "other.pem", "server.tls.private_key: "),
        ("certificate.pem", "empty.pem", "server.tls.private_key: "),
        ("empty.pem", "key.pem", "server.tls.certificate: "),
        ("none.pem", "key.pem", "server.tls.certificate: "),
    ] {
        let toml = format!(
            "[server.tls]\ncertificate = \"{}\"\nprivate_key = \"{}\"\n[[task]]\nid = \"a\"\n\
             model = \"softmax-regression\"",
            path(certificate).display(),
            path(key).display()
        );
        let mistakes = Config::from_toml(&toml).expect_err("a mistake").to_string();
        assert!(mistakes.contains(expected), "{mistakes}");
    }
}
