//! The client's side of the protocol as a machine without I/O.
//!
//! `handle(event, now, jitter)` returns what to do; `poll_transmit` yields what
//! to send whenever the socket has room. It opens no socket, reads no clock
//! (times are arguments: time since any fixed moment) and draws no random number
//! (`jitter` is one). A browser, a native process and a simulation drive the
//! same code.
//!
//! The connection and the work for a round are apart: a connection that is lost
//! does not end the work, and the next one takes it up.

mod absence;
mod backoff;
mod connection;
mod event;
mod in_round;
mod names;
mod policy;
mod refusals;
mod rounds;
mod secure;
#[cfg(test)]
mod tests;
mod upload;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fedra_privacy_policy::DerivedPolicy;
use fedra_protocol::{
    Availability, ClientMessage, DecodeError, RoundAssignment, RoundId, ServerMessage,
    TaskDescription, TaskId, TaskStatus,
};

use crate::events::{ClientEvent, SessionState};
use crate::failure::Failure;
use crate::privacy::PrivacyConfig;
use absence::{Absence, Absent};
use backoff::Backoff;
pub use event::{Action, Event};
use in_round::InRound;
use policy::PolicyState;
use refusals::Tokens;
use rounds::Declined;
pub use secure::{SecureReply, SecureRequest};

/// Waits before the next connection.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Time from the check-in after which a connection was of use.
const USEFUL: Duration = LONGEST_WAIT;
/// Time that the server may take to answer the connection, hello and check-in, each.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// Heartbeats without a word from the server after which it counts as gone.
const MISSED_HEARTBEATS: u32 = 3;
/// Largest piece of an update that is sent at once, bytes, even if the server would
/// take more: other messages, and the news that it has left, wait for it.
const MAX_CHUNK: usize = 64 << 10;
/// WebSocket close code of a client that is done here, for now or for good.
const GOODBYE: u16 = 1000;
/// Close code of a client that will be back, and means to go on with its round.
pub(crate) const COMING_BACK: u16 = 4000;
/// Close code of a client that cannot make sense of what the server sends.
const PROTOCOL_ERROR: u16 = 1002;

/// A client's session with one task of one server, across reconnects.
#[derive(Debug)]
pub struct Session {
    task_id: TaskId,
    state: State,
    paused: bool,
    /// True if there are examples that fit the task.
    has_data: bool,
    backoff: Backoff,
    jitter: f64,
    now: Duration,
    /// Time of the check-in.
    member_since: Duration,
    absence: Absence,
    outbox: VecDeque<ClientMessage>,
    heartbeat: Duration,
    max_chunk: usize,
    /// True if the message on its way is a piece of an update.
    sending_chunk: bool,
    /// The server's last sign of life.
    heard_at: Duration,
    /// Time at which the socket took the last message.
    sent_at: Duration,
    pinged_at: Duration,
    task: Option<TaskDescription>,
    status: Option<TaskStatus>,
    policy: PolicyState,
    tokens: Tokens,
    /// Availability that the server knows.
    availability: Availability,
    /// The round that the client is in, connected or not.
    current: Option<InRound>,
    /// The last round that it gave up.
    declined: Option<Declined>,
    /// The last round of whose update the owner has been told what became of it.
    judged: Option<RoundId>,
}

#[derive(Debug)]
enum State {
    Idle,
    Connecting { since: Duration },
    Greeting { since: Duration },
    CheckingIn { since: Duration },
    Member,
    Waiting(Break),
    Closed,
}

/// A while without a connection.
#[derive(Clone, Copy, Debug)]
struct Break {
    until: Duration,
    /// State that the owner was told.
    shown: SessionState,
}

