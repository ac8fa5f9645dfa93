//! The steps of secure aggregation, after local training:
//!
//! ```text
//! keys -> Advertised -> KeyDirectory -> shares -> Shared -> MaskedInputRequest
//!      -> masked update -> Reported -> UnmaskingRequest -> shares -> Unmasked
//! ```
//!
//! Only the order is kept here; the cryptography is done outside, as
//! [`Action::Secure`] asks. Each step is worked out once in a round. A request
//! that comes again, as after a reconnect, gets the same answer again; a server
//! that asks for something else, or out of turn, learns nothing more of this
//! client in the round.

use std::time::Duration;

use bytes::Bytes;
use fedra_protocol::{
    AdvertisedKeys, ClientMessage, EncryptedShare, KeyDirectory, Mechanism, RevealedShare, RoundId,
};

use super::in_round::{Next, Part};
use super::rounds::LEFT;
use super::{Action, Session};

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

impl SecureRequest {
    /// What is asked, whatever time is left for it.
    fn content(&self) -> Self {
        match self {
            Self::Share(directory) => {
                Self::Share(KeyDirectory { deadline: Duration::ZERO, ..directory.clone() })
            }
            Self::Mask(_) | Self::Unmask(_) => self.clone(),
        }
    }
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

/// What a server has asked in a round, and the answers: small, all but the
/// masked update, which is kept with the round.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    keys: Option<ClientMessage>,
    steps: Vec<(SecureRequest, Option<ClientMessage>)>,
}

impl Exchange {
    /// The answer to the invitation, once there is one.
    pub fn keys(&self) -> Option<&ClientMessage> {
        self.keys.as_ref()
    }

    /// The answer to a request that came before, as far as there is one.
    fn answer(&self, request: &SecureRequest) -> Option<&Option<ClientMessage>> {
        let (_, answer) = self.steps.iter().find(|(asked, _)| asked == request)?;
        Some(answer)
    }

    fn asked(&mut self, request: SecureRequest) {
        self.steps.push((request, None));
    }

    fn answered(&mut self, message: &ClientMessage) {
        if let Some((_, answer)) = self.steps.last_mut() {
            *answer = Some(message.clone());
        }
    }
}

impl Session {
    /// Whether the task's updates are masked.
    pub(super) fn is_secure(&self) -> bool {
        self.protection.mechanism() == Some(Mechanism::Distributed)
    }

    /// The server asks for a step.
    pub(super) fn asked(&mut self, round: RoundId, request: SecureRequest) -> Vec<Action> {
        let Some(current) = self.current.as_mut().filter(|current| current.id() == round) else {
            self.decline_again(round);
            return Vec::new();
        };
        let content = request.content();
        if let Some(answer) = current.exchange.answer(&content) {
            let answer = answer.clone();
            self.answer_again(&request, answer);
            return Vec::new();
        }
        // The acceptance may have been lost with a connection.
        let reported = match current.part {
            Part::Reported => true,
            Part::Uploading => current.upload.as_ref().is_some_and(|upload| upload.is_sent()),
            _ => false,
        };
        match (&current.part, request) {
            (Part::Advertised, request @ SecureRequest::Share(_)) => {
                current.exchange.asked(content);
                current.part = Part::Sharing;
                vec![Action::Secure(round, request)]
            }
            (Part::Shared, SecureRequest::Mask(shares)) => {
                current.exchange.asked(content);
                self.record(Next::Mask(shares))
            }
            (_, request @ SecureRequest::Unmask(_)) if reported => {
                current.exchange.asked(content);
                current.part = Part::Unmasking;
                let mut actions = vec![Action::Secure(round, request)];
                actions.extend(self.show());
                actions
            }
            _ => {
                let reason = "the server asked for a step of secure aggregation twice, or out of \
                              turn; this client leaves the round";
                self.leave(round, FAILED, reason.into())
            }
        }
    }

    /// The same request again: the same answer, unless it is still being worked out.
    fn answer_again(&mut self, request: &SecureRequest, answer: Option<ClientMessage>) {
        match (request, answer) {
            (SecureRequest::Mask(_), _) => self.announce(),
            (_, Some(answer)) => self.tell(answer),
            (_, None) => {}
        }
    }

    /// A request for a round that this client has left: the server may not know.
    fn decline_again(&mut self, round: RoundId) {
        if self.declined.is_some_and(|declined| declined.round == round && !declined.told) {
            self.decline(round, LEFT.into());
        }
    }

    /// The participation is written down: the update may be masked.
    pub(super) fn mask(&mut self, round: RoundId, shares: Vec<EncryptedShare>) -> Vec<Action> {
        self.be(Part::Masking);
        vec![Action::Secure(round, SecureRequest::Mask(shares))]
    }

    /// A step is done.
    pub(super) fn secured(&mut self, round: RoundId, reply: SecureReply) -> Vec<Action> {
        let secure = self.is_secure();
        let Some(current) = self.current.as_mut().filter(|current| current.id() == round) else {
            // About a round that is over.
            return Vec::new();
        };
        match (&current.part, reply) {
            (Part::Downloading | Part::Training, SecureReply::Keys(keys)) if secure => {
                let message = ClientMessage::AdvertiseKeys { round, keys };
                current.exchange.keys = Some(message.clone());
                current.part = Part::Advertised;
                self.tell(message);
                self.show()
            }
            (Part::Sharing, SecureReply::Shares(shares)) => {
                let message = ClientMessage::ShareKeys { round, shares };
                current.exchange.answered(&message);
                current.part = Part::Shared;
                self.tell(message);
                Vec::new()
            }
            (Part::Masking, SecureReply::Masked(update)) => self.send_update(update, 1),
            (Part::Unmasking, SecureReply::Unmasking { self_masks, pairwise }) => {
                let message = ClientMessage::UnmaskingShares { round, self_masks, pairwise };
                current.exchange.answered(&message);
                current.part = Part::Unmasked;
                self.tell(message);
                self.show()
            }
            _ => Vec::new(),
        }
    }
}
