//! The steps of secure aggregation, after local training:
//!
//! ```text
//! keys -> Advertised -> KeyDirectory -> shares -> Shared -> MaskedInputRequest
//!      -> masked update -> Reported -> UnmaskingRequest -> shares -> Unmasked
//! ```
//!
//! In a buffered task a client may stay Advertised while others make models: it waits for a
//! masking group.
//!
//! Only the order is kept here; the cryptography is done outside, as
//! [`Action::Secure`] asks. Each step is worked out once in a round. A request
//! that comes again after a reconnect gets the same answer again; a server that
//! asks for something else, or out of turn, learns nothing more of this client in
//! the round.

use std::time::Duration;

use bytes::Bytes;
use fedra_protocol::{
    AdvertisedKeys, ClientMessage, EncryptedShare, KeyDirectory, Mechanism, RevealedShare, RoundId,
};

use super::in_round::{Next, Part};
use super::rounds::LEFT;
use super::{Action, Session};
use crate::failure::Failure;

/// Next request of the server.
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
    /// Content of the request, without the time that is left for it.
    fn content(&self) -> Self {
        match self {
            Self::Share(directory) => {
                Self::Share(KeyDirectory { deadline: Duration::ZERO, ..directory.clone() })
            }
            Self::Mask(_) | Self::Unmask(_) => self.clone(),
        }
    }
}

/// Result of a step.
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
        /// Shares of survivors' own masks.
        self_masks: Vec<RevealedShare>,
        /// Shares of the masking keys of the others.
        pairwise: Vec<RevealedShare>,
    },
}

/// Requests of a server in a round, and the answers: small, all except the masked
/// update, which is kept with the round.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    keys: Option<Answer>,
    steps: Vec<(SecureRequest, Option<Answer>)>,
}

/// An answer that goes out once a connection.
#[derive(Debug)]
pub(super) struct Answer {
    message: ClientMessage,
    /// Given on the connection that there is now.
    given: bool,
}

impl Exchange {
    /// The answer to the invitation, once there is one.
    pub fn keys(&mut self) -> Option<&mut Answer> {
        self.keys.as_mut()
    }

    /// True if the client takes part in secure aggregation.
    pub fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    fn knows(&self, request: &SecureRequest) -> bool {
        self.steps.iter().any(|(asked, _)| asked == request)
    }

    /// The answer to a request, once it is worked out.
    fn answer(&mut self, request: &SecureRequest) -> Option<&mut Answer> {
        self.steps.iter_mut().find(|(asked, _)| asked == request)?.1.as_mut()
    }

    /// The answer to the newest request, once it is worked out.
    fn newest(&mut self) -> Option<&mut Answer> {
        self.steps.last_mut()?.1.as_mut()
    }

    fn asked(&mut self, request: SecureRequest) {
        self.steps.push((request, None));
    }

    fn answered(&mut self, message: ClientMessage) {
        if let Some((_, answer)) = self.steps.last_mut() {
            *answer = Some(Answer { message, given: false });
        }
    }

    /// Notes that the connection is gone, and that it is unknown what has arrived.
    pub fn disconnected(&mut self) {
        let steps = self.steps.iter_mut().filter_map(|(_, answer)| answer.as_mut());
        for answer in steps.chain(&mut self.keys) {
            answer.given = false;
        }
    }
}

impl Session {
    /// True if the task's updates are masked.
    pub(super) fn is_secure(&self) -> bool {
        self.policy.mechanism() == Some(Mechanism::Distributed)
    }

    /// The server asks for a step.
    pub(super) fn asked(&mut self, round: RoundId, request: SecureRequest) -> Vec<Action> {
        let Some(current) = self.current.as_mut().filter(|current| current.id() == round) else {
            self.decline_again(round);
            return Vec::new();
        };
        let content = request.content();
        if current.exchange.knows(&content) {
            match content {
                SecureRequest::Mask(_) => self.announce(),
                SecureRequest::Share(_) | SecureRequest::Unmask(_) => {
                    self.give(|exchange| exchange.answer(&content));
                }
            }
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
                self.leave(round, Failure::SecureAggregationFailed, reason.into())
            }
        }
    }

    /// Gives an answer if there is one, at most once a connection: to the server a
    /// second one would be a second answer.
    pub(super) fn give(&mut self, which: impl FnOnce(&mut Exchange) -> Option<&mut Answer>) {
        if !self.is_member() {
            return;
        }
        let answer = self.current.as_mut().and_then(|current| which(&mut current.exchange));
        if let Some(answer) = answer.filter(|answer| !answer.given) {
            answer.given = true;
            self.outbox.push_back(answer.message.clone());
        }
    }

    /// A request for a round that this client has left: the server may not know.
    fn decline_again(&mut self, round: RoundId) {
        if let Some(declined) = self.declined.filter(|d| d.round == round && !d.told) {
            self.decline(round, LEFT.into(), declined.cause);
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
                current.exchange.keys = Some(Answer { message, given: false });
                current.part = Part::Advertised;
                self.give(Exchange::keys);
                self.show()
            }
            (Part::Sharing, SecureReply::Shares(shares)) => {
                let message = ClientMessage::ShareKeys { round, shares };
                current.exchange.answered(message);
                current.part = Part::Shared;
                self.give(Exchange::newest);
                Vec::new()
            }
            (Part::Masking, SecureReply::Masked(update)) => self.send_update(update, 1),
            (Part::Unmasking, SecureReply::Unmasking { self_masks, pairwise }) => {
                let message = ClientMessage::UnmaskingShares { round, self_masks, pairwise };
                current.exchange.answered(message);
                current.part = Part::Unmasked;
                self.give(Exchange::newest);
                self.show()
            }
            _ => Vec::new(),
        }
    }
}
