//! One client's secure aggregation in one round: encoding, masking, unmasking.
//!
//! A step consumes the state, so that nothing can be asked twice. No I/O; randomness is
//! an argument.

#[cfg(test)]
mod tests;

use fedra_aggregation::codec::Packed;
use fedra_protocol::{AdvertisedKeys, EncryptedShare, RevealedShare};
use fedra_secure_aggregation::{self as secagg, Index, Share, client};
use rand_chacha::rand_core::CryptoRng;

use crate::encoding::PrivateRound;
use crate::session::{SecureReply, SecureRequest};

/// One client's part in one round of secure aggregation, between two steps.
pub struct SecureRound {
    bits: u32,
    state: State,
}

enum State {
    Advertised(client::AdvertisedKeys, Vec<u32>),
    Shared(client::SharedKeys, Vec<u32>),
    Masked(client::Masked),
}

impl SecureRound {
    /// Encodes the update with this client's share of the noise, and draws the
    /// keys of the round. `update` has a value for each of the model's parameters;
    /// it is clipped.
    ///
    /// # Errors
    ///
    /// A text, if the policy has no secure aggregation, or the terms are not valid.
    pub fn begin(
        round: &PrivateRound<'_>,
        update: &[f32],
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, SecureReply), String> {
        let terms = round
            .privacy
            .secure_terms(round.task, round.round, round.terms)
            .map_err(|error| error.to_string())?;
        let input = round.encode(update, rng)?;
        let (machine, keys) = client::AdvertisedKeys::generate(&terms, rng);
        let keys = AdvertisedKeys { encryption: keys.encryption, masking: keys.masking };
        let state = State::Advertised(machine, input);
        Ok((Self { bits: terms.bits(), state }, SecureReply::Keys(keys)))
    }

    /// Takes the next step; the state after it is `None` after the last one.
    ///
    /// # Errors
    ///
    /// A text, if a request comes out of turn or its content is not valid. The round's
    /// secrets are gone then.
    pub fn step(
        self,
        request: SecureRequest,
        rng: &mut impl CryptoRng,
    ) -> Result<(Option<Self>, SecureReply), String> {
        let (bits, refused) = (self.bits, |error: client::ClientError| error.to_string());
        let (state, reply) = match (self.state, request) {
            (State::Advertised(machine, input), SecureRequest::Share(directory)) => {
                let (machine, shares) =
                    machine.share(&directory_of(&directory), rng).map_err(refused)?;
                let shares = shares.into_iter().map(to_wire).collect();
                (Some(State::Shared(machine, input)), SecureReply::Shares(shares))
            }
            (State::Shared(machine, input), SecureRequest::Mask(shares)) => {
                let shares: Vec<_> = shares.into_iter().map(from_wire).collect();
                let (machine, words) = machine.mask(&shares, input).map_err(refused)?;
                let update = Packed::new(words.len(), bits).encode(&words).into();
                (Some(State::Masked(machine)), SecureReply::Masked(update))
            }
            (State::Masked(machine), SecureRequest::Unmask(survivors)) => {
                let answer = machine.unmask(&survivors).map_err(refused)?;
                let self_masks = answer.self_masks.into_iter().map(revealed).collect();
                let pairwise = answer.pairwise.into_iter().map(revealed).collect();
                (None, SecureReply::Unmasking { self_masks, pairwise })
            }
            _ => return Err("a step of secure aggregation out of turn".into()),
        };
        Ok((state.map(|state| Self { bits, state }), reply))
    }
}

fn directory_of(directory: &fedra_protocol::KeyDirectory) -> secagg::KeyDirectory {
    let neighbour = |neighbour: &fedra_protocol::Neighbour| {
        let AdvertisedKeys { encryption, masking } = neighbour.keys;
        (neighbour.index, secagg::PublicKeys { encryption, masking })
    };
    secagg::KeyDirectory {
        own: directory.own,
        cohort: directory.cohort,
        threshold: directory.threshold,
        neighbours: directory.neighbours.iter().map(neighbour).collect(),
    }
}

fn to_wire(share: secagg::EncryptedShare) -> EncryptedShare {
    EncryptedShare { peer: share.peer, ciphertext: share.ciphertext }
}

fn from_wire(share: EncryptedShare) -> secagg::EncryptedShare {
    secagg::EncryptedShare { peer: share.peer, ciphertext: share.ciphertext }
}

fn revealed((peer, share): (Index, Share)) -> RevealedShare {
    RevealedShare { peer, share: share.to_bytes() }
}
