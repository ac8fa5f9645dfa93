//! OpenInvitation invitations of a task: which of them ends without an answer, and how.
//!
//! Follows the orders to clients and what becomes of them. It reads no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use fedra_protocol::RoundId;

use super::failure::InvitationFailure;
use crate::round::{ClientId, Time};

/// An invitation of a client, until the next one.
#[derive(Debug)]
struct OpenInvitation {
    round: RoundId,
    /// `None` while the next request of the round is being prepared.
    deadline: Option<Time>,
    /// When the client's connection broke, if it did and has not come back.
    lost: Option<Time>,
    /// The client has answered, as far as it was asked.
    is_answered: bool,
}

/// The newest invitation of each client of the task.
#[derive(Debug)]
pub(super) struct Invitations {
    open: BTreeMap<ClientId, OpenInvitation>,
    /// A client that is lost for longer is not waited for.
    grace: Duration,
}

impl Invitations {
    pub(super) fn new(grace: Duration) -> Self {
        Self { open: BTreeMap::new(), grace }
    }

    pub(super) fn invite(&mut self, client: ClientId, round: RoundId, deadline: Time) {
        let deadline = Some(deadline);
        self.open
            .insert(client, OpenInvitation { round, deadline, lost: None, is_answered: false });
    }

    /// The client is asked for the next thing in its round.
    pub(super) fn ask(&mut self, client: ClientId, round: RoundId, deadline: Option<Time>) {
        if let Some(open) = self.of(client, round) {
            open.deadline = deadline;
            open.is_answered = false;
        }
    }

    pub(super) fn answer(&mut self, client: ClientId, round: RoundId) {
        if let Some(open) = self.of(client, round) {
            open.is_answered = true;
        }
    }

    pub(super) fn lose(&mut self, client: ClientId, now: Time) {
        if let Some(open) = self.open.get_mut(&client) {
            open.lost.get_or_insert(now);
        }
    }

    pub(super) fn find_again(&mut self, client: ClientId) {
        if let Some(open) = self.open.get_mut(&client) {
            open.lost = None;
        }
    }

    /// The client is gone for good.
    pub(super) fn leave(&mut self, client: ClientId) -> Option<InvitationFailure> {
        let open = self.open.remove(&client)?;
        (!open.is_answered).then_some(InvitationFailure::Lost)
    }

    /// The client takes no part in rounds for now: that is no failure.
    pub(super) fn pause(&mut self, client: ClientId) {
        self.open.remove(&client);
    }

    /// The client declines, if there is something left to decline.
    pub(super) fn decline(&mut self, client: ClientId, round: RoundId) -> bool {
        let is_open = self.of(client, round).is_some_and(|open| !open.is_answered);
        is_open && self.open.remove(&client).is_some()
    }

    /// What the client sent for the round is worthless, even if it was accepted.
    pub(super) fn reject(&mut self, client: ClientId, round: RoundId) -> bool {
        self.of(client, round).is_some() && self.open.remove(&client).is_some()
    }

    /// The round goes on or ends without the client. One that has not answered has
    /// failed if its time is over, not if the round had no need of it.
    pub(super) fn dismiss(
        &mut self,
        client: ClientId,
        round: RoundId,
        now: Time,
    ) -> Option<InvitationFailure> {
        self.of(client, round)?;
        let OpenInvitation { deadline, lost, is_answered, .. } = self.open.remove(&client)?;
        let is_over = !is_answered && deadline.is_some_and(|deadline| deadline <= now);
        match lost {
            Some(lost) if is_over || lost + self.grace <= now => Some(InvitationFailure::Lost),
            None if is_over => Some(InvitationFailure::MissedDeadline),
            _ => None,
        }
    }

    fn of(&mut self, client: ClientId, round: RoundId) -> Option<&mut OpenInvitation> {
        self.open.get_mut(&client).filter(|open| open.round == round)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ClientId = ClientId(1);
    const R1: RoundId = RoundId { round: 1, attempt: 0 };
    const R2: RoundId = RoundId { round: 2, attempt: 0 };

    fn seconds(seconds: u64) -> Time {
        Time(Duration::from_secs(seconds))
    }

    /// One invitation until 10 s, with a grace of 3 s.
    fn invited() -> Invitations {
        let mut invitations = Invitations::new(Duration::from_secs(3));
        invitations.invite(A, R1, seconds(10));
        invitations
    }

    #[test]
    fn who_is_dismissed_at_the_deadline_has_missed_it_and_who_is_dismissed_before_has_not() {
        assert_eq!(invited().dismiss(A, R1, seconds(10)), Some(InvitationFailure::MissedDeadline));
        assert_eq!(invited().dismiss(A, R1, seconds(9)), None);
        assert_eq!(invited().dismiss(A, R2, seconds(10)), None);
        let mut answered = invited();
        answered.answer(A, R1);
        assert_eq!(answered.dismiss(A, R1, seconds(10)), None);
    }

    #[test]
    fn who_is_lost_for_longer_than_the_grace_is_lost_to_the_round() {
        let mut lost = invited();
        lost.lose(A, seconds(2));
        assert_eq!(lost.dismiss(A, R1, seconds(5)), Some(InvitationFailure::Lost));
        let mut within = invited();
        within.lose(A, seconds(2));
        assert_eq!(within.dismiss(A, R1, seconds(4)), None);
        let mut late = invited();
        late.lose(A, seconds(9));
        assert_eq!(late.dismiss(A, R1, seconds(10)), Some(InvitationFailure::Lost));
        let mut back = invited();
        back.lose(A, seconds(2));
        back.find_again(A);
        assert_eq!(back.dismiss(A, R1, seconds(5)), None);
    }

    #[test]
    fn an_answer_settles_an_invitation_until_the_next_request() {
        let mut gone = invited();
        gone.answer(A, R1);
        assert!(!gone.decline(A, R1));
        assert_eq!(gone.leave(A), None);
        let mut asked = invited();
        asked.answer(A, R1);
        asked.ask(A, R1, Some(seconds(20)));
        assert_eq!(asked.dismiss(A, R1, seconds(20)), Some(InvitationFailure::MissedDeadline));
        assert_eq!(invited().leave(A), Some(InvitationFailure::Lost));
    }

    #[test]
    fn an_invitation_fails_once() {
        let mut declined = invited();
        assert!(declined.decline(A, R1));
        assert!(!declined.decline(A, R1));
        assert_eq!(declined.leave(A), None);
        let mut rejected = invited();
        rejected.answer(A, R1);
        assert!(rejected.reject(A, R1));
        assert!(!rejected.reject(A, R1));
        let mut paused = invited();
        paused.pause(A);
        assert_eq!(paused.dismiss(A, R1, seconds(10)), None);
    }
}
