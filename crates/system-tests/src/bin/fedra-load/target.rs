//! The aggregator that is under load: connections to it, up to its WebSocket.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use anyhow::Context;
use fedra_protocol::limits::MAX_MESSAGE_BYTES;
use fedra_protocol::{
    Availability, Capabilities, ClientMessage, Hello, PROTOCOL_VERSION, SubjectId, TaskId,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// A connection, with or without TLS.
pub type Stream = Box<dyn Duplex>;

/// Capabilities of a connection.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// Longest answer to the upgrade, bytes.
const MOST_HEAD: usize = 8 << 10;

/// An aggregator on 127.0.0.1.
pub struct Target {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Target {
    /// `trust`: a certificate in PEM, for TLS.
    pub fn new(port: u16, trust: Option<&Path>) -> anyhow::Result<Self> {
        let tls = trust.map(connector).transpose()?;
        Ok(Self { address: (Ipv4Addr::LOCALHOST, port).into(), tls })
    }

    /// Connects from an address of this machine; nothing is sent but what TLS needs.
    pub async fn connect(&self, from: Ipv4Addr, receive_buffer: Option<u32>) -> io::Result<Stream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        // Other systems have to be told of more than one address.
        if cfg!(target_os = "linux") {
            socket.bind((from, 0).into())?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some(tls) => {
                let name = ServerName::IpAddress(self.address.ip().into());
                Ok(Box::new(tls.connect(name, stream).await?))
            }
        }
    }
}

/// Clients of an aggregator, by number.
pub struct Visitors {
    pub target: Target,
    pub task: TaskId,
    /// Number of their addresses, 127.0.0.2 and on.
    pub addresses: u8,
}

impl Visitors {
    /// The connection of one of them.
    pub async fn connect(&self, number: usize, receive_buffer: Option<u32>) -> io::Result<Stream> {
        let last = 2 + (number % usize::from(self.addresses)) as u8;
        self.target.connect(Ipv4Addr::new(127, 0, 0, last), receive_buffer).await
    }

    /// The same as a WebSocket that keeps small buffers.
    pub async fn websocket(&self, number: usize) -> anyhow::Result<WebSocketStream<Stream>> {
        let stream = self.connect(number, None).await?;
        let config = WebSocketConfig::default()
            .read_buffer_size(1 << 10)
            .write_buffer_size(0)
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        // Whether there is TLS below is of no concern to the request.
        let url = format!("ws://{}/v1/connect", self.target.address);
        Ok(client_async_with_config(url, stream, Some(config)).await?.0)
    }

    /// The same after the upgrade, for attacks that write frames by hand.
    pub async fn upgraded(&self, number: usize, receive_buffer: Option<u32>) -> io::Result<Stream> {
        let mut stream = self.connect(number, receive_buffer).await?;
        let request = format!(
            "GET /v1/connect HTTP/1.1\r\nhost: {}\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.target.address
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && head.len() < MOST_HEAD {
            head.push(stream.read_u8().await?);
        }
        if head.starts_with(b"HTTP/1.1 101 ") {
            Ok(stream)
        } else {
            Err(io::Error::other("no upgrade"))
        }
    }

    /// The first message of a session.
    pub fn hello(&self) -> ClientMessage {
        let software = concat!("fedra-load/", env!("CARGO_PKG_VERSION")).to_owned();
        ClientMessage::Hello(Hello { versions: vec![PROTOCOL_VERSION], software })
    }

    /// The second, with a subject of this `number` alone.
    pub fn check_in(&self, number: usize, availability: Availability) -> ClientMessage {
        let mut subject = [0xff; 16];
        subject[..8].copy_from_slice(&(number as u64).to_le_bytes());
        let subject = Some(SubjectId::from_bytes(subject));
        ClientMessage::CheckIn {
            task: self.task.clone(),
            availability,
            subject,
            token: None,
            capabilities: Capabilities::all(),
        }
    }
}

/// Trusts one certificate and no other.
fn connector(trust: &Path) -> anyhow::Result<TlsConnector> {
    let pem = fs::read(trust).with_context(|| format!("cannot read {}", trust.display()))?;
    let certificate = CertificateDer::from_pem_slice(&pem)
        .with_context(|| format!("{} is no certificate", trust.display()))?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).context("the certificate cannot be trusted")?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
