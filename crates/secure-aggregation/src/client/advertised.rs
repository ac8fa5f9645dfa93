//! First step: the client has shown its public keys and waits to hear who its
//! neighbours are. Checks them and splits its secrets among them.

use std::collections::HashSet;
use std::fmt;

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::shared::Peer;
use super::{ClientError, SharedKeys};
use crate::graph::Graph;
use crate::keys::{KeyPair, Secret};
use crate::mask::{Mask, Sign};
use crate::message::{EncryptedShare, KeyDirectory, PublicKeys};
use crate::sealing::{self, SharePair};
use crate::shamir::{Polynomial, random_scalar};
use crate::terms::Terms;
use crate::transcript::{Party, Round};

/// A client that has advertised its keys.
pub struct AdvertisedKeys {
    encryption: KeyPair,
    masking: KeyPair,
    public: PublicKeys,
}

impl AdvertisedKeys {
    /// Draws fresh keys for one round and returns the public ones, to be sent.
    #[must_use]
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> (Self, PublicKeys) {
        let (encryption, masking) = (KeyPair::generate(rng), KeyPair::generate(rng));
        let public = PublicKeys { encryption: *encryption.public(), masking: *masking.public() };
        (Self { encryption, masking, public }, public)
    }

    /// Checks the directory against the round's `terms`, draws the self mask, and splits both secrets among
    /// the neighbours. Returns one encrypted pair of shares for each, to be
    /// sent.
    ///
    /// # Errors
    ///
    /// [`ClientError`] if the cohort is smaller than the terms allow, if degree
    /// and threshold break a rule of [`Graph::checked`], if the neighbours are
    /// not those of the graph, or if a key is unsound or occurs twice.
    pub fn share<R: CryptoRng + ?Sized>(
        self,
        terms: &Terms,
        directory: &KeyDirectory,
        rng: &mut R,
    ) -> Result<(SharedKeys, Vec<EncryptedShare>), ClientError> {
        let graph = check_graph(terms, directory)?;
        check_keys(&self.public, directory)?;
        let round = Round::new(terms, &graph);
        let own = Party { index: directory.own, keys: &self.public };

        let seed = Zeroizing::new(random_scalar(rng));
        let seed_polynomial = Polynomial::through(&seed, graph.threshold(), rng);
        let secret_polynomial =
            Polynomial::through(&self.masking.to_scalar(), graph.threshold(), rng);

        let mut peers = Vec::with_capacity(directory.neighbours.len());
        let mut messages = Vec::with_capacity(directory.neighbours.len());
        for (index, keys) in &directory.neighbours {
            let link = self.link(&round, own, Party { index: *index, keys })?;
            let shares = SharePair {
                self_mask: seed_polynomial.share_for(*index),
                pairwise: secret_polynomial.share_for(*index),
            };
            let ciphertext = sealing::seal(&link.sending_key, &link.sending, &shares);
            messages.push(EncryptedShare { peer: *index, ciphertext });
            peers.push(link.peer);
        }
        let seed = Zeroizing::new(seed.to_bytes());
        let self_mask = Mask { key: round.self_mask_key(&seed, own), sign: Sign::Add };
        Ok((SharedKeys { terms: *terms, graph, own: own.index, self_mask, peers }, messages))
    }

    /// Agrees on all keys with one neighbour. Our own secrets are not needed
    /// after that.
    fn link(&self, round: &Round, own: Party<'_>, peer: Party<'_>) -> Result<Link, ClientError> {
        let bad_key = ClientError::BadKey { peer: peer.index };
        let encryption = self.encryption.agree(&peer.keys.encryption).ok_or(bad_key)?;
        let masking = self.masking.agree(&peer.keys.masking).ok_or(bad_key)?;
        let (sending, receiving) = (round.delivery(own, peer), round.delivery(peer, own));
        Ok(Link {
            sending_key: round.sealing_key(&encryption, &sending),
            sending,
            peer: Peer {
                index: peer.index,
                opening_key: round.sealing_key(&encryption, &receiving),
                receiving,
                mask: Mask {
                    key: round.pairwise_key(&masking, own, peer),
                    sign: Sign::of_pair(own.index, peer.index),
                },
            },
        })
    }
}

/// State that ties the client to one neighbour.
struct Link {
    sending_key: Secret,
    sending: [u8; 32],
    peer: Peer,
}

fn check_graph(terms: &Terms, directory: &KeyDirectory) -> Result<Graph, ClientError> {
    let KeyDirectory { own, cohort, threshold, ref neighbours } = *directory;
    let minimum = terms.minimum_survivors();
    if cohort < minimum {
        return Err(ClientError::CohortTooSmall { cohort, minimum });
    }
    let degree = u32::try_from(neighbours.len()).unwrap_or(u32::MAX);
    let graph = Graph::checked(cohort, degree, threshold)?;
    let listed = neighbours.iter().map(|(index, _)| *index);
    if own >= cohort || !listed.eq(graph.neighbours(own)) {
        return Err(ClientError::WrongNeighbours { own });
    }
    Ok(graph)
}

/// Every key is sound and there only once: not twice under two names, not in
/// two roles, and none of them ours.
fn check_keys(own: &PublicKeys, directory: &KeyDirectory) -> Result<(), ClientError> {
    let both = |keys: &PublicKeys| [keys.encryption, keys.masking];
    let mut seen = HashSet::from(both(own));
    for (peer, keys) in &directory.neighbours {
        if !keys.are_sound() {
            return Err(ClientError::BadKey { peer: *peer });
        }
        for key in both(keys) {
            if !seen.insert(key) {
                return Err(ClientError::DuplicateKey { peer: *peer });
            }
        }
    }
    Ok(())
}

impl fmt::Debug for AdvertisedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdvertisedKeys").field("public", &self.public).finish_non_exhaustive()
    }
}
