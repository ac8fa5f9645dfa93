//! The server's WebSocket address, and the HTTP address of what it serves.
//!
//! No URL library: in the browser its tables would double what a visitor
//! downloads for two string operations.

use std::str::FromStr;

/// A `ws://` or `wss://` address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    socket: String,
    origin: String,
}

/// Why text is not a server's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a server address looks like ws://host:port/v1/connect (or wss://); not {0:?}")]
pub struct ServerUrlError(String);

impl ServerUrl {
    /// The WebSocket address.
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// The HTTP address of `path` (which starts with `/`) on the same server.
    pub fn http(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(url: &str) -> Result<Self, ServerUrlError> {
        let fail = || ServerUrlError(url.chars().take(200).collect());
        let (scheme, rest) = url.split_once("://").ok_or_else(fail)?;
        let http = match scheme {
            "ws" => "http",
            "wss" => "https",
            _ => return Err(fail()),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '@' | '\\' | '"' | '<' | '>');
        if authority.is_empty() || !rest.chars().all(plain) {
            return Err(fail());
        }
        Ok(Self { socket: url.to_string(), origin: format!("{http}://{authority}") })
    }
}

#[cfg(test)]
mod tests {
    use super::ServerUrl;

    #[test]
    fn models_come_from_the_host_of_the_socket() {
        let url: ServerUrl = "ws://127.0.0.1:8080/v1/connect".parse().unwrap();
        assert_eq!(url.http("/v1/models/ab"), "http://127.0.0.1:8080/v1/models/ab");
        let url: ServerUrl = "wss://fedra.example".parse().unwrap();
        assert_eq!(url.http("/x"), "https://fedra.example/x");
    }

    #[test]
    fn other_addresses_are_refused() {
        for bad in ["", "http://host/", "ws://", "ws:///path", "ws://user@host/", "ws://a b/"] {
            assert!(bad.parse::<ServerUrl>().is_err(), "{bad}");
        }
    }
}
