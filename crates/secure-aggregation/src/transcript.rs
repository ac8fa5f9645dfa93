//! Binding of keys: every key of a round is derived from a secret and from all that
//! both of its owners know about the round.
//!
//! HKDF-SHA256 (RFC 5869): the round is the salt, purpose and owners the info.
//! A key thus serves one purpose, between two clients, in one direction, in one
//! round. A client sees only its neighbours' keys, so two clients have nothing
//! more in common than the round and each other.

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::graph::Graph;
use crate::keys::Secret;
use crate::message::{Index, PublicKeys};
use crate::terms::Terms;

/// A client as its peers know it.
#[derive(Clone, Copy)]
pub(crate) struct Party<'a> {
    pub(crate) index: Index,
    pub(crate) keys: &'a PublicKeys,
}

impl Party<'_> {
    fn hash_into(&self, hash: &mut Sha256) {
        hash.update(self.index.to_le_bytes());
        hash.update(self.keys.encryption);
        hash.update(self.keys.masking);
    }
}

/// The hash of what every client of a round knows.
#[derive(Clone)]
pub(crate) struct Round([u8; 32]);

impl Round {
    pub(crate) fn new(terms: &Terms, graph: &Graph) -> Self {
        let mut hash = Sha256::new_with_prefix(b"fedra secure aggregation, round, version 1");
        hash.update(terms.context().as_bytes());
        hash.update(terms.minimum_survivors().to_le_bytes());
        hash.update((terms.words() as u64).to_le_bytes());
        hash.update(terms.bits().to_le_bytes());
        hash.update(graph.cohort().to_le_bytes());
        hash.update(graph.degree().to_le_bytes());
        hash.update(graph.threshold().to_le_bytes());
        Self(hash.finalize().into())
    }

    /// Hash that binds a delivery to its sender and its receiver, in this order.
    pub(crate) fn delivery(&self, from: Party<'_>, to: Party<'_>) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(b"fedra secure aggregation, delivery");
        hash.update(self.0);
        from.hash_into(&mut hash);
        to.hash_into(&mut hash);
        hash.finalize().into()
    }

    /// The key that encrypts the shares of one delivery, and nothing else.
    pub(crate) fn sealing_key(&self, shared: &Secret, delivery: &[u8; 32]) -> Secret {
        self.derive(shared, &[b"fedra secure aggregation, shares", delivery])
    }

    /// The key of the mask between two clients: both derive the same one.
    pub(crate) fn pairwise_key(&self, shared: &Secret, a: Party<'_>, b: Party<'_>) -> Secret {
        let (low, high) = if a.index < b.index { (a, b) } else { (b, a) };
        self.derive(
            shared,
            &[b"fedra secure aggregation, pairwise mask", &self.delivery(low, high)],
        )
    }

    /// The key of a client's own mask.
    pub(crate) fn self_mask_key(&self, seed: &Secret, owner: Party<'_>) -> Secret {
        self.derive(
            seed,
            &[
                b"fedra secure aggregation, self mask",
                &owner.index.to_le_bytes(),
                &owner.keys.encryption,
                &owner.keys.masking,
            ],
        )
    }

    /// The label comes first and no label begins another; what follows has a
    /// fixed length.
    fn derive(&self, secret: &Secret, info: &[&[u8]]) -> Secret {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(&self.0), secret.as_ref())
            .expand_multi_info(info, key.as_mut())
            .expect("32 bytes are fewer than 255 blocks");
        key
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::graph::Assumptions;
    use crate::terms::Context;

    fn keys(byte: u8) -> PublicKeys {
        PublicKeys { encryption: [byte; 32], masking: [byte + 1; 32] }
    }

    fn round(context: &[u8], minimum: u32, words: usize, bits: u32, cohort: u32) -> Round {
        let terms = Terms::new(Context::new(&[context]), minimum, words, bits).unwrap();
        Round::new(&terms, &Graph::for_cohort(cohort, Assumptions::default()).unwrap())
    }

    /// RFC 5869, test case 1, through our way of splitting the info.
    #[test]
    fn hkdf_is_the_standards() {
        let salt: Vec<u8> = (0..=12).collect();
        let mut okm = [0; 42];
        Hkdf::<Sha256>::new(Some(&salt), &[0x0b; 22])
            .expand_multi_info(
                &[&[0xf0, 0xf1, 0xf2], &[0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9]],
                &mut okm,
            )
            .unwrap();
        assert_eq!(
            hex::encode(okm),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
        );
    }

    #[test]
    fn keys_differ_by_purpose_direction_party_and_round() {
        let secret = Zeroizing::new([9; 32]);
        let (one, two) = (keys(1), keys(3));
        let (a, b) = (Party { index: 0, keys: &one }, Party { index: 1, keys: &two });
        let moved = Party { index: 2, keys: &two };
        let here = round(b"1", 2, 8, 16, 5);
        let sealing =
            |round: &Round, from, to| round.sealing_key(&secret, &round.delivery(from, to));
        let mut all = vec![
            sealing(&here, a, b),
            sealing(&here, b, a),
            sealing(&here, a, moved),
            sealing(&here, moved, a),
            sealing(&here, moved, b),
            here.pairwise_key(&secret, b, moved),
            here.pairwise_key(&secret, a, b),
            here.pairwise_key(&secret, a, moved),
            here.self_mask_key(&secret, a),
            here.self_mask_key(&secret, b),
            here.self_mask_key(&secret, moved),
        ];
        for other in [
            round(b"2", 2, 8, 16, 5),
            round(b"1", 3, 8, 16, 5),
            round(b"1", 2, 9, 16, 5),
            round(b"1", 2, 8, 17, 5),
            round(b"1", 2, 8, 16, 6),
        ] {
            all.push(sealing(&other, a, b));
            all.push(other.pairwise_key(&secret, a, b));
            all.push(other.self_mask_key(&secret, a));
        }
        let distinct: HashSet<[u8; 32]> = all.iter().map(|key| **key).collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(here.pairwise_key(&secret, a, b), here.pairwise_key(&secret, b, a));
    }
}