impl Session {
    /// A session that waits for [`Event::Start`].
    pub fn new(task: TaskId, privacy: PrivacyConfig) -> Self {
        Self {
            task_id: task,
            state: State::Idle,
            paused: false,
            has_data: false,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            jitter: 0.0,
            now: Duration::ZERO,
            member_since: Duration::ZERO,
            absence: Absence::new(),
            outbox: VecDeque::new(),
            heartbeat: HANDSHAKE_TIMEOUT,
            max_chunk: 0,
            sending_chunk: false,
            heard_at: Duration::ZERO,
            sent_at: Duration::ZERO,
            pinged_at: Duration::ZERO,
            task: None,
            status: None,
            policy: PolicyState::new(privacy),
            tokens: Tokens::default(),
            availability: Availability::Paused,
            current: None,
            declined: None,
            judged: None,
        }
    }

    /// The task, once checked in.
    pub fn task(&self) -> Option<&TaskDescription> {
        self.task.as_ref()
    }

    /// Meaning of the task's privacy policy, if it has one; once checked in.
    pub fn privacy(&self) -> Option<&Arc<DerivedPolicy>> {
        self.policy.privacy()
    }

    /// Policy of the round that the client is invited to.
    pub fn privacy_of(&self, assignment: &RoundAssignment) -> Option<&Arc<DerivedPolicy>> {
        self.policy.privacy_of(assignment)
    }

    /// The newest status that the server sent.
    pub fn status(&self) -> Option<&TaskStatus> {
        self.status.as_ref()
    }

