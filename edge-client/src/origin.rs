//! The server's WebSocket address, and the HTTP address of what it serves.
//!
//! No URL library: in the browser its tables would double what a visitor
//! downloads for two string operations.

use std::str::FromStr;

use crate::platform;

/// A `ws://` address, or in a browser a `wss://` address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    socket: String,
    /// The HTTP address beside the socket, with a slash at its end.
    base: String,
}

/// Why text is not a server's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerUrlError {
    /// It is something else.
    #[error("a server address looks like ws://host:port/v1/connect (or wss://); not {0:?}")]
    Form(String),
    /// It is one that this build cannot reach.
    #[error(
        "this build has no TLS and cannot reach {0:?}; let a proxy that speaks TLS (stunnel, for \
         instance) run beside it, and give the ws:// address of that"
    )]
    NoTls(String),
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
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(url: &str) -> Result<Self, ServerUrlError> {
        let start = || url.chars().take(200).collect();
        let fail = || ServerUrlError::Form(start());
        let (scheme, rest) = url.split_once("://").ok_or_else(fail)?;
        let http = match scheme {
            "ws" => "http",
            "wss" => "https",
            _ => return Err(fail()),
        };
        let address = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = address.split_once('/').unwrap_or((address, ""));
        let folder =
            path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '@' | '\\' | '"' | '<' | '>');
        if authority.is_empty() || !rest.chars().all(plain) {
            return Err(fail());
        }
        if scheme == "wss" && !platform::HAS_TLS {
            return Err(ServerUrlError::NoTls(start()));
        }
        Ok(Self { socket: url.to_string(), base: format!("{http}://{authority}/{folder}") })
    }
}

#[cfg(test)]
mod tests {
    use super::{ServerUrl, ServerUrlError};

    #[test]
    fn models_lie_beside_the_socket() {
        let url: ServerUrl = "ws://127.0.0.1:8080/v1/connect".parse().unwrap();
        assert_eq!(url.http("models/ab"), "http://127.0.0.1:8080/v1/models/ab");
        let url: ServerUrl = "ws://fedra.example/fed/v1/connect?x=/y".parse().unwrap();
        assert_eq!(url.http("models/ab"), "http://fedra.example/fed/v1/models/ab");
        let url: ServerUrl = "ws://fedra.example".parse().unwrap();
        assert_eq!(url.http("x"), "http://fedra.example/x");
    }

    #[test]
    fn a_server_that_only_tls_reaches_is_refused_at_once_and_not_tried_for_ever() {
        let url = "wss://fedra.example/v1/connect";
        let error = url.parse::<ServerUrl>().unwrap_err();
        assert_eq!(error, ServerUrlError::NoTls(url.into()));
        assert!(error.to_string().contains("this build has no TLS"), "{error}");
    }

    #[test]
    fn other_addresses_are_refused() {
        for bad in ["", "http://host/", "ws://", "ws:///path", "ws://user@host/", "ws://a b/"] {
            assert!(bad.parse::<ServerUrl>().is_err(), "{bad}");
        }
    }
}
