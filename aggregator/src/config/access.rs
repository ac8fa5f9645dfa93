//! Config of access: `[server.tls]`, `[server.limits]`, `[[server.token_key]]`
//! and `[task.access]`.
//!
//! Key files and certificates are read here too, so that `check` finds what is
//! wrong with them.

use std::path::PathBuf;
use std::time::Duration;

use figment::value::Value;
use ipnet::IpNet;

use super::origin::Origin;
use super::section::Section;
use super::{HOUR, ServerConfig, value};
use crate::credentials::{self, TokenKey, TokenKeySource};

/// `[server.tls]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM file of the certificate and those that lead up to the root.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub private_key: PathBuf,
    /// Longest time that a TLS handshake may take. Default 10 s.
    pub handshake_timeout: Duration,
}

/// `[server.limits]`. In all counts and rates 0 is no limit.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitsConfig {
    /// Most connections of one address at a time. Default 0.
    pub connections_per_address: usize,
    /// New WebSockets, and TLS handshakes, of one address. Default 0.
    pub handshakes_per_second_per_address: f64,
    /// Burst of the same after a quiet time. Default 20.
    pub handshake_burst_per_address: u32,
    /// The same from everywhere. Default 2,000.
    pub handshakes_per_second: u32,
    /// Longest time from the connection, or the first byte of a later request, to the
    /// whole head of the request. Default: the handshake timeout.
    pub header_timeout: Duration,
    /// Longest time from an answer to the first byte of the next request. Default 75 s.
    pub keep_alive_timeout: Duration,
    /// Most bytes of a request's head. Default 16 KiB.
    pub header_bytes: usize,
    /// An update that has its room may be slower than `min_upload_rate` for so
    /// long. Default 10 s.
    pub upload_grace: Duration,
    /// Bytes a second that an update has to arrive with, on average, to keep its
    /// room. Default 4 KiB.
    pub min_upload_rate: u64,
    /// Proxies that are believed about where a request comes from. Default none.
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which they say it.
    pub client_address_header: ClientAddressHeader,
}

/// One of `[[server.token_key]]`: a key that join tokens are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenKeyConfig {
    /// The `kid` of the tokens that are signed with it.
    pub id: String,
    /// Algorithm and file.
    pub source: TokenKeySource,
}

/// `[task.access]`: who may take part in a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessConfig {
    /// Need of a token for a check-in. Default: none.
    pub tokens: Tokens,
    /// Longest time from a token's `iat` to its `exp`. Default 1 h.
    pub max_token_lifetime: Duration,
    /// Most clients at a time; 0 is no limit. Default 0.
    pub max_clients: usize,
    /// Most clients of one address at a time; 0 is no limit. Default 0.
    pub max_clients_per_address: usize,
}

/// Need of a token for a check-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokens {
    /// Each check-in needs one.
    Required,
    /// The task is open. A token is not looked at.
    None,
}

impl TlsConfig {
    pub(super) fn read(section: Section<'_>) -> Self {
        let second = Duration::from_secs(1);
        let config = Self {
            certificate: section.required("certificate", PathBuf::new(), value::path),
            private_key: section.required("private_key", PathBuf::new(), value::path),
            handshake_timeout: section.or(
                "handshake_timeout",
                10 * second,
                value::duration(second / 10, HOUR),
            ),
        };
        let (certificate, private_key) = (&config.certificate, &config.private_key);
        if !certificate.as_os_str().is_empty()
            && !private_key.as_os_str().is_empty()
            && let Err(error) = credentials::tls(certificate, private_key)
        {
            let key = if error.path == *certificate { "certificate" } else { "private_key" };
            section.mistake(key, error.to_string());
        }
        section.finish();
        config
    }
}

impl LimitsConfig {
    pub(super) fn read(section: Section<'_>, handshake_timeout: Duration) -> Self {
        let tenth = Duration::from_millis(100);
        let per_second = value::number("from 0 to 1000000", |x| (0.0..=1e6).contains(&x));
        let config = Self {
            connections_per_address: section.or("connections_per_address", 0, value::whole(0)),
            handshakes_per_second_per_address: section.or(
                "handshakes_per_second_per_address",
                0.0,
                per_second,
            ),
            handshake_burst_per_address: section.or(
                "handshake_burst_per_address",
                20,
                value::whole(1),
            ),
            handshakes_per_second: section.or("handshakes_per_second", 2000, value::whole(0)),
            header_timeout: section.or(
                "header_timeout",
                handshake_timeout,
                value::duration(tenth, HOUR),
            ),
            keep_alive_timeout: section.or(
                "keep_alive_timeout",
                Duration::from_secs(75),
                value::duration(tenth, HOUR),
            ),
            header_bytes: section.or("header_bytes", 16 << 10, header_bytes),
            upload_grace: section.or(
                "upload_grace",
                Duration::from_secs(10),
                value::duration(tenth, HOUR),
            ),
            min_upload_rate: section.or("min_upload_rate", 4 << 10, value::size),
            trusted_proxies: section.or("trusted_proxies", vec![], value::list(network)),
            client_address_header: section.or(
                "client_address_header",
                ClientAddressHeader::XForwardedFor,
                client_address_header,
            ),
        };
        section.finish();
        config
    }
}

