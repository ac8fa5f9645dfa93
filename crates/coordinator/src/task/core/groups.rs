//! Masking groups of buffered rounds: the keys of those who wait for one, and its numbers.

use std::collections::BTreeMap;
use std::mem;

use fedra_protocol::{MaskingGroup, RoundId, RoundPrivacy};

use super::Step;
use crate::round::{ClientId, Time};
use crate::writer::{Contribution, WriterJob};

/// Keys of the clients that have reported, each with the round of its invitation. Some may
/// have left since.
pub(super) type Waiting = BTreeMap<ClientId, (RoundId, Contribution)>;

/// A masking group at work.
pub(super) struct Group {
    /// Round that its sum is for.
    round: RoundId,
    privacy: Option<RoundPrivacy>,
    /// Time at which its round opened.
    opened: Time,
}

impl Step<'_> {
    /// Opens the sum of a masking group, with the keys of its clients.
    pub(super) fn form_group(&mut self, round: RoundId) {
        let privacy = self.round_numbers(round);
        self.core.group = Some(Group { round, privacy, opened: self.core.opened });
        self.write(WriterJob::Open(round, privacy));
        let mut waiting = mem::take(&mut self.core.waiting);
        for client in self.core.rounds.asked() {
            let Some((round, contribution)) = waiting.remove(&client) else { continue };
            let subject = self.core.clients.subject(client);
            self.write(WriterJob::Fold { client, subject, round, contribution, staleness: 0 });
        }
        let members = self.core.rounds.members();
        waiting.retain(|client, _| members.contains(client));
        self.core.waiting = waiting;
    }

    /// Numbers that a client of the masking group of `round` is told, by its invitation.
    pub(super) fn group_of(&self, round: RoundId, invitation: RoundId) -> Option<MaskingGroup> {
        let group = self.core.group.as_ref().filter(|group| group.round == round)?;
        let staleness = round.round.saturating_sub(invitation.round);
        let staleness = u32::try_from(staleness).unwrap_or(u32::MAX);
        let weight = self.core.settings.plan.mode.discount(staleness);
        Some(MaskingGroup { round, privacy: group.privacy?, weight })
    }

    /// The masking group of `round` is at its end, if there is one: the time at which the
    /// round opened. What fails from here on is told of the open round.
    pub(super) fn end_group(&mut self, round: RoundId) -> Option<Time> {
        let group = self.core.group.take_if(|group| group.round == round)?;
        let members = self.core.rounds.members();
        self.core.attempts.open(members);
        Some(group.opened)
    }
}