    /// True if the session is over for good.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Time at which [`Event::Timer`] is wanted, if at all.
    pub fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Idle | State::Closed => None,
            State::Waiting(Break { until, .. }) => Some(*until),
            State::Connecting { since }
            | State::Greeting { since }
            | State::CheckingIn { since } => Some(*since + HANDSHAKE_TIMEOUT),
            State::Member => {
                let own = self.ping_at().min(self.silent_at());
                Some(self.absence.deadline().map_or(own, |ends| ends.min(own)))
            }
        }
    }

    /// Time at which a ping is due: the server knows a client by what it sends, and the
    /// client the server by its answers.
    fn ping_at(&self) -> Duration {
        self.heard_at.min(self.sent_at).max(self.pinged_at) + self.heartbeat
    }

    /// Time at which a server that has said nothing more is given up.
    fn silent_at(&self) -> Duration {
        self.heard_at + self.heartbeat * MISSED_HEARTBEATS
    }

    /// The next message to send, if there is one. Ask again when the socket has room.
    ///
    /// [`Event::Sent`] says that the socket has taken it.
    pub fn poll_transmit(&mut self) -> Option<ClientMessage> {
        self.sending_chunk = false;
        if let Some(message) = self.outbox.pop_front() {
            return Some(message);
        }
        // It has nothing to send before a server has said so on this connection.
        let upload = self.current.as_mut()?.upload.as_mut()?;
        let chunk = upload.next_chunk(self.max_chunk)?;
        self.sending_chunk = true;
        Some(ClientMessage::UpdateChunk(chunk))
    }

    /// Round of the update of which a message is the last piece.
    pub fn completes(&self, message: &ClientMessage) -> Option<RoundId> {
        let upload = self.current.as_ref()?.upload.as_ref()?;
        match message {
            ClientMessage::UpdateChunk(chunk) if upload.is_sent() => Some(chunk.round),
            _ => None,
        }
    }

    /// Takes an event in and says what to do, in this order.
    ///
    /// `jitter` is uniform in [0, 1) and spreads the reconnects of many clients.
    pub fn handle(&mut self, event: Event, now: Duration, jitter: f64) -> Vec<Action> {
        if self.is_closed() {
            return Vec::new();
        }
        self.jitter = jitter;
        self.now = now;
        match event {
            Event::Start => match self.state {
                State::Idle => self.connect(now),
                _ => Vec::new(),
            },
            // Without a task there is nothing to hold them against.
            Event::DataGiven if self.task.is_none() => Vec::new(),
            Event::DataGiven => vec![Action::Judge],
            Event::DataReady => self.data_ready(),
            Event::Misfit { reason } => self.misfit(reason),
            Event::Connected { token } => self.connected(token, now),
            Event::NoToken { reason } => self.no_token(&reason, now),
            Event::Disconnected { reason } => self.disconnected(&reason, now),
            Event::Vanished => self.vanished(now),
            Event::Received(message) => {
                self.heard_at = now;
                self.received(message, now)
            }
            Event::Sent => {
                self.sent(now);
                Vec::new()
            }
            Event::Garbled(DecodeError::Unsupported { what }) if self.is_connected() => {
                let message = format!(
                    "this client is too old for the task: {what} is of a kind that it does not \
                     know; update this client"
                );
                self.give_up(Failure::UnsupportedTask, message)
            }
            Event::Garbled(error) => self.drop_connection(&format!("the server sent {error}"), now),
            Event::Downloaded { round } if self.works_on(round) => self.downloaded(),
            Event::Progressed { round, progress } if self.works_on(round) => {
                vec![Action::Emit(ClientEvent::progress(round, &progress))]
            }
            Event::Trained { round, update, examples } if self.works_on(round) => {
                self.trained(round, update, examples)
            }
            Event::Secured { round, reply } => self.secured(round, reply),
            Event::Recorded { round } => self.recorded(round),
            Event::Failed { round, failure, reason } if self.is_busy_with(round) => {
                self.leave(round, failure, reason)
            }
            // About a round that is over.
            Event::Downloaded { .. }
            | Event::Progressed { .. }
            | Event::Trained { .. }
            | Event::Failed { .. } => Vec::new(),
            Event::Timer => self.timer(now),
            Event::Pause => self.pause(),
            Event::Resume => self.resume(now),
            Event::Consent => self.consent(),
            Event::ExamplesSpent(terms) => {
                self.policy.examples_spent(terms);
                self.privacy_news()
            }
            Event::Close => self.close(),
        }
    }

    /// True if there is a connection that the server can be heard on.
    fn is_connected(&self) -> bool {
        matches!(self.state, State::Greeting { .. } | State::CheckingIn { .. } | State::Member)
    }

    fn is_member(&self) -> bool {
        matches!(self.state, State::Member)
    }

    /// Sends a message if the client is checked in; after a reconnect the server
    /// asks again for what it has missed.
    fn tell(&mut self, message: ClientMessage) {
        if self.is_member() {
            self.outbox.push_back(message);
        }
    }

    fn received(&mut self, message: ServerMessage, now: Duration) -> Vec<Action> {
        match (message, &self.state) {
            (
                ServerMessage::Refusal(refusal),
                State::Greeting { .. } | State::CheckingIn { .. } | State::Member,
            ) => self.refused(refusal, now),
            (ServerMessage::Welcome(welcome), State::Greeting { .. }) => {
                self.welcomed(&welcome, now);
                Vec::new()
            }
            (ServerMessage::CheckedIn(checked_in), State::CheckingIn { .. }) => {
                self.checked_in(checked_in.task, checked_in.status)
            }
            (ServerMessage::TaskStatus(status), State::Member) => self.new_status(*status),
            (ServerMessage::RoundAssignment(assignment), State::Member) => {
                if assignment.privacy.is_some() == self.policy.privacy().is_some() {
                    self.assigned(assignment)
                } else {
                    let reason = "the server sent a round that does not fit the task's privacy";
                    self.drop_connection(reason, now)
                }
            }
            (ServerMessage::KeyDirectory(directory), State::Member) if self.is_secure() => {
                self.asked(directory.round, SecureRequest::Share(directory))
            }
            (ServerMessage::MaskedInputRequest(ask), State::Member) if self.is_secure() => {
                self.asked(ask.round, SecureRequest::Mask(ask.shares))
            }
            (ServerMessage::UnmaskingRequest(ask), State::Member) if self.is_secure() => {
                self.asked(ask.round, SecureRequest::Unmask(ask.survivors))
            }
            (ServerMessage::UploadReady { round, offset }, State::Member) => {
                self.upload_ready(round, offset);
                Vec::new()
            }
            (ServerMessage::UpdateOutcome(outcome), State::Member) => self.outcome(&outcome),
            (ServerMessage::Standby(standby), State::Member) => {
                self.absence.stand_by(&standby, now);
                if self.current.is_none() { vec![self.emit_rest()] } else { Vec::new() }
            }
            (ServerMessage::Pong { .. }, _) => Vec::new(),
            // Left over from a connection that this session has given up.
            (_, State::Waiting(..) | State::Connecting { .. } | State::Idle | State::Closed) => {
                Vec::new()
            }
            (message, _) => {
                let reason =
                    format!("the server sent an unexpected {}", names::of_message(&message));
                self.drop_connection(&reason, now)
            }
        }
    }

    fn checked_in(&mut self, task: TaskDescription, status: TaskStatus) -> Vec<Action> {
        self.tokens.accepted();
        let mut actions = vec![Action::Emit(ClientEvent::task(&task))];
        if let Err(error) = self.policy.admit(&task) {
            actions.extend(self.give_up(Failure::PrivacyRefused, error.to_string()));
            return actions;
        }
        if let Some(norm) = self.current.as_ref().and_then(InRound::clipping_norm) {
            self.policy.set_clipping_norm(norm);
        }
        actions.extend(self.policy.news(Some(&status)).map(Action::Emit));
        actions.push(Action::Emit(ClientEvent::round(&status)));
        actions.push(Action::Emit(ClientEvent::model(&status)));
        self.state = State::Member;
        self.member_since = self.now;
        self.absence.newest_model(status.model.sha256);
        actions.extend(self.take_up(&status));
        actions.extend(self.end_of_task(&status));
        if self.task.as_ref() != Some(&task) {
            actions.push(Action::Judge);
        }
        self.task = Some(task);
        self.status = Some(status);
        actions
    }

    /// There are examples that fit the task, or others than before.
    fn data_ready(&mut self) -> Vec<Action> {
        let had_data = std::mem::replace(&mut self.has_data, true);
        let was_out = self.absence.new_data();
        if (had_data && !was_out) || self.current.is_some() {
            return Vec::new();
        }
        self.settle()
    }

    /// The task has another description than the one that the examples fitted.
    fn misfit(&mut self, reason: String) -> Vec<Action> {
        self.has_data = false;
        match self.current.as_ref().filter(|current| !current.part.is_reported()) {
            Some(current) => self.leave(current.id(), Failure::BadDataset, reason),
            None => {
                let mut actions =
                    vec![Action::Emit(ClientEvent::problem(Failure::BadDataset, reason))];
                self.fails(Failure::BadDataset);
                actions.extend(self.drop_round());
                actions
            }
        }
    }

    /// Stays out of rounds as long as a failure of its own asks for.
    fn fails(&mut self, failure: Failure) {
        // A private client that stayed away would tell something about its data.
        if failure.is_of_data() && self.policy.privacy().is_some() {
            return;
        }
        let model = self.current.as_ref().map(InRound::model);
        let newest = || self.status.as_ref().map(|status| status.model.sha256);
        if let Some(model) = model.or_else(newest) {
            self.absence.failed(failure, model, self.now, self.jitter);
        }
    }

    /// True if it would accept an invitation.
    fn takes_part(&self) -> bool {
        self.has_data
            && !self.paused
            && self.absence.outage().is_none()
            && !self.policy.waits_for_consent()
            && !self.policy.is_exhausted()
    }

    /// Is in no round now: tells the server and the owner what it waits for, if it
    /// is connected.
    fn settle(&mut self) -> Vec<Action> {
        if !self.is_member() {
            return Vec::new();
        }
        self.tell_availability();
        let exhaustion = self.policy.exhaustion().map(Action::Emit);
        exhaustion.into_iter().chain([self.emit_rest()]).collect()
    }

    /// Tells the server whether it may be selected, if that has changed.
    fn tell_availability(&mut self) {
        let now = if self.takes_part() { Availability::Available } else { Availability::Paused };
        if std::mem::replace(&mut self.availability, now) != now {
            self.outbox.push_back(ClientMessage::SetAvailability(now));
        }
    }

    /// The task's privacy terms, if they have changed.
    fn privacy_news(&mut self) -> Vec<Action> {
        self.policy.news(self.status.as_ref()).map(Action::Emit).into_iter().collect()
    }

    /// Ends the session because of a problem that will not go away.
    fn give_up(&mut self, failure: Failure, message: String) -> Vec<Action> {
        let mut actions = self.end_work();
        self.state = State::Closed;
        actions.push(Action::Emit(ClientEvent::fatal(failure, message)));
        actions.push(Action::Disconnect { code: GOODBYE });
        actions.push(self.emit_status(SessionState::Closed));
        actions
    }

    fn pause(&mut self) -> Vec<Action> {
        if std::mem::replace(&mut self.paused, true) {
            return Vec::new();
        }
        // A cohort waits for a client that owes it a step, and the server may not hear
        // of the pause. Any other round is trained anew if it is asked for after the
        // pause.
        if self.is_secure()
            && let Some(round) = self.round()
        {
            self.declined = Some(Declined { round, told: self.is_member(), cause: None });
        }
        let mut actions = self.end_work();
        match self.state {
            State::Member => actions.extend(self.settle()),
            _ => actions.push(self.emit_rest()),
        }
        actions
    }

    fn resume(&mut self, now: Duration) -> Vec<Action> {
        if !std::mem::replace(&mut self.paused, false) {
            return Vec::new();
        }
        match self.state {
            State::Member => self.settle(),
            State::Idle => vec![self.emit_status(SessionState::Idle)],
            State::Waiting(Break { until, shown }) => {
                vec![self.emit_wait(shown, until.saturating_sub(now))]
            }
            State::Connecting { .. } | State::Greeting { .. } | State::CheckingIn { .. } => {
                vec![self.emit_status(SessionState::Connecting)]
            }
            State::Closed => Vec::new(),
        }
    }

    fn consent(&mut self) -> Vec<Action> {
        let waited = self.policy.waits_for_consent();
        self.policy.agree();
        if waited { self.settle() } else { Vec::new() }
    }

    fn close(&mut self) -> Vec<Action> {
        let mut actions = self.end_work();
        self.state = State::Closed;
        actions.push(Action::Disconnect { code: GOODBYE });
        actions.push(self.emit_status(SessionState::Closed));
        actions
    }

    /// Activity of a client between two rounds.
    fn emit_rest(&self) -> Action {
        if self.policy.waits_for_consent() {
            self.emit_status(SessionState::Consent)
        } else if self.paused {
            self.emit_status(SessionState::Paused)
        } else if let Some(absent) = self.absence.outage() {
            self.emit_absence(absent)
        } else if !self.has_data {
            self.emit_status(SessionState::Idle)
        } else if let Some(absent) = self.absence.standby() {
            self.emit_absence(absent)
        } else {
            self.emit_status(SessionState::Waiting)
        }
    }

    fn emit_absence(&self, absent: Absent) -> Action {
        let left = absent.until.map(|until| until.saturating_sub(self.now));
        Action::Emit(ClientEvent::Status {
            state: if left.is_some() { SessionState::Waiting } else { SessionState::Unavailable },
            round: None,
            reason: Some(absent.reason),
            retry_in_ms: left.map(|left| left.as_millis() as u64),
        })
    }

    /// Without a connection, for so long.
    fn emit_wait(&self, state: SessionState, left: Duration) -> Action {
        Action::Emit(ClientEvent::Status {
            state,
            round: self.round().map(|round| round.round),
            reason: None,
            retry_in_ms: Some(left.as_millis() as u64),
        })
    }

    fn emit_status(&self, state: SessionState) -> Action {
        Action::Emit(ClientEvent::status(state, self.round().map(|round| round.round)))
    }
}
