//! Paused: the operator wants no new round. Clients may stay connected.

use fedra_protocol::RoundId;

/// A task between two rounds that waits for its operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Paused(RoundId);

impl Paused {
    pub(super) fn new(next: RoundId) -> Self {
        Self(next)
    }

    /// The round that comes next.
    pub(super) fn round(&self) -> RoundId {
        self.0
    }
}
