//! Forged tokens and headers, for fuzzing and for replaying what fuzzing has
//! found. No I/O; the time is made up, too.

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use fedra_protocol::{TaskId, Token};
use http::{HeaderMap, HeaderName, HeaderValue};
use jsonwebtoken::{Algorithm, DecodingKey};
use ring::hmac;
use serde_json::Value;

use super::address::Proxies;
use super::keys::TokenKeys;
use super::tokens::verify;
use super::{Origins, crypto};
use crate::config::ClientAddressHeader;
use crate::credentials::TokenKey;

const SECRET: &[u8] = b"a secret of more than 32 bytes for HS256";
/// The made-up time, Unix seconds.
const NOW: f64 = 1_800_000_000.0;
const LIFETIME: Duration = Duration::from_secs(600);

static KEYS: LazyLock<TokenKeys> = LazyLock::new(|| {
    crypto::install();
    let secret = TokenKey { algorithm: Algorithm::HS256, key: DecodingKey::from_secret(SECRET) };
    let public = TokenKey { algorithm: Algorithm::EdDSA, key: DecodingKey::from_ed_der(&[9; 32]) };
    TokenKeys::of([("secret", secret), ("public", public)])
});

/// A token: [how, bytes...]. Either the bytes are all of it, or its claims, or header
/// and claims with a zero between them; the last two are signed with the right key.
///
/// # Panics
///
/// If one is let in that must not be.
pub fn join_token(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let (signed, text) = match how % 3 {
        0 => (None, String::from_utf8_lossy(rest).into_owned()),
        1 => sign(br#"{"alg":"HS256","kid":"secret"}"#, rest),
        _ => {
            let middle = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
            let (header, claims) = rest.split_at(middle);
            sign(header, claims.get(1..).unwrap_or_default())
        }
    };
    let Ok(token) = Token::new(text) else { return };
    let task = TaskId::new("digits").expect("a valid id");
    let now = UNIX_EPOCH + Duration::from_secs_f64(NOW);
    let Ok(verified) = verify(&token, &task, &KEYS, LIFETIME, now) else { return };
    let claims: Value = signed
        .as_deref()
        .map(serde_json::from_slice)
        .expect("a forged signature")
        .expect("claims that are no JSON");
    let number = |name| claims[name].as_f64();
    let (expiry, issued) = (number("exp").expect("no exp"), number("iat").expect("no iat"));
    assert!(expiry > issued && expiry - issued <= LIFETIME.as_secs_f64(), "too long-lived");
    assert!(issued <= NOW + 30.0 && expiry > NOW - 30.0, "not now");
    assert!(number("nbf").is_none_or(|from| from <= NOW + 30.0), "not yet");
    let audience = &claims["aud"];
    let named =
        audience == "digits" || audience.as_array().is_some_and(|a| a.contains(&"digits".into()));
    assert!(named, "for another task: {audience}");
    assert!(claims["sub"].as_str().is_some_and(|sub| (1..=256).contains(&sub.len())));
    assert_eq!(verified.single_use.is_some(), !claims["jti"].is_null());
}

/// The claims, and the token that has them.
fn sign(header: &[u8], claims: &[u8]) -> (Option<Vec<u8>>, String) {
    let message = format!("{}.{}", base64url(header), base64url(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let signature = base64url(hmac::sign(&key, message.as_bytes()).as_ref());
    (Some(claims.to_vec()), format!("{message}.{signature}"))
}

/// Fuzzing builds have none of the libraries that only tests need.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digits = bytes.chunks(3).flat_map(|three| {
        let word = three.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - three.len()));
        (0..=three.len()).map(move |place| DIGITS[(word >> (18 - 6 * place) & 63) as usize] as char)
    });
    digits.collect()
}

/// Reads what a request may say about its address: [header choice, lines...].
///
/// # Panics
///
/// If a peer that is no proxy is believed, or an origin is let in that was not named.
pub fn forwarded(data: &[u8]) {
    let Some((which, lines)) = data.split_first() else { return };
    let (header, name) = match which % 2 {
        0 => (ClientAddressHeader::XForwardedFor, HeaderName::from_static("x-forwarded-for")),
        _ => (ClientAddressHeader::Forwarded, http::header::FORWARDED),
    };
    let networks = vec!["10.0.0.0/8".parse().expect("a network")];
    let proxies = Proxies { networks, header };
    let origins = Origins::of(Some(&[]));
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            assert!(!origins.allow(&value), "an origin that nobody named");
            headers.append(name.clone(), value);
        }
    }
    let [stranger, proxy]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [10, 0, 0, 1].into()];
    assert_eq!(proxies.client(stranger, &headers), stranger);
    let client = proxies.client(proxy, &headers);
    assert_eq!(client, client.to_canonical());
}
