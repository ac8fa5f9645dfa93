//! Encrypts a pair of shares from one client to another: ChaCha20-Poly1305
//! (RFC 8439) under a key that is used for this one message, with the delivery
//! as associated data.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Nonce, Tag};
use zeroize::Zeroizing;

use crate::keys::Secret;
use crate::message::{EncryptedShare, Share};

/// A key encrypts one message, so its nonce can be constant.
const NONCE: [u8; 12] = [0; 12];

/// The two shares that one client gives another.
pub(crate) struct SharePair {
    pub(crate) self_mask: Share,
    pub(crate) pairwise: Share,
}

pub(crate) fn seal(key: &Secret, delivery: &[u8; 32], shares: &SharePair) -> Vec<u8> {
    let mut text = Zeroizing::new([0; 2 * Share::LEN]);
    text[..Share::LEN].copy_from_slice(shares.self_mask.0.as_bytes());
    text[Share::LEN..].copy_from_slice(shares.pairwise.0.as_bytes());
    let tag = cipher(key)
        .encrypt_inout_detached(&Nonce::from(NONCE), delivery, text.as_mut_slice().into())
        .expect("far below the cipher's limit of 256 GiB");
    let mut sealed = Vec::with_capacity(EncryptedShare::LEN);
    sealed.extend_from_slice(text.as_ref());
    sealed.extend_from_slice(&tag);
    sealed
}

/// The shares, or `None` if this is not, to the bit, what the sender sealed in
/// this delivery, or not two shares.
pub(crate) fn open(key: &Secret, delivery: &[u8; 32], sealed: &[u8]) -> Option<SharePair> {
    let (body, tag) = sealed.split_last_chunk::<16>()?;
    let mut text = Zeroizing::new(<[u8; 2 * Share::LEN]>::try_from(body).ok()?);
    cipher(key)
        .decrypt_inout_detached(
            &Nonce::from(NONCE),
            delivery,
            text.as_mut_slice().into(),
            &Tag::from(*tag),
        )
        .ok()?;
    let (self_mask, pairwise) = text.split_at(Share::LEN);
    let share = |bytes: &[u8]| Share::from_bytes(bytes.try_into().expect("half of the text"));
    Some(SharePair { self_mask: share(self_mask)?, pairwise: share(pairwise)? })
}

fn cipher(key: &Secret) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(&chacha20poly1305::Key::from(**key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> (Secret, [u8; 32], Vec<u8>) {
        let (key, delivery) = (Zeroizing::new([1; 32]), [2; 32]);
        let share = |byte| Share::from_bytes([byte; 32]).unwrap();
        let shares = SharePair { self_mask: share(3), pairwise: share(4) };
        let sealed = seal(&key, &delivery, &shares);
        (key, delivery, sealed)
    }

    #[test]
    fn what_is_sealed_opens() {
        let (key, delivery, sealed) = sealed();
        assert_eq!(sealed.len(), EncryptedShare::LEN);
        let shares = open(&key, &delivery, &sealed).unwrap();
        assert_eq!((shares.self_mask.to_bytes(), shares.pairwise.to_bytes()), ([3; 32], [4; 32]));
    }

    #[test]
    fn any_flipped_bit_and_any_other_delivery_is_refused() {
        let (key, delivery, sealed) = sealed();
        for bit in 0..sealed.len() * 8 {
            let mut tampered = sealed.clone();
            tampered[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key, &delivery, &tampered).is_none(), "bit {bit}");
        }
        assert!(open(&Zeroizing::new([0; 32]), &delivery, &sealed).is_none());
        assert!(open(&key, &[0; 32], &sealed).is_none());
        for length in 0..sealed.len() {
            assert!(open(&key, &delivery, &sealed[..length]).is_none());
        }
        assert!(open(&key, &delivery, &[sealed.as_slice(), &[0]].concat()).is_none());
    }
}
