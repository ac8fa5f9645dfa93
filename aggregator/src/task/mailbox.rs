//! Mailbox of a session: [`Mail`] with a bell.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fedra_coordinator::messages::{Mail, Notice};
use fedra_coordinator::participation::Participation;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Mailbox of one session.
pub(crate) struct Mailbox {
    state: Mutex<State>,
    arrived: Notify,
    /// Cancelled when the session is to end at once, even while it waits.
    cut: CancellationToken,
}

#[derive(Default)]
struct State {
    mail: Mail,
    /// The task is gone.
    is_closed: bool,
}

impl Mailbox {
    /// An empty mailbox; `cut` is cancelled by a notice that ends the session.
    pub(crate) fn new(cut: CancellationToken) -> Self {
        Self { state: Mutex::default(), arrived: Notify::new(), cut }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a notice.
    pub(super) fn put(&self, notice: Notice) {
        let ends = matches!(notice, Notice::Replaced | Notice::Contested(_));
        self.state().mail.put(notice);
        if ends {
            self.cut.cancel();
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
        self.state().mail.take_participation()
    }

    /// Takes the notice that ends the session.
    pub(crate) fn take_end(&self) -> Option<Notice> {
        self.state().mail.take_end()
    }

    /// The next notice, once there is one; `None` when the task is gone. Safe to cancel.
    pub(crate) async fn next(&self) -> Option<Notice> {
        loop {
            {
                let mut state = self.state();
                if let Some(notice) = state.mail.take() {
                    return Some(notice);
                }
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
        let mailbox = Mailbox::new(CancellationToken::new());
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
        let cut = CancellationToken::new();
        let mailbox = Mailbox::new(cut.clone());
        mailbox.put(Notice::Joined(ClientId(1), Box::default()));
        assert!(!cut.is_cancelled());
        mailbox.put(Notice::Replaced);
        assert!(cut.is_cancelled());
        assert!(mailbox.take_participation().is_some());
        assert!(mailbox.take_participation().is_none());
        assert!(matches!(mailbox.take_end(), Some(Notice::Replaced)));
    }
}
