//! Mailbox of a session: [`Mail`] with a bell.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fedra_coordinator::messages::{Mail, Notice};
use fedra_coordinator::participation::Participation;
use tokio::sync::Notify;

/// Mailbox of one session.
#[derive(Default)]
pub(crate) struct Mailbox {
    state: Mutex<State>,
    arrived: Notify,
    /// Rung when the session is to end at once, even while it waits.
    cut: Notify,
}

#[derive(Default)]
struct State {
    /// None while it is empty, as it mostly is.
    mail: Option<Box<Mail>>,
    /// The task is gone.
    is_closed: bool,
}

impl Mailbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a notice.
    pub(super) fn put(&self, notice: Notice) {
        let ends = matches!(notice, Notice::Replaced | Notice::Contested(_));
        self.state().mail.get_or_insert_default().put(notice);
        if ends {
            self.cut.notify_one();
        }
        self.arrived.notify_one();
    }

    /// No notice comes any more.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.arrived.notify_one();
    }

    /// Takes the participation that its session has not handled.
    pub(super) fn take_participation(&self) -> Option<Participation> {
        self.state().mail.as_mut()?.take_participation()
    }

    /// Resolves, once, when there is a notice that ends the session.
    pub(crate) async fn cut(&self) {
        self.cut.notified().await;
    }

    /// Takes the notice that ends the session.
    pub(crate) fn take_end(&self) -> Option<Notice> {
        self.state().mail.as_mut()?.take_end()
    }

    /// The next notice, once there is one; `None` when the task is gone. Safe to cancel.
    pub(crate) async fn next(&self) -> Option<Notice> {
        loop {
            {
                let mut state = self.state();
                if let Some(notice) = state.mail.as_mut().and_then(|mail| mail.take()) {
                    return Some(notice);
                }
                state.mail = None;
                if state.is_closed {
                    return None;
                }
            }
            self.arrived.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fedra_coordinator::messages::Order;
    use fedra_coordinator::round::ClientId;
    use fedra_protocol::{RoundId, UpdateVerdict};
    use futures_util::FutureExt;

    use super::*;

    const ROUND: RoundId = RoundId { round: 1, attempt: 0 };

    fn next(mailbox: &Mailbox) -> Option<Notice> {
        mailbox.next().now_or_never().expect("a notice, or the end")
    }

    #[test]
    fn a_verdict_comes_before_the_newest_order() {
        let mailbox = Mailbox::default();
        mailbox.put(Notice::Order(Order::Away(Duration::ZERO)));
        mailbox.put(Notice::Order(Order::Rest));
        mailbox.put(Notice::Verdict(ROUND, UpdateVerdict::Accepted));
        mailbox.put(Notice::Joined(ClientId(1), Box::default()));
        assert!(matches!(next(&mailbox), Some(Notice::Joined(ClientId(1), _))));
        assert!(matches!(next(&mailbox), Some(Notice::Verdict(..))));
        assert!(matches!(next(&mailbox), Some(Notice::Order(Order::Rest))));
        assert!(mailbox.next().now_or_never().is_none());
        mailbox.close();
        assert!(next(&mailbox).is_none());
    }

    #[test]
    fn an_end_cuts_the_session_and_a_participation_can_be_taken_back() {
        let mailbox = Mailbox::default();
        mailbox.put(Notice::Joined(ClientId(1), Box::default()));
        assert!(mailbox.cut().now_or_never().is_none());
        mailbox.put(Notice::Replaced);
        assert!(mailbox.cut().now_or_never().is_some());
        assert!(mailbox.take_participation().is_some());
        assert!(mailbox.take_participation().is_none());
        assert!(matches!(mailbox.take_end(), Some(Notice::Replaced)));
    }
}
