//! One client's secure aggregation in one round: encoding, masking, unmasking.
//!
//! A step consumes the state, so that nothing can be asked twice. No I/O; randomness is
//! an argument.

#[cfg(test)]
mod tests;

use fedra_privacy_policy::PrivacyError;
use fedra_protocol::{AdvertisedKeys, EncryptedShare, RevealedShare};
use fedra_secure_aggregation::{self as secagg, Index, Share, client};
use rand_chacha::rand_core::CryptoRng;

use crate::encoding::{EncodingError, PrivateRound};
use crate::session::{SecureReply, SecureRequest};

/// Reason why a client cannot go on with a round of secure aggregation.
#[derive(Debug, thiserror::Error)]
pub enum SecureRoundError {
    /// The policy has no secure aggregation, or the round's terms are not valid.
    #[error(transparent)]
    Terms(#[from] PrivacyError),
    /// The update cannot be encoded.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// The content of a request is not valid.
    #[error(transparent)]
    Request(#[from] client::ClientError),
    /// A request that does not follow the one before.
    #[error("a step of secure aggregation out of turn")]
    OutOfTurn,
}

/// One client's part in one round of secure aggregation, between two steps.
pub struct SecureRound {
    round: PrivateRound,
    state: State,
}

enum State {
    /// With the update.
    Advertised(client::AdvertisedKeys, Vec<f32>),
    /// With the encoded update.
    Shared(client::SharedKeys, Vec<u32>),
    Masked(client::Masked),
}

impl SecureRound {
    /// Draws the keys of the round. `update` has a value for each of the model's
    /// parameters.
    pub fn begin(
        round: PrivateRound,
        update: Vec<f32>,
        rng: &mut impl CryptoRng,
    ) -> (Self, SecureReply) {
        let (machine, keys) = client::AdvertisedKeys::generate(rng);
        let keys = AdvertisedKeys { encryption: keys.encryption, masking: keys.masking };
        (Self { round, state: State::Advertised(machine, update) }, SecureReply::Keys(keys))
    }

    /// Takes the next step; the state after it is `None` after the last one.
    ///
    /// With the directory it is known whose updates are one sum: the update is clipped and
    /// encoded for them, with this client's share of the noise.
    ///
    /// # Errors
    ///
    /// [`SecureRoundError`] if a request comes out of turn or its content is not valid, if
    /// the policy has no secure aggregation, or if the update does not fit it. The round's
    /// secrets are gone then.
    pub fn step(
        self,
        request: SecureRequest,
        rng: &mut impl CryptoRng,
    ) -> Result<(Option<Self>, SecureReply), SecureRoundError> {
        let Self { mut round, state } = self;
        let (state, reply) = match (state, request) {
            (State::Advertised(machine, update), SecureRequest::Share(directory)) => {
                round = round.of_group(directory.group.as_ref());
                let terms = round.privacy.secure_terms(&round.task, round.round, &round.terms)?;
                let (machine, shares) = machine.share(&terms, &directory_of(&directory), rng)?;
                let input = round.encode(&update, rng)?;
                let shares = shares.into_iter().map(to_wire).collect();
                (Some(State::Shared(machine, input)), SecureReply::Shares(shares))
            }
            (State::Shared(machine, input), SecureRequest::Mask(shares)) => {
                let shares: Vec<_> = shares.into_iter().map(from_wire).collect();
                let (machine, words) = machine.mask(&shares, input)?;
                (Some(State::Masked(machine)), SecureReply::Masked(round.pack(&words)))
            }
            (State::Masked(machine), SecureRequest::Unmask(survivors)) => {
                let answer = machine.unmask(&survivors)?;
                let self_masks = answer.self_masks.into_iter().map(revealed).collect();
                let pairwise = answer.pairwise.into_iter().map(revealed).collect();
                (None, SecureReply::Unmasking { self_masks, pairwise })
            }
            _ => return Err(SecureRoundError::OutOfTurn),
        };
        Ok((state.map(|state| Self { round, state }), reply))
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
