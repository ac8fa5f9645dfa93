//! The server's address in all the ways it may be written, and what lies at it: the
//! WebSocket, and the files beside it.
//!
//! No URL library: in the browser its tables would double what a visitor
//! downloads for a few string operations.

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Path of the socket below the server's own.
const SOCKET: &str = "v1/connect";
/// Folder of the socket.
const FOLDER: &str = "v1";
/// Longest host name, bytes.
const HOST_BYTES: usize = 253;

/// A server's address. It may be written as that of the site (`https://host`), of a
/// folder of it (`https://host/fed/`), or of the socket (`wss://host/fed/v1/connect`);
/// all of these mean the same socket. `http` and `ws` are without TLS, `https` and
/// `wss` with it. A query is kept for the socket alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    socket: String,
    /// The HTTP address of the socket's folder, with a slash at its end.
    base: String,
    is_encrypted: bool,
}

/// Reason why text is not a server's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerUrlError {
    /// It does not begin with a scheme and two slashes.
    #[error(
        "the address has to begin with https:// or wss://, or without TLS with http:// or ws://"
    )]
    NoScheme,
    /// It begins with another scheme.
    #[error("{0}:// is no scheme of a server; write https:// or wss://, http:// or ws://")]
    Scheme(String),
    /// It has a character that must not stand in an address.
    #[error("the address has {0:?} in it, which must not stand there")]
    Character(char),
    /// It has a character beyond ASCII.
    #[error(
        "the address has {0:?} in it; write a host name in its ASCII form (xn--...), and what \
         follows it with percent signs"
    )]
    Unicode(char),
    /// It has a user's name or a password.
    #[error("the address must not have a user or password before an @; use a token instead")]
    User,
    /// There is no host, or something else in its place.
    #[error(
        "the host is missing or is no host name; write the address like https://example.org, \
         http://192.0.2.1:8080 or https://[2001:db8::1]"
    )]
    Host,
    /// The port is no port.
    #[error("{0:?} is no port; a port is a number from 1 to 65535")]
    Port(String),
    /// It has segments that stand for other folders.
    #[error("the path has . or .. in it; write it without them")]
    Dots,
    /// It has a fragment, which no server is ever sent.
    #[error("the address ends in #..., which means nothing to a server; leave that out")]
    Fragment,
}

impl ServerUrl {
    /// The WebSocket address.
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// The HTTP address of `path`, which is relative to the socket's address without
    /// its last segment.
    pub fn http(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// True if the server is reached over TLS.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }
}

/// The socket's address without its query, for people to read.
impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.socket.split('?').next().unwrap_or_default())
    }
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(url: &str) -> Result<Self, ServerUrlError> {
        check_characters(url)?;
        let (scheme, rest) = url.split_once("://").ok_or(ServerUrlError::NoScheme)?;
        let is_encrypted = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return Err(ServerUrlError::Scheme(scheme.chars().take(20).collect())),
        };
        if rest.contains('#') {
            return Err(ServerUrlError::Fragment);
        }
        let (address, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        let (authority, path) = address.split_once('/').unwrap_or((address, ""));
        if authority.contains('@') {
            return Err(ServerUrlError::User);
        }
        if path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(ServerUrlError::Dots);
        }
        let (socket, http, port) =
            if is_encrypted { ("wss", "https", 443) } else { ("ws", "http", 80) };
        let authority = checked_authority(authority, port)?;
        let folder = match folder_of(path.trim_end_matches('/')) {
            "" => String::new(),
            folder => format!("/{folder}"),
        };
        Ok(Self {
            socket: format!("{socket}://{authority}{folder}/{SOCKET}{query}"),
            base: format!("{http}://{authority}{folder}/{FOLDER}/"),
            is_encrypted,
        })
    }
}

fn check_characters(url: &str) -> Result<(), ServerUrlError> {
    match url.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '"' | '<' | '>' | '\\' | '`')) {
        None => Ok(()),
        Some(c) if c.is_ascii() || c.is_whitespace() => Err(ServerUrlError::Character(c)),
        Some(c) => Err(ServerUrlError::Unicode(c)),
    }
}

/// The path that the server has to itself: what is before the socket's own.
fn folder_of(path: &str) -> &str {
    let before = |end| path.strip_suffix(end).filter(|rest| rest.is_empty() || rest.ends_with('/'));
    before(SOCKET).or_else(|| before(FOLDER)).unwrap_or(path).trim_end_matches('/')
}

/// Host and port in small letters, without the port that goes without saying.
fn checked_authority(authority: &str, default_port: u16) -> Result<String, ServerUrlError> {
    let (host, port) = match authority.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(bracketed) => {
            let (address, port) = bracketed.ok_or(ServerUrlError::Host)?;
            let address: Ipv6Addr = address.parse().map_err(|_| ServerUrlError::Host)?;
            (format!("[{address}]"), port)
        }
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            if !is_host(host) {
                return Err(ServerUrlError::Host);
            }
            (host.to_ascii_lowercase(), port)
        }
    };
    let wrong = || ServerUrlError::Port(port.chars().skip(1).take(20).collect());
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(host),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            match digits.parse::<u16>().map_err(|_| wrong())? {
                0 => Err(wrong()),
                port if port == default_port => Ok(host),
                port => Ok(format!("{host}:{port}")),
            }
        }
        Some(_) => Err(wrong()),
        None => Err(ServerUrlError::Host),
    }
}

fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    host.len() <= HOST_BYTES && host.strip_suffix('.').unwrap_or(host).split('.').all(is_label)
}
