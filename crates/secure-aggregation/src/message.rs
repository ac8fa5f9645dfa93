//! Messages between the two sides. These are not wire types: how they travel is the
//! caller's business.

use std::fmt;

use curve25519_dalek::Scalar;
use zeroize::Zeroizing;

/// A client's position in the round's cohort, from 0.
pub type Index = u32;

/// The two X25519 public keys (RFC 7748) of a client, fresh in each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKeys {
    /// Shares sent to this client are encrypted to this key.
    pub encryption: [u8; 32],
    /// Pairwise masks are agreed on with this key. Its secret half becomes
    /// known to the server when the client drops out, and is good for nothing
    /// else.
    pub masking: [u8; 32],
}

/// Message from the server to a client once the server knows who takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDirectory {
    /// The client's own position.
    pub own: Index,
    /// Clients that take part, the receiver included.
    pub cohort: u32,
    /// Shares that reconstruct a secret.
    pub threshold: u32,
    /// The client's neighbours in the graph, by increasing position.
    pub neighbours: Vec<(Index, PublicKeys)>,
}

/// Both shares from one client for another, encrypted between the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptedShare {
    /// The other end: on the way to the server the receiver, on the way from
    /// it the sender.
    pub peer: Index,
    /// [`EncryptedShare::LEN`] bytes.
    pub ciphertext: Vec<u8>,
}

impl EncryptedShare {
    /// Bytes of a ciphertext: two shares and a tag.
    pub const LEN: usize = 2 * Share::LEN + 16;
}

/// One Shamir share: a number modulo the order of Curve25519's prime subgroup.
/// Compared in constant time, zeroised when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Share(pub(crate) Zeroizing<Scalar>);

impl Share {
    /// Bytes of a share.
    pub const LEN: usize = 32;

    /// Reads a share, or `None` if the number is not below the group's order.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Option<Self> {
        Option::<Scalar>::from(Scalar::from_canonical_bytes(bytes)).map(Self::new)
    }

    /// The share as it travels, little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        self.0.to_bytes()
    }

    pub(crate) fn new(value: Scalar) -> Self {
        Self(Zeroizing::new(value))
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Share(..)")
    }
}

/// A client's answer in the last step: one share for each neighbour that it
/// holds shares of, of the kind that the neighbour's fate calls for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnmaskingShares {
    /// Shares of survivors' self-mask seeds, by increasing owner.
    pub self_masks: Vec<(Index, Share)>,
    /// Shares of dropped clients' masking secrets, by increasing owner.
    pub pairwise: Vec<(Index, Share)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_canonical_number() {
        let mut order = [0_u8; 32];
        order[..16].copy_from_slice(&0x14de_f9de_a2f7_9cd6_5812_631a_5cf5_d3ed_u128.to_le_bytes());
        order[31] = 0x10;
        assert_eq!(Share::from_bytes(order), None);
        order[0] -= 1;
        assert_eq!(Share::from_bytes(order).unwrap().to_bytes(), order);
        assert_eq!(Share::from_bytes([0xff; 32]), None);
    }

    #[test]
    fn a_share_is_not_printed() {
        let share = Share::from_bytes([7; 32]).unwrap();
        assert_eq!(format!("{share:?}"), "Share(..)");
    }
}
