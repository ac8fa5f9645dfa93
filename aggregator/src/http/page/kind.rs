//! Media types and cache rules of the page's files, by their names.

use http::HeaderValue;
use std::path::Path;

/// The least hexadecimal digits that are taken for the hash of a content.
const HEX_HASH: usize = 16;
/// Characters of the hash that Vite and Rollup put into a name by default.
const SHORT_HASH: usize = 8;

/// The value of `Content-Type`.
pub(super) fn media_type(file: &Path) -> HeaderValue {
    let kind = mime_guess::from_path(file).first_raw().unwrap_or("application/octet-stream");
    // Obsolete (RFC 9239).
    let kind = if kind == "application/javascript" { "text/javascript" } else { kind };
    if kind.starts_with("text/") {
        let with_charset = format!("{kind}; charset=utf-8");
        return HeaderValue::from_str(&with_charset).expect("a media type is visible ASCII");
    }
    HeaderValue::from_static(kind)
}

/// The value of `Cache-Control`: for ever where the name has the content's hash in it,
/// otherwise only after the server was asked.
pub(super) fn cache(path: &str) -> HeaderValue {
    HeaderValue::from_static(if names_its_content(path) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    })
}

/// True if a file changes its name with its content: it lies below a folder `assets`,
/// as Vite's output does, and its name ends with a hyphen, a hash and the extension.
fn names_its_content(path: &str) -> bool {
    let Some((folders, file)) = path.rsplit_once('/') else { return false };
    let Some((stem, _)) = file.rsplit_once('.') else { return false };
    folders.split('/').any(|folder| folder == "assets") && ends_with_hash(stem)
}

fn ends_with_hash(stem: &str) -> bool {
    let is_hex = |hash: &str| {
        hash.len() >= HEX_HASH && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    if stem.rsplit_once('-').is_some_and(|(_, hash)| is_hex(hash)) {
        return true;
    }
    // The alphabet of the short ones has a hyphen of its own.
    let Some((name, short)) =
        stem.len().checked_sub(SHORT_HASH).and_then(|at| stem.split_at_checked(at))
    else {
        return false;
    };
    let base64url = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    name.ends_with('-') && short.bytes().all(base64url) && !is_word(short)
}

/// Letters and then digits, as people write them: `settings`, `Overview`, `chapter1`,
/// `20261128`.
fn is_word(text: &str) -> bool {
    let digits = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let letters = &text[..text.len() - digits.len()];
    let one_case = |letters: &str| {
        letters.bytes().all(|b| b.is_ascii_lowercase())
            || letters.bytes().all(|b| b.is_ascii_uppercase())
    };
    digits.bytes().all(|b| b.is_ascii_digit())
        && (one_case(letters)
            || letters.get(1..).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_lowercase())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_the_charset_of_text() {
        for (file, kind) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a.css", "text/css; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.mjs", "text/javascript; charset=utf-8"),
            ("robots.txt", "text/plain; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.webmanifest", "application/manifest+json"),
            ("a.wasm", "application/wasm"),
            ("a.svg", "image/svg+xml"),
            ("a.png", "image/png"),
            ("a.ico", "image/x-icon"),
            ("shard-000.bin", "application/octet-stream"),
            ("LICENSE", "application/octet-stream"),
        ] {
            assert_eq!(media_type(Path::new(file)), kind, "{file}");
        }
    }

    #[test]
    fn a_name_with_the_content_s_hash_is_kept_for_ever() {
        for path in [
            "/assets/index-0123456789abcdef.js",
            "/assets/fedra_bg-00112233445566778899aabb.wasm",
            "/assets/fedra-reader_bg-0123456789abcdef.wasm",
            "/assets/index-BdKj3x_Z.js",
            "/assets/uplot.min-a1B-_9zQ.css",
            "/assets/fonts/x-1a2b3c4d.woff2",
            "/admin/assets/x-Ab-dEf_h.js",
        ] {
            assert_eq!(cache(path), "public, max-age=31536000, immutable", "{path}");
        }
    }

    #[test]
    fn any_other_name_is_asked_for_again() {
        for path in [
            "/",
            "/index.html",
            "/icon.svg",
            "/index-0123456789abcdef.js",
            "/index-BdKj3x_Z.js",
            "/assets/index.js",
            "/assets/site-settings.json",
            "/assets/the-Overview.js",
            "/assets/book-chapter1.js",
            "/assets/news-20261128.json",
            "/assets/THE-MANIFEST.txt",
            "/assets/x-0123456789abcde.js",
            "/assets/x-BdKj3x_.js",
            "/assets/xBdKj3x_Z.js",
            "/assets/x-BdKj3x_Z",
            "/assets/index-BdKj3x_Z.js.map",
            "/assets/-ü3x_ZaB.js",
            "/assets-old/index-BdKj3x_Z.js",
            "/data/shard-000.bin",
        ] {
            assert_eq!(cache(path), "no-cache", "{path}");
        }
    }
}
