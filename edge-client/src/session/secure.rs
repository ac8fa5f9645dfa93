//! The steps of secure aggregation, after local training:
//!
//! ```text
//! keys -> Advertised -> KeyDirectory -> shares -> Shared -> MaskedInputRequest
//!      -> masked update -> Reported -> UnmaskingRequest -> shares -> Unmasked
//! ```
//!
//! Only the order is kept here; the cryptography is done outside, as
//! [`Action::Secure`] asks. Each step happens once in a round: a server that
//! asks twice, or out of turn, learns nothing more of this client in the round.

use bytes::Bytes;
use fedra_protocol::{
    AdvertisedKeys, ClientMessage, EncryptedShare, KeyDirectory, Mechanism, RevealedShare, RoundId,
};

use super::rounds::{Next, Part};
use super::{Action, Session, State};
use crate::events::SessionState;

/// Stable name of everything that goes wrong in secure aggregation.
pub(crate) const FAILED: &str = "secure-aggregation-failed";

/// What the server wants next.
#[derive(Clone, Debug, PartialEq)]
pub enum SecureRequest {
    /// Shares of the secrets for these neighbours.
    Share(KeyDirectory),
    /// The masked update; these are the neighbours' shares.
    Mask(Vec<EncryptedShare>),
    /// Shares that take the masks off; these clients survived.
    Unmask(Vec<u32>),
}

/// What came out of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum SecureReply {
    /// Training is done; these are the round's keys.
    Keys(AdvertisedKeys),
    /// Shares for the neighbours.
    Shares(Vec<EncryptedShare>),
    /// The masked update, packed.
    Masked(Bytes),
    /// Shares that take the masks off.
    Unmasking {
        /// Of survivors' own masks.
        self_masks: Vec<RevealedShare>,
        /// Of the masking keys of the others.
        pairwise: Vec<RevealedShare>,
    },
}

/// Where a client is in a round's secure aggregation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Waits for the key directory.
    Advertised,
    /// Makes its shares.
    Sharing,
    /// Waits for its neighbours' shares.
    Shared,
    /// Masks its update.
    Masking,
    /// Its masked update was accepted; waits for the survivors.
    Reported,
    /// Collects its answer for the last step.
    Unmasking,
    /// Has done its part.
    Unmasked,
}

impl Step {
    /// Whether the masked update is in the server's hands.
    pub fn is_reported(self) -> bool {
        matches!(self, Self::Reported | Self::Unmasking | Self::Unmasked)
    }
}

impl Session {
    /// Whether the task's updates are masked.
    pub(super) fn is_secure(&self) -> bool {
        self.protection.mechanism() == Some(Mechanism::Distributed)
    }

    /// The server asks for a step.
    pub(super) fn asked(&mut self, round: RoundId, request: SecureRequest) -> Vec<Action> {
        let step = match &self.state {
            State::Member(part) if part.round() == Some(round) => part.step(),
            // Crossed with our leaving on the wire.
            _ => return Vec::new(),
        };
        match (step, request) {
            (Some(Step::Advertised), request @ SecureRequest::Share(_)) => {
                self.step(round, Step::Sharing, request)
            }
            (Some(Step::Shared), SecureRequest::Mask(shares)) => {
                self.record(round, Next::Mask(shares))
            }
            (Some(Step::Reported), request @ SecureRequest::Unmask(_)) => {
                let mut actions = self.step(round, Step::Unmasking, request);
                actions.push(self.emit_status(SessionState::Unmasking));
                actions
            }
            _ => {
                let reason = "the server asked for a step of secure aggregation twice, or out of \
                              turn; this client leaves the round";
                self.leave(round, FAILED, reason.into())
            }
        }
    }

    /// The participation is written down: the update may be masked.
    pub(super) fn mask(&mut self, round: RoundId, shares: Vec<EncryptedShare>) -> Vec<Action> {
        self.step(round, Step::Masking, SecureRequest::Mask(shares))
    }

    fn step(&mut self, round: RoundId, step: Step, request: SecureRequest) -> Vec<Action> {
        self.state = State::Member(Part::Secure { round, step });
        vec![Action::Secure(round, request)]
    }

    /// A step is done.
    pub(super) fn secured(&mut self, round: RoundId, reply: SecureReply) -> Vec<Action> {
        let step = match &self.state {
            State::Member(part) if part.round() == Some(round) => part.step(),
            // About a round that is over.
            _ => return Vec::new(),
        };
        match (step, reply) {
            (None, SecureReply::Keys(keys)) if self.works_on(round) => {
                self.outbox.push_back(ClientMessage::AdvertiseKeys { round, keys });
                self.state = State::Member(Part::Secure { round, step: Step::Advertised });
                vec![self.emit_status(SessionState::Sharing)]
            }
            (Some(Step::Sharing), SecureReply::Shares(shares)) => {
                self.outbox.push_back(ClientMessage::ShareKeys { round, shares });
                self.state = State::Member(Part::Secure { round, step: Step::Shared });
                Vec::new()
            }
            (Some(Step::Masking), SecureReply::Masked(update)) => self.announce(round, update, 1),
            (Some(Step::Unmasking), SecureReply::Unmasking { self_masks, pairwise }) => {
                self.outbox.push_back(ClientMessage::UnmaskingShares {
                    round,
                    self_masks,
                    pairwise,
                });
                self.state = State::Member(Part::Secure { round, step: Step::Unmasked });
                vec![self.emit_status(SessionState::Reported)]
            }
            _ => Vec::new(),
        }
    }
}
