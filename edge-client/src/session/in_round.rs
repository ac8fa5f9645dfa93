//! State of a client in its round. It outlives connections: what a connection had sent
//! or announced is forgotten with it, the work is not.

use bytes::Bytes;
use fedra_protocol::{EncryptedShare, RoundAssignment, RoundId, Sha256Hash};

use super::secure::Exchange;
use super::upload::Upload;
use crate::events::SessionState;

/// A round that the client was invited into and has not left.
#[derive(Debug)]
pub(super) struct InRound {
    /// The invitation, as it came first.
    order: Box<RoundAssignment>,
    pub part: Part,
    /// The update in the form in which it leaves, once it is made.
    pub upload: Option<Upload>,
    pub exchange: Exchange,
}

/// Progress of the client. The middle ones are of secure aggregation only.
#[derive(Debug)]
pub(super) enum Part {
    /// Fetches the model.
    Downloading,
    /// Trains, encodes.
    Training,
    /// Has sent its keys; waits for the key directory.
    Advertised,
    /// Makes its shares.
    Sharing,
    /// Waits for its neighbours' shares.
    Shared,
    /// Waits until its participation is written down.
    Recording(Next),
    /// Masks its update.
    Masking,
    /// Sends its update, and waits for what the server says of it.
    Uploading,
    /// Its update was accepted. Under secure aggregation it waits for the survivors.
    Reported,
    /// Works out its answer for the last step.
    Unmasking,
    /// Has done its part.
    Unmasked,
}

/// Step that follows once the participation is written down.
#[derive(Debug)]
pub(super) enum Next {
    Announce(Bytes),
    Mask(Vec<EncryptedShare>),
}

impl InRound {
    pub fn new(order: RoundAssignment) -> Self {
        Self {
            order: Box::new(order),
            part: Part::Downloading,
            upload: None,
            exchange: Exchange::default(),
        }
    }

    pub fn id(&self) -> RoundId {
        self.order.round
    }

    /// The model that it starts from.
    pub fn model(&self) -> Sha256Hash {
        self.order.model.sha256
    }

    pub fn clipping_norm(&self) -> Option<f64> {
        self.order.privacy.as_ref().map(|privacy| privacy.clipping_norm)
    }

    pub fn max_staleness(&self) -> u32 {
        self.order.max_staleness
    }

    /// True if `order` is the invitation that this work is for, sent again. The same
    /// round of a server that has forgotten it may start from other numbers.
    pub fn is_for(&self, order: &RoundAssignment) -> bool {
        let own = &self.order;
        own.round == order.round
            && own.model == order.model
            && own.privacy == order.privacy
            && own.codec == order.codec
            && own.evaluates == order.evaluates
    }

    /// Activity of the client that the owner is told.
    pub fn state(&self) -> SessionState {
        match self.part.state() {
            SessionState::Training if self.order.evaluates => SessionState::Evaluating,
            state => state,
        }
    }

    /// True if the work is too old now that the server is at `newest`.
    pub fn is_outlived(&self, newest: RoundId) -> bool {
        let id = self.id();
        match self.max_staleness() {
            // The sum that it is in is made: the server does not wait for this client. Masked,
            // it may be that of a later round, and help is needed to take the masks off.
            _ if self.part.is_reported() && !self.exchange.has_keys() => newest > id,
            0 => newest > id,
            spare => newest.round > id.round.saturating_add(spare.into()),
        }
    }

    /// The connection is gone, and what was announced on it.
    pub fn disconnected(&mut self) {
        self.exchange.disconnected();
        if let Some(upload) = &mut self.upload {
            upload.disconnected();
        }
    }
}

impl Part {
    /// True if the server has accepted the update.
    pub fn is_reported(&self) -> bool {
        matches!(self, Self::Reported | Self::Unmasking | Self::Unmasked)
    }

    /// True if something is being done that may fail.
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Downloading
            | Self::Training
            | Self::Sharing
            | Self::Recording(_)
            | Self::Masking
            | Self::Unmasking => true,
            Self::Advertised | Self::Shared | Self::Uploading | Self::Reported | Self::Unmasked => {
                false
            }
        }
    }

    /// Activity of a client that trains.
    fn state(&self) -> SessionState {
        match self {
            Self::Downloading => SessionState::Downloading,
            Self::Training | Self::Recording(Next::Announce(_)) => SessionState::Training,
            Self::Advertised
            | Self::Sharing
            | Self::Shared
            | Self::Recording(Next::Mask(_))
            | Self::Masking => SessionState::Sharing,
            Self::Uploading => SessionState::Uploading,
            Self::Unmasking => SessionState::Unmasking,
            Self::Reported | Self::Unmasked => SessionState::Reported,
        }
    }
}
