//! Headers that every answer gets: who may read it, and what the browser is to
//! make of it.

use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue,
    REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, VARY, X_CONTENT_TYPE_OPTIONS,
};

use crate::config::Origins;

/// Content security policy for the page and its assets. A worker uses the policy
/// served with its script. The page has no inline scripts or styles, talks to its own
/// server only, and cannot be framed. `wasm-unsafe-eval` lets WebAssembly be compiled,
/// nothing else.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; \
     style-src 'self'; img-src 'self'; font-src 'self'; manifest-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
/// Content security policy for data: there is nothing to load or run.
const DATA_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// Permissions of the pages: their own script may ask for the camera, and nothing may ask for
/// the others.
const PERMISSIONS: HeaderValue = HeaderValue::from_static(
    "camera=(self), display-capture=(), geolocation=(), microphone=(), midi=(), payment=(), \
     serial=(), usb=()",
);
/// Use of TLS only, for a year.
const ONLY_TLS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Facts of a request that the headers of its answer depend on.
#[derive(Debug)]
pub(super) struct Asked {
    part: Part,
    origin: Option<HeaderValue>,
    secure: bool,
}

/// A part of what the server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Page,
    /// May be read by the pages of other sites.
    Data,
    /// Data only for the server's own page.
    Administration,
}

impl Asked {
    pub(super) fn new(path: &str, headers: &HeaderMap, secure: bool) -> Self {
        let below = |folder: &str| {
            path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let part = if below("/v1/admin") {
            Part::Administration
        } else if ["/v1", "/metrics", "/healthz", "/readyz"].into_iter().any(below) {
            Part::Data
        } else {
            Part::Page
        };
        Self { part, origin: headers.get(http::header::ORIGIN).cloned(), secure }
    }

    pub(super) fn dress(self, origins: &Origins, headers: &mut HeaderMap) {
        let Self { part, origin, secure } = self;
        if part != Part::Administration {
            share(origin, origins, headers);
        }
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        if secure {
            headers.insert(STRICT_TRANSPORT_SECURITY, ONLY_TLS);
        }
        if part != Part::Page {
            headers.insert(CONTENT_SECURITY_POLICY, DATA_POLICY);
            return;
        }
        headers.insert(CONTENT_SECURITY_POLICY, PAGE_POLICY);
        headers.insert(HeaderName::from_static("permissions-policy"), PERMISSIONS);
        let opener = HeaderName::from_static("cross-origin-opener-policy");
        headers.insert(opener, HeaderValue::from_static("same-origin"));
    }
}

/// Lets the pages of other sites read the answer: of any, or of those listed.
fn share(origin: Option<HeaderValue>, origins: &Origins, headers: &mut HeaderMap) {
    if let Origins::Any = origins {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        return;
    }
    // The answer depends on who asks; a cache has to know.
    headers.append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin.filter(|origin| origins.allow(origin)) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
}
