//! Makes join tokens as a site would, and such as it should not. Also part of the
//! unit tests.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

/// Prefixes of an Ed25519 key's bytes in PKCS #8, and in public.
const PRIVATE: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
const PUBLIC: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// A key that tokens are signed with.
pub struct Mint {
    kid: &'static str,
    key: Key,
}

enum Key {
    Ed25519([u8; 32]),
    Hs256(Vec<u8>),
}

impl Mint {
    pub fn ed25519(kid: &'static str, seed: u8) -> Self {
        Self { kid, key: Key::Ed25519([seed; 32]) }
    }

    pub fn hs256(kid: &'static str, secret: &[u8]) -> Self {
        Self { kid, key: Key::Hs256(secret.to_vec()) }
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({}), claims)
    }

    /// A token with these claims and fields of the header beside the usual ones.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        let algorithm = match self.key {
            Key::Ed25519(_) => "EdDSA",
            Key::Hs256(_) => "HS256",
        };
        let mut whole = json!({ "alg": algorithm, "typ": "JWT", "kid": self.kid });
        for (name, value) in header.as_object().expect("an object") {
            whole[name] = value.clone();
        }
        let message = format!("{}.{}", encode(&whole), encode(claims));
        let signature = self.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.key {
            Key::Ed25519(seed) => pair(seed).sign(message).as_ref().to_vec(),
            Key::Hs256(secret) => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
            }
        }
    }

    /// The bytes of the public key.
    pub fn public(&self) -> Vec<u8> {
        let Key::Ed25519(seed) = &self.key else { panic!("not a key pair") };
        pair(seed).public_key().as_ref().to_vec()
    }

    pub fn public_pem(&self) -> String {
        pem("PUBLIC KEY", &[PUBLIC, &self.public()].concat())
    }

    pub fn private_pem(&self) -> String {
        let Key::Ed25519(seed) = &self.key else { panic!("not a key pair") };
        pem("PRIVATE KEY", &[PRIVATE, seed].concat())
    }
}

fn pair(seed: &[u8; 32]) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed).expect("a seed")
}

pub fn encode(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}
