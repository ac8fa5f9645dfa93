//! Coming and going of connections. None of it touches the work for a round,
//! but that it forgets what was announced on a connection that is gone.

use std::time::Duration;

use fedra_protocol::{
    Availability, Capabilities, ClientMessage, Hello, PROTOCOL_VERSION, RefusalCode, Token, Welcome,
};

use super::rounds::Declined;
use super::{Action, Break, MAX_CHUNK, PROTOCOL_ERROR, Session, State, USEFUL};
use crate::SOFTWARE;
use crate::events::{ClientEvent, SessionState};
use crate::failure::Failure;

impl Session {
    pub(super) fn connect(&mut self, now: Duration) -> Vec<Action> {
        self.state = State::Connecting { since: now };
        vec![Action::Connect, self.emit_status(SessionState::Connecting)]
    }

    pub(super) fn connected(&mut self, token: Option<Token>, now: Duration) -> Vec<Action> {
        if !matches!(self.state, State::Connecting { .. }) {
            return Vec::new();
        }
        if let Err(refused) = self.tokens.take(token) {
            let failure = Failure::Refused(RefusalCode::Unauthorized);
            return self.give_up(failure, refused.to_string());
        }
        self.heard_at = now;
        self.sent_at = now;
        self.pinged_at = now;
        self.state = State::Greeting { since: now };
        self.outbox.push_back(ClientMessage::Hello(Hello {
            versions: vec![PROTOCOL_VERSION],
            software: SOFTWARE.to_string(),
        }));
        Vec::new()
    }

    pub(super) fn no_token(&mut self, reason: &str, now: Duration) -> Vec<Action> {
        if !matches!(self.state, State::Connecting { .. }) {
            return Vec::new();
        }
        let problem = format!("there is no token to check in with ({reason}); trying again");
        vec![Action::Emit(ClientEvent::problem(Failure::TokenFailed, problem)), self.retry(now)]
    }

    pub(super) fn disconnected(&mut self, reason: &str, now: Duration) -> Vec<Action> {
        let problem = match self.state {
            State::Idle | State::Waiting(..) | State::Closed => return Vec::new(),
            State::Connecting { .. } => format!("cannot reach the server ({reason}); trying again"),
            _ => format!("the connection was lost ({reason}); trying again"),
        };
        vec![Action::Emit(ClientEvent::problem(Failure::NoServer, problem)), self.retry(now)]
    }

    /// Acts as a device that was switched off: the connection is gone, and when the
    /// client is back it knows nothing of the round.
    pub(super) fn vanished(&mut self, now: Duration) -> Vec<Action> {
        if let Some(round) = self.round() {
            self.declined = Some(Declined { round, told: false, cause: None });
        }
        let mut actions = self.end_work();
        actions.extend(self.disconnected("left on purpose", now));
        actions
    }

    fn retry(&mut self, now: Duration) -> Action {
        let delay = self.next_delay(now);
        self.wait(delay, SessionState::Reconnecting, now)
    }

    /// The wait before the next connection. It begins anew once a connection was of
    /// use: a server that fails after each check-in is tried ever less often.
    pub(super) fn next_delay(&mut self, now: Duration) -> Duration {
        if self.is_member() && now >= self.member_since + USEFUL {
            self.backoff.reset();
        }
        self.backoff.next(self.jitter)
    }

    /// Has no connection for a while. The work for a round goes on.
    pub(super) fn wait(&mut self, delay: Duration, shown: SessionState, now: Duration) -> Action {
        self.state = State::Waiting(Break { until: now + delay, shown });
        self.outbox.clear();
        self.absence.disconnected();
        if let Some(current) = &mut self.current {
            current.disconnected();
        }
        if let Some(declined) = &mut self.declined {
            declined.told = false;
        }
        self.emit_wait(shown, delay)
    }

    /// Gives the socket up because the server misbehaves.
    pub(super) fn drop_connection(&mut self, reason: &str, now: Duration) -> Vec<Action> {
        let problem = ClientEvent::problem(Failure::NoServer, format!("{reason}; trying again"));
        let hang_up = Action::Disconnect { code: PROTOCOL_ERROR };
        vec![Action::Emit(problem), hang_up, self.retry(now)]
    }

    pub(super) fn welcomed(&mut self, welcome: &Welcome, now: Duration) {
        self.heartbeat = welcome.heartbeat;
        self.max_chunk = (welcome.max_chunk_bytes as usize).min(MAX_CHUNK);
        self.state = State::CheckingIn { since: now };
        self.absence.pass(now);
        // An observer until the task is known. A round in hand goes on.
        let known = self.task.is_some();
        self.availability = if known && (self.current.is_some() || self.takes_part()) {
            Availability::Available
        } else {
            Availability::Paused
        };
        self.outbox.push_back(ClientMessage::CheckIn {
            task: self.task_id.clone(),
            availability: self.availability,
            subject: Some(self.policy.subject()),
            token: self.tokens.current.clone(),
            capabilities: Capabilities::all(),
        });
    }

    /// A server that takes an update in is there, though it has nothing to say
    /// meanwhile and a ping waits behind what is on its way. The end of an update
    /// bounds how long buffers on the way can pretend so; of pings there is no end.
    pub(super) fn sent(&mut self, now: Duration) {
        self.sent_at = now;
        if std::mem::take(&mut self.sending_chunk) {
            self.heard_at = now;
        }
    }

    pub(super) fn timer(&mut self, now: Duration) -> Vec<Action> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        match self.state {
            State::Waiting(..) => self.connect(now),
            State::Connecting { .. } | State::Greeting { .. } | State::CheckingIn { .. } => {
                self.drop_connection("the server does not answer", now)
            }
            State::Member if now >= self.silent_at() => {
                self.drop_connection("the server has fallen silent", now)
            }
            State::Member => {
                if now >= self.ping_at() {
                    self.pinged_at = now;
                    self.outbox.push_back(ClientMessage::Ping { nonce: now.as_millis() as u64 });
                }
                // In a round there is nothing to come back to.
                if self.absence.pass(now) && self.current.is_none() {
                    self.settle()
                } else {
                    Vec::new()
                }
            }
            State::Idle | State::Closed => Vec::new(),
        }
    }
}
