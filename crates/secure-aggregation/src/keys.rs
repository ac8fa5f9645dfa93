//! X25519 key pairs (RFC 7748), and the way a secret key goes through Shamir's
//! scheme without loss.
//!
//! A clamped X25519 secret is `8 m` with `2^251 <= m < 2^252`. The order of the
//! group is just above 2^252, so `m` itself is a number modulo the order: it is
//! what gets shared, and `8 m` is the key again. Keys are thus ordinary X25519
//! keys, clamped as ever, and agreement clears the cofactor as ever.

use curve25519_dalek::constants::X25519_BASEPOINT;
use curve25519_dalek::scalar::clamp_integer;
use curve25519_dalek::{MontgomeryPoint, Scalar};
use rand::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::message::PublicKeys;

/// A secret that two clients agreed on, or a key made from one.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// A key pair of one round.
pub(crate) struct KeyPair {
    /// Clamped.
    secret: Secret,
    public: [u8; 32],
}

impl KeyPair {
    pub(crate) fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(secret.as_mut());
        Self::from_secret(&secret)
    }

    fn from_secret(secret: &[u8; 32]) -> Self {
        let secret = Zeroizing::new(clamp_integer(*secret));
        let public = X25519_BASEPOINT.mul_clamped(*secret).to_bytes();
        Self { secret, public }
    }

    pub(crate) fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The shared secret, or `None` if the other key is of low order: then it is
    /// zero for any secret of ours (RFC 7748, section 6.1).
    pub(crate) fn agree(&self, public: &[u8; 32]) -> Option<Secret> {
        let point = Zeroizing::new(MontgomeryPoint(*public).mul_clamped(*self.secret));
        let shared = Zeroizing::new(point.to_bytes());
        (!bool::from(shared.ct_eq(&[0; 32]))).then_some(shared)
    }

    /// `m` of the secret `8 m`.
    pub(crate) fn to_scalar(&self) -> Zeroizing<Scalar> {
        let mut eighth = Zeroizing::new([0; 32]);
        for i in 0..32 {
            let above = if i == 31 { 0 } else { self.secret[i + 1] };
            eighth[i] = self.secret[i] >> 3 | above << 5;
        }
        Zeroizing::new(Scalar::from_bytes_mod_order(*eighth))
    }

    /// The key pair whose secret is `8 m`, if that is the secret of `public`.
    pub(crate) fn from_scalar(m: &Scalar, public: &[u8; 32]) -> Option<Self> {
        let m = Zeroizing::new(m.to_bytes());
        // Clamping would change anything else: 2^251 <= m < 2^252.
        if m[31] >> 3 != 1 {
            return None;
        }
        let mut secret = Zeroizing::new([0; 32]);
        for i in 0..32 {
            let below = if i == 0 { 0 } else { m[i - 1] };
            secret[i] = m[i] << 3 | below >> 5;
        }
        let pair = Self::from_secret(&secret);
        bool::from(pair.public.ct_eq(public)).then_some(pair)
    }
}

impl PublicKeys {
    /// True if both keys are canonical encodings of points not of low order.
    #[must_use]
    pub fn are_sound(&self) -> bool {
        is_sound(&self.encryption) && is_sound(&self.masking)
    }
}

/// Canonical, so that one key has one spelling, and not of low order.
fn is_sound(public: &[u8; 32]) -> bool {
    let canonical = public[31] < 0x7f
        || public[31] == 0x7f
            && (public[1..31].iter().any(|&byte| byte != 0xff) || public[0] < 0xed);
    let eightfold = MontgomeryPoint(*public).mul_bits_be([true, false, false, false].into_iter());
    canonical && eightfold.to_bytes() != [0; 32]
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;

    fn key(digits: &str) -> [u8; 32] {
        hex::decode(digits).unwrap().try_into().unwrap()
    }

    /// RFC 7748, section 6.1: Bob's half.
    #[test]
    fn agreement_is_x25519() {
        let bob = KeyPair::from_secret(&key(
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        ));
        let alice = key("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        assert_eq!(
            *bob.public(),
            key("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
        );
        assert_eq!(
            *bob.agree(&alice).unwrap(),
            key("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
        );
    }

    #[test]
    fn both_ends_agree() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let (one, other) = (KeyPair::generate(&mut rng), KeyPair::generate(&mut rng));
        assert_eq!(one.agree(other.public()), other.agree(one.public()));
    }

    #[test]
    fn a_secret_goes_through_a_scalar_without_loss() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let extremes = [[0; 32], [0xff; 32]].map(|secret| KeyPair::from_secret(&secret));
        for pair in (0..50).map(|_| KeyPair::generate(&mut rng)).chain(extremes) {
            let m = pair.to_scalar();
            assert_eq!(*m * Scalar::from(8_u8), Scalar::from_bytes_mod_order(*pair.secret));
            let back = KeyPair::from_scalar(&m, pair.public()).unwrap();
            assert_eq!(*back.secret, *pair.secret);
        }
    }

    #[test]
    fn a_wrong_scalar_is_found_out() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let pair = KeyPair::generate(&mut rng);
        let m = *pair.to_scalar();
        for wrong in [m + Scalar::ONE, -m, Scalar::ZERO, m * Scalar::from(2_u8)] {
            assert!(KeyPair::from_scalar(&wrong, pair.public()).is_none());
        }
    }

    #[test]
    fn keys_of_low_order_and_odd_spellings_are_unsound() {
        let mut one = [0; 32];
        one[0] = 1;
        // p - 1, p, p + 1 and the two points of order 8.
        let mut beyond = [0xff; 32];
        beyond[31] = 0x7f;
        let near = |low: u8| {
            let mut key = beyond;
            key[0] = low;
            key
        };
        let order_eight = [
            key("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
            key("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        ];
        let pair = KeyPair::from_secret(&[3; 32]);
        for low in [[0; 32], one, near(0xec), near(0xed), near(0xee)].into_iter().chain(order_eight)
        {
            assert!(!is_sound(&low), "{}", hex::encode(low));
            assert!(pair.agree(&low).is_none(), "{}", hex::encode(low));
        }
        // 9, then 9 with the ignored bit set, then 9 + p.
        let mut nine = [0; 32];
        nine[0] = 9;
        assert!(is_sound(&nine));
        nine[31] = 0x80;
        assert!(!is_sound(&nine));
        assert!(!is_sound(&near(0xf6)));
        assert!(is_sound(pair.public()));
    }
}