fn header_bytes(value: &Value) -> Result<usize, String> {
    let (least, most) = (8 << 10, 1 << 20);
    let bytes = value::size(value)?;
    if !(least..=most).contains(&bytes) {
        return Err(format!("must be from 8KiB to 1MiB; it is {bytes} bytes"));
    }
    usize::try_from(bytes).map_err(|error| error.to_string())
}

/// An address, or a network such as 10.0.0.0/8.
fn network(value: &Value) -> Result<IpNet, String> {
    let text = value::text(value)?;
    let address = || text.parse::<std::net::IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| address()).map_err(|_| {
        format!("must be an address or a network such as \"10.0.0.0/8\"; it is {text:?}")
    })
}

fn client_address_header(value: &Value) -> Result<ClientAddressHeader, String> {
    match value::text(value)?.to_ascii_lowercase().as_str() {
        "x-forwarded-for" => Ok(ClientAddressHeader::XForwardedFor),
        "forwarded" => Ok(ClientAddressHeader::Forwarded),
        other => Err(format!("must be \"x-forwarded-for\" or \"forwarded\"; it is {other:?}")),
    }
}

/// `server.allowed_origins`.
pub(super) fn origin(value: &Value) -> Result<Origin, String> {
    Origin::new(&value::text(value)?).map_err(|error| error.to_string())
}

impl TokenKeyConfig {
    /// Reads all sections; those with mistakes are left out.
    pub(super) fn read_all(sections: Vec<Section<'_>>) -> Vec<Self> {
        let mut keys: Vec<Self> = Vec::new();
        for section in sections {
            let Some(key) = Self::read(&section) else {
                section.finish();
                continue;
            };
            if keys.iter().any(|other| other.id == key.id) {
                let problem = format!("the id {:?} is taken by an earlier key", key.id);
                section.mistake("id", problem);
            }
            section.finish();
            keys.push(key);
        }
        keys
    }

    fn read(section: &Section<'_>) -> Option<Self> {
        let id = section.required("id", String::new(), key_id);
        let algorithm = section.required("algorithm", String::new(), value::text);
        let public_key_file = section.optional("public_key_file", value::path);
        let secret_file = section.optional("secret_file", value::path);
        let (file, other) = match algorithm.as_str() {
            "EdDSA" => ("public_key_file", ("secret_file", secret_file.is_some())),
            "HS256" => ("secret_file", ("public_key_file", public_key_file.is_some())),
            "" => return None,
            _ => {
                let problem = format!("must be \"EdDSA\" or \"HS256\"; it is {algorithm:?}");
                section.mistake("algorithm", problem);
                return None;
            }
        };
        if let (key, true) = other {
            section.mistake(key, format!("does not go with the algorithm {algorithm:?}"));
        }
        let eddsa = || Some(TokenKeySource::EdDsa { public_key_file: public_key_file? });
        let hs256 = || Some(TokenKeySource::Hs256 { secret_file: secret_file? });
        let source = if algorithm == "EdDSA" { eddsa() } else { hs256() };
        let Some(source) = source else {
            if section.peek(file).is_none() {
                section.mistake(file, format!("missing; the algorithm {algorithm:?} needs it"));
            }
            return None;
        };
        let key = Self { id, source };
        if let Err(error) = TokenKey::load(&key.source) {
            section.mistake(file, error.to_string());
        }
        Some(key)
    }
}

fn key_id(value: &Value) -> Result<String, String> {
    let id = value::text(value)?;
    let valid = (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    if valid { Ok(id) } else { Err("must be 1 to 128 visible ASCII characters".to_owned()) }
}

impl AccessConfig {
    pub(super) fn read(section: Section<'_>, server: &ServerConfig) -> Self {
        let second = Duration::from_secs(1);
        let config = Self {
            tokens: section.or("tokens", Tokens::None, tokens),
            max_token_lifetime: section.or(
                "max_token_lifetime",
                HOUR,
                value::duration(second, 24 * 366 * HOUR),
            ),
            max_clients: section.or("max_clients", 0, value::whole(0)),
            max_clients_per_address: section.or("max_clients_per_address", 0, value::whole(0)),
        };
        if config.tokens == Tokens::Required && server.token_keys.is_empty() {
            let problem = "there is no key to check tokens with; add one with \
                           [[server.token_key]]";
            section.mistake("tokens", problem);
        }
        section.finish();
        config
    }

    /// The access rules, in a line.
    pub(super) fn summary(&self) -> String {
        let who = match self.tokens {
            Tokens::Required => {
                let lifetime = humantime::format_duration(self.max_token_lifetime);
                format!("with a token that lives {lifetime} at most")
            }
            Tokens::None => "anybody".to_owned(),
        };
        let most = |count: usize, whence| match count {
            0 => String::new(),
            count => format!(", at most {count} at a time{whence}"),
        };
        let (all, each) = (self.max_clients, self.max_clients_per_address);
        format!("  takes part: {who}{}{}\n", most(all, ""), most(each, " from one address"))
    }
}

fn tokens(value: &Value) -> Result<Tokens, String> {
    match value::text(value)?.as_str() {
        "required" => Ok(Tokens::Required),
        "none" => Ok(Tokens::None),
        other => Err(format!("must be \"required\" or \"none\"; it is {other:?}")),
    }
}

/// Header that tells the client address of a proxied request. Only one is believed, because
/// a proxy that writes one of them passes the other on as the client sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAddressHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}
