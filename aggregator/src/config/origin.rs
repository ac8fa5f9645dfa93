//! The sites whose pages may connect: an allow-list of origins (RFC 6454).

use std::collections::HashSet;
use std::fmt;

use http::{HeaderValue, Uri};

/// Scheme, host and port of a site, as a browser writes them: in lower case,
/// without the scheme's own port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin(String);

/// Error for text that is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an origin such as \"https://example.org\" or \"http://localhost:8080\", without a \
     path; it is {0:?}"
)]
pub struct OriginError(String);

impl Origin {
    /// Reads an origin.
    ///
    /// # Errors
    ///
    /// `OriginError` if there is no scheme or host, or anything after them.
    pub fn new(text: &str) -> Result<Self, OriginError> {
        Self::read(text).ok_or_else(|| OriginError(text.chars().take(80).collect()))
    }

    fn read(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (scheme, authority) = text.split_once("://")?;
        if authority.contains(['/', '?', '#', '@', '*']) {
            return None;
        }
        let uri = text.parse::<Uri>().ok()?;
        uri.host().filter(|host| !host.is_empty())?;
        let usual = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let written = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
        match (uri.port_u16(), written) {
            // A colon without a port that can be read.
            (None, Some(_)) => None,
            (Some(port), Some((host, _))) if Some(port) == usual => {
                Some(Self(format!("{scheme}://{host}")))
            }
            _ => Some(Self(text)),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Allowed origins.
#[derive(Debug, Clone)]
pub(crate) enum Origins {
    Any,
    Listed(HashSet<Origin>),
}

impl Origins {
    pub(crate) fn of(list: Option<&[Origin]>) -> Self {
        list.map_or(Self::Any, |list| Self::Listed(list.iter().cloned().collect()))
    }

    /// True if a page of this origin may connect.
    pub(crate) fn allow(&self, origin: &HeaderValue) -> bool {
        let Self::Listed(list) = self else { return true };
        let origin = origin.to_str().ok().and_then(|text| Origin::new(text).ok());
        origin.is_some_and(|origin| list.contains(&origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_as_browsers_write_them() {
        for (text, same) in [
            ("https://Example.org", "https://example.org"),
            ("https://example.org:443", "https://example.org"),
            ("http://example.org:80", "http://example.org"),
            ("http://example.org:443", "http://example.org:443"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://[::1]", "http://[::1]"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(Origin::new(text).expect(text).to_string(), same);
        }
        for text in [
            "null",
            "*",
            "",
            "example.org",
            "https://",
            "https://example.org/",
            "https://example.org/path",
            "https://example.org?query",
            "https://user@example.org",
            "https://example.org:port",
            "https://example.org:",
            "https://*.example.org",
        ] {
            assert!(Origin::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_lets_in_what_is_on_it_and_no_list_everybody() {
        let list = [Origin::new("https://example.org").expect("valid")];
        let (listed, any) = (Origins::of(Some(&list)), Origins::of(None));
        for (origin, allowed) in [
            ("https://example.org", true),
            ("https://example.org.evil.test", false),
            ("http://example.org", false),
            ("https://example.org:8443", false),
            ("null", false),
        ] {
            let origin = HeaderValue::from_static(origin);
            assert_eq!(listed.allow(&origin), allowed, "{origin:?}");
            assert!(any.allow(&origin));
        }
        assert!(!Origins::of(Some(&[])).allow(&HeaderValue::from_static("https://example.org")));
    }
}
