//! Second step: the client has handed out its shares and waits for those of its
//! neighbours. Opens them and masks its input.

use std::fmt;
use std::num::NonZeroUsize;

use super::{ClientError, Masked};
use crate::graph::Graph;
use crate::keys::Secret;
use crate::mask::{self, Mask};
use crate::message::{EncryptedShare, Index};
use crate::sealing::{self, SharePair};
use crate::terms::Terms;

/// A client that has shared its secrets.
pub struct SharedKeys {
    pub(super) terms: Terms,
    pub(super) graph: Graph,
    pub(super) own: Index,
    pub(super) self_mask: Mask,
    /// By increasing index.
    pub(super) peers: Vec<Peer>,
}

/// A neighbour, as long as it may still send its shares.
pub(super) struct Peer {
    pub(super) index: Index,
    pub(super) opening_key: Secret,
    /// Hash that its message to us is bound to.
    pub(super) receiving: [u8; 32],
    pub(super) mask: Mask,
}

impl SharedKeys {
    /// Opens what the neighbours sent (`peer` is the sender; in any order) and
    /// masks `input` in place: the self mask, and a mask with each neighbour
    /// that sent its shares. Returns the masked words, to be sent.
    ///
    /// `input` has as many words as the terms say, each below 2^bits.
    ///
    /// # Errors
    ///
    /// [`ClientError`] if the input does not fit the terms, if shares come from a
    /// client that is not a neighbour, twice, or are not what their sender sent,
    /// naming the sender, or if fewer neighbours than the threshold sent theirs.
    pub fn mask(
        self,
        received: &[EncryptedShare],
        mut input: Vec<u32>,
    ) -> Result<(Masked, Vec<u32>), ClientError> {
        check_input(&self.terms, &input)?;
        let held = self.open(received)?;
        let Self { terms, graph, own, self_mask, peers } = self;
        let mut masks = vec![self_mask];
        masks.extend(
            peers
                .into_iter()
                .zip(&held)
                .filter_map(|(peer, shares)| shares.is_some().then_some(peer.mask)),
        );
        mask::apply(&masks, &mut input, terms.bits(), NonZeroUsize::MIN);
        let neighbours = graph.neighbours(own);
        let held = neighbours.into_iter().zip(held).collect();
        Ok((Masked { terms, cohort: graph.cohort(), own, held }, input))
    }

    /// The shares from each neighbour, in their order; `None` from one that
    /// sent none.
    fn open(&self, received: &[EncryptedShare]) -> Result<Vec<Option<SharePair>>, ClientError> {
        let mut held: Vec<Option<SharePair>> = self.peers.iter().map(|_| None).collect();
        for EncryptedShare { peer, ciphertext } in received {
            let place = self
                .peers
                .binary_search_by_key(peer, |known| known.index)
                .map_err(|_| ClientError::UnknownPeer { peer: *peer })?;
            if held[place].is_some() {
                return Err(ClientError::RepeatedShares { peer: *peer });
            }
            let Peer { opening_key, receiving, .. } = &self.peers[place];
            let shares = sealing::open(opening_key, receiving, ciphertext)
                .ok_or(ClientError::BadShares { peer: *peer })?;
            held[place] = Some(shares);
        }
        let needed = self.graph.threshold();
        // Each message was another neighbour's, and those fit 32 bits.
        let received = received.len() as u32;
        if received < needed {
            return Err(ClientError::TooFewShares { received, needed });
        }
        Ok(held)
    }
}

fn check_input(terms: &Terms, input: &[u32]) -> Result<(), ClientError> {
    let (expected, actual) = (terms.words(), input.len());
    if actual != expected {
        return Err(ClientError::WrongLength { expected, actual });
    }
    match terms.first_out_of_range(input) {
        Some(position) => Err(ClientError::WordOutOfRange { position }),
        None => Ok(()),
    }
}

impl fmt::Debug for SharedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedKeys")
            .field("terms", &self.terms)
            .field("graph", &self.graph)
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}
