//! The client's side of the protocol as a machine without I/O.
//!
//! `handle(event, now, jitter)` returns what to do; `poll_transmit` yields what
//! to send whenever the socket has room. It opens no socket, reads no clock
//! (times are arguments: time since any fixed moment) and draws no random number
//! (`jitter` is one). A browser, a native process and a simulation drive the
//! same code.

mod backoff;
#[cfg(test)]
mod tests;
mod upload;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fedra_protocol::{
    Availability, ClientMessage, DecodeError, Hello, PROTOCOL_VERSION, Refusal, RefusalCode,
    RoundAssignment, RoundId, RoundPhase, ServerMessage, TaskDescription, TaskId, TaskStatus,
    UpdateBegin, UpdateFault, UpdateOutcome, UpdateVerdict,
};

use crate::SOFTWARE;
use crate::events::{ClientEvent, SessionState, UpdateFate};
use backoff::Backoff;
use upload::Upload;

/// How long the server may take to answer the connection, hello and check-in, each.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// Heartbeats without a word from the server after which it counts as gone.
const MISSED_HEARTBEATS: u32 = 3;

/// Something that happened outside.
#[derive(Debug)]
pub enum Event {
    /// There is data to train on: the client may connect.
    DataReady,
    /// The socket is open.
    Connected,
    /// The socket could not be opened, or is closed.
    Disconnected {
        /// In words.
        reason: String,
    },
    /// A message arrived.
    Received(ServerMessage),
    /// Something arrived that is not a message.
    Garbled(DecodeError),
    /// The round's model is here; training begins.
    Downloaded {
        /// The round.
        round: RoundId,
    },
    /// Training is done.
    Trained {
        /// The round.
        round: RoundId,
        /// Little-endian float32, local minus global.
        update: Bytes,
        /// Examples it was trained on.
        examples: u64,
    },
    /// The round's work cannot be done.
    Failed {
        /// The round.
        round: RoundId,
        /// Stable name of the problem.
        code: &'static str,
        /// In words.
        reason: String,
    },
    /// The time that [`Session::deadline`] named has come.
    Timer,
    /// The owner wants a break.
    Pause,
    /// The owner wants to go on.
    Resume,
    /// The owner is done.
    Close,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Open a socket.
    Connect,
    /// Close the socket with this WebSocket code, or stop opening it.
    Disconnect {
        /// WebSocket close code.
        code: u16,
    },
    /// Fetch the model and train.
    Work(Box<RoundAssignment>),
    /// Stop fetching or training.
    Abort,
    /// Tell the owner.
    Emit(ClientEvent),
}

/// A client's session with one task of one server, across reconnects.
#[derive(Debug)]
pub struct Session {
    task_id: TaskId,
    state: State,
    paused: bool,
    backoff: Backoff,
    jitter: f64,
    outbox: VecDeque<ClientMessage>,
    heartbeat: Duration,
    max_chunk: usize,
    heard_at: Duration,
    pinged_at: Duration,
    task: Option<TaskDescription>,
    status: Option<TaskStatus>,
}

#[derive(Debug)]
enum State {
    Idle,
    Connecting { since: Duration },
    Greeting { since: Duration },
    CheckingIn { since: Duration },
    Member(Part),
    Waiting { until: Duration },
    Closed,
}

/// What a checked-in client does.
#[derive(Debug)]
enum Part {
    Between,
    Working(RoundId),
    Uploading(Upload),
    Reported(RoundId),
}

impl Session {
    /// A session that waits for data.
    pub fn new(task: TaskId) -> Self {
        Self {
            task_id: task,
            state: State::Idle,
            paused: false,
            backoff: Backoff::default(),
            jitter: 0.0,
            outbox: VecDeque::new(),
            heartbeat: HANDSHAKE_TIMEOUT,
            max_chunk: 0,
            heard_at: Duration::ZERO,
            pinged_at: Duration::ZERO,
            task: None,
            status: None,
        }
    }

    /// The task, once checked in.
    pub fn task(&self) -> Option<&TaskDescription> {
        self.task.as_ref()
    }

    /// The newest status that the server sent.
    pub fn status(&self) -> Option<&TaskStatus> {
        self.status.as_ref()
    }

    /// Whether the session is over for good.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// When [`Event::Timer`] is wanted, if at all.
    pub fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Idle | State::Closed => None,
            State::Waiting { until } => Some(*until),
            State::Connecting { since }
            | State::Greeting { since }
            | State::CheckingIn { since } => Some(*since + HANDSHAKE_TIMEOUT),
            State::Member(_) => {
                let ping = self.heard_at.max(self.pinged_at) + self.heartbeat;
                Some(ping.min(self.heard_at + self.heartbeat * MISSED_HEARTBEATS))
            }
        }
    }

    /// The next message to send, if there is one. Ask again when the socket has room.
    pub fn poll_transmit(&mut self) -> Option<ClientMessage> {
        if let Some(message) = self.outbox.pop_front() {
            return Some(message);
        }
        match &mut self.state {
            State::Member(Part::Uploading(upload)) => {
                upload.next_chunk(self.max_chunk).map(ClientMessage::UpdateChunk)
            }
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
        match event {
            Event::DataReady => match self.state {
                State::Idle => self.connect(now),
                _ => Vec::new(),
            },
            Event::Connected => self.connected(now),
            Event::Disconnected { reason } => self.disconnected(&reason, now),
            Event::Received(message) => {
                self.heard_at = now;
                self.received(message, now)
            }
            Event::Garbled(error) => self.drop_connection(&format!("the server sent {error}"), now),
            Event::Downloaded { round } if self.works_on(round) => {
                vec![self.emit_status(SessionState::Training)]
            }
            Event::Trained { round, update, examples } if self.works_on(round) => {
                self.announce(round, update, examples)
            }
            Event::Failed { round, code, reason } if self.works_on(round) => {
                self.state = State::Member(Part::Between);
                self.outbox.push_back(ClientMessage::Decline { round, reason: clip(&reason) });
                vec![
                    Action::Emit(ClientEvent::problem(code, reason)),
                    self.emit_status(SessionState::Waiting),
                ]
            }
            // About a round that is over.
            Event::Downloaded { .. } | Event::Trained { .. } | Event::Failed { .. } => Vec::new(),
            Event::Timer => self.timer(now),
            Event::Pause => self.pause(),
            Event::Resume => self.resume(),
            Event::Close => self.close(),
        }
    }

    fn connect(&mut self, now: Duration) -> Vec<Action> {
        self.state = State::Connecting { since: now };
        self.outbox.clear();
        vec![Action::Connect, self.emit_status(SessionState::Connecting)]
    }

    fn connected(&mut self, now: Duration) -> Vec<Action> {
        if matches!(self.state, State::Connecting { .. }) {
            self.heard_at = now;
            self.pinged_at = now;
            self.state = State::Greeting { since: now };
            self.outbox.push_back(ClientMessage::Hello(Hello {
                versions: vec![PROTOCOL_VERSION],
                software: SOFTWARE.to_string(),
            }));
        }
        Vec::new()
    }

    fn disconnected(&mut self, reason: &str, now: Duration) -> Vec<Action> {
        let problem = match self.state {
            State::Idle | State::Waiting { .. } | State::Closed => return Vec::new(),
            State::Connecting { .. } => format!("cannot reach the server ({reason}); trying again"),
            _ => format!("the connection was lost ({reason}); trying again"),
        };
        let mut actions = vec![Action::Emit(ClientEvent::problem("no-server", problem))];
        actions.extend(self.retry(now));
        actions
    }

    fn retry(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = self.abort_work();
        let delay = self.backoff.next(self.jitter);
        actions.extend(self.wait(now + delay, now));
        actions
    }

    fn wait(&mut self, until: Duration, now: Duration) -> Vec<Action> {
        self.state = State::Waiting { until };
        self.outbox.clear();
        vec![Action::Emit(ClientEvent::Status {
            state: SessionState::Reconnecting,
            round: None,
            retry_in_ms: Some(until.saturating_sub(now).as_millis() as u64),
        })]
    }

    /// Gives the socket up because the server misbehaves.
    fn drop_connection(&mut self, reason: &str, now: Duration) -> Vec<Action> {
        let problem = ClientEvent::problem("no-server", format!("{reason}; trying again"));
        let mut actions = vec![Action::Emit(problem), Action::Disconnect { code: 1002 }];
        actions.extend(self.retry(now));
        actions
    }

    fn received(&mut self, message: ServerMessage, now: Duration) -> Vec<Action> {
        match (message, &self.state) {
            (ServerMessage::Refusal(refusal), _) => self.refused(refusal, now),
            (ServerMessage::Welcome(welcome), State::Greeting { .. }) => {
                self.heartbeat = welcome.heartbeat;
                self.max_chunk = welcome.max_chunk_bytes as usize;
                self.state = State::CheckingIn { since: now };
                self.outbox.push_back(ClientMessage::CheckIn { task: self.task_id.clone() });
                Vec::new()
            }
            (ServerMessage::CheckedIn(checked_in), State::CheckingIn { .. }) => {
                self.checked_in(checked_in.task, checked_in.status)
            }
            (ServerMessage::TaskStatus(status), State::Member(_)) => self.new_status(status),
            (ServerMessage::RoundAssignment(assignment), State::Member(_)) => {
                self.assigned(assignment)
            }
            (ServerMessage::UploadReady { round, offset }, State::Member(_)) => {
                self.upload_ready(round, offset)
            }
            (ServerMessage::UpdateOutcome(outcome), State::Member(_)) => self.outcome(outcome),
            (ServerMessage::Pong { .. }, _) => Vec::new(),
            // Left over from a connection that this session has given up.
            (_, State::Waiting { .. } | State::Connecting { .. } | State::Idle | State::Closed) => {
                Vec::new()
            }
            (message, _) => {
                let reason = format!("the server sent an unexpected {}", name(&message));
                self.drop_connection(&reason, now)
            }
        }
    }

    fn checked_in(&mut self, task: TaskDescription, status: TaskStatus) -> Vec<Action> {
        self.backoff.reset();
        self.state = State::Member(Part::Between);
        if self.paused {
            self.outbox.push_back(ClientMessage::SetAvailability(Availability::Paused));
        }
        let mut actions = vec![
            Action::Emit(ClientEvent::task(&task)),
            Action::Emit(ClientEvent::round(&status)),
            Action::Emit(ClientEvent::model(&status)),
            self.emit_rest(),
        ];
        if status.phase == RoundPhase::Finished {
            actions.push(Action::Emit(ClientEvent::problem(
                "task-finished",
                "the task has had its last round; its model can still be used",
            )));
        }
        self.task = Some(task);
        self.status = Some(status);
        actions
    }

    fn new_status(&mut self, status: TaskStatus) -> Vec<Action> {
        let mut actions = vec![Action::Emit(ClientEvent::round(&status))];
        let news = self
            .status
            .as_ref()
            .is_none_or(|old| old.model != status.model || old.evaluation != status.evaluation);
        if news {
            actions.push(Action::Emit(ClientEvent::model(&status)));
        }
        let over = |round: &RoundId| status.round > *round || status.phase == RoundPhase::Finished;
        match &self.state {
            State::Member(Part::Working(round)) if over(round) => {
                let round = round.round;
                self.state = State::Member(Part::Between);
                actions.push(Action::Abort);
                actions.push(Action::Emit(ClientEvent::Update {
                    round,
                    outcome: UpdateFate::Discarded,
                    fault: Some(UpdateFault::RoundOver),
                    message: Some("the round closed before training was done".into()),
                }));
                actions.push(self.emit_rest());
            }
            State::Member(Part::Reported(round)) if over(round) => {
                self.state = State::Member(Part::Between);
                actions.push(self.emit_rest());
            }
            _ => {}
        }
        self.status = Some(status);
        actions
    }

    fn assigned(&mut self, assignment: RoundAssignment) -> Vec<Action> {
        let round = assignment.round;
        if self.paused {
            // Crossed with the pause on the wire.
            let reason = "paused".to_string();
            self.outbox.push_back(ClientMessage::Decline { round, reason });
            return Vec::new();
        }
        let mut actions = self.abort_work();
        self.state = State::Member(Part::Working(round));
        actions.push(self.emit_status(SessionState::Downloading));
        actions.push(Action::Work(Box::new(assignment)));
        actions
    }

    fn announce(&mut self, round: RoundId, update: Bytes, examples: u64) -> Vec<Action> {
        self.outbox.push_back(ClientMessage::UpdateBegin(UpdateBegin {
            round,
            bytes: update.len() as u64,
            examples,
            crc32: crc32fast::hash(&update),
        }));
        self.state = State::Member(Part::Uploading(Upload::new(round, update)));
        vec![self.emit_status(SessionState::Uploading)]
    }

    fn upload_ready(&mut self, round: RoundId, offset: u64) -> Vec<Action> {
        if let State::Member(Part::Uploading(upload)) = &mut self.state
            && upload.round() == round
        {
            upload.start(offset);
        }
        Vec::new()
    }

    fn outcome(&mut self, outcome: UpdateOutcome) -> Vec<Action> {
        let (fate, fault) = match outcome.verdict {
            UpdateVerdict::Accepted => (UpdateFate::Accepted, None),
            UpdateVerdict::Rejected(fault) => (UpdateFate::Rejected, Some(fault)),
            UpdateVerdict::Discarded(fault) => (UpdateFate::Discarded, Some(fault)),
        };
        let mut actions = vec![Action::Emit(ClientEvent::Update {
            round: outcome.round.round,
            outcome: fate,
            fault,
            message: (!outcome.message.is_empty()).then_some(outcome.message),
        })];
        let current = match &self.state {
            State::Member(Part::Uploading(upload)) => upload.round() == outcome.round,
            State::Member(Part::Working(round)) => *round == outcome.round,
            _ => false,
        };
        if current {
            actions.extend(self.abort_work());
            if fate == UpdateFate::Accepted {
                self.state = State::Member(Part::Reported(outcome.round));
                actions.push(self.emit_status(SessionState::Reported));
            } else {
                self.state = State::Member(Part::Between);
                actions.push(self.emit_rest());
            }
        }
        actions
    }

    fn refused(&mut self, refusal: Refusal, now: Duration) -> Vec<Action> {
        let code = format!("refused-{}", code_name(refusal.code));
        let again = matches!(
            refusal.code,
            RefusalCode::Overloaded | RefusalCode::Timeout | RefusalCode::ShuttingDown
        );
        let mut actions = self.abort_work();
        if again {
            actions.push(Action::Emit(ClientEvent::problem(code, refusal.message)));
            let delay = self.backoff.next(self.jitter).max(refusal.retry_after.unwrap_or_default());
            actions.push(Action::Disconnect { code: 1000 });
            actions.extend(self.wait(now + delay, now));
        } else {
            self.state = State::Closed;
            actions.push(Action::Emit(ClientEvent::fatal(code, refusal.message)));
            actions.push(Action::Disconnect { code: 1000 });
            actions.push(self.emit_status(SessionState::Closed));
        }
        actions
    }

    fn timer(&mut self, now: Duration) -> Vec<Action> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        match self.state {
            State::Waiting { .. } => self.connect(now),
            State::Connecting { .. } | State::Greeting { .. } | State::CheckingIn { .. } => {
                self.drop_connection("the server does not answer", now)
            }
            State::Member(_) if now >= self.heard_at + self.heartbeat * MISSED_HEARTBEATS => {
                self.drop_connection("the server has fallen silent", now)
            }
            State::Member(_) => {
                self.pinged_at = now;
                self.outbox.push_back(ClientMessage::Ping { nonce: now.as_millis() as u64 });
                Vec::new()
            }
            State::Idle | State::Closed => Vec::new(),
        }
    }

    fn pause(&mut self) -> Vec<Action> {
        if std::mem::replace(&mut self.paused, true) {
            return Vec::new();
        }
        let mut actions = Vec::new();
        if matches!(self.state, State::Member(_)) {
            actions = self.abort_work();
            self.state = State::Member(Part::Between);
            self.outbox.push_back(ClientMessage::SetAvailability(Availability::Paused));
        }
        actions.push(self.emit_rest());
        actions
    }

    fn resume(&mut self) -> Vec<Action> {
        if !std::mem::replace(&mut self.paused, false) {
            return Vec::new();
        }
        if !matches!(self.state, State::Member(_)) {
            return Vec::new();
        }
        self.outbox.push_back(ClientMessage::SetAvailability(Availability::Available));
        vec![self.emit_rest()]
    }

    fn close(&mut self) -> Vec<Action> {
        let mut actions = self.abort_work();
        self.state = State::Closed;
        actions.push(Action::Disconnect { code: 1000 });
        actions.push(self.emit_status(SessionState::Closed));
        actions
    }

    fn abort_work(&mut self) -> Vec<Action> {
        match self.state {
            State::Member(Part::Working(_)) => vec![Action::Abort],
            _ => Vec::new(),
        }
    }

    fn works_on(&self, round: RoundId) -> bool {
        matches!(self.state, State::Member(Part::Working(current)) if current == round)
    }

    /// What a client between two rounds is: waiting or paused.
    fn emit_rest(&self) -> Action {
        self.emit_status(if self.paused { SessionState::Paused } else { SessionState::Waiting })
    }

    fn emit_status(&self, state: SessionState) -> Action {
        let round = match &self.state {
            State::Member(Part::Working(round) | Part::Reported(round)) => Some(round.round),
            State::Member(Part::Uploading(upload)) => Some(upload.round().round),
            _ => None,
        };
        Action::Emit(ClientEvent::status(state, round))
    }
}

/// A reason short enough for the wire.
fn clip(reason: &str) -> String {
    reason.chars().take(fedra_protocol::limits::MAX_TEXT_BYTES / 4).collect()
}

fn name(message: &ServerMessage) -> &'static str {
    match message {
        ServerMessage::Welcome(_) => "Welcome",
        ServerMessage::Refusal(_) => "Refusal",
        ServerMessage::CheckedIn(_) => "CheckedIn",
        ServerMessage::TaskStatus(_) => "TaskStatus",
        ServerMessage::RoundAssignment(_) => "RoundAssignment",
        ServerMessage::UploadReady { .. } => "UploadReady",
        ServerMessage::UpdateOutcome(_) => "UpdateOutcome",
        ServerMessage::Pong { .. } => "Pong",
    }
}

fn code_name(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::UnsupportedVersion => "unsupported-version",
        RefusalCode::MalformedMessage => "malformed-message",
        RefusalCode::UnexpectedMessage => "unexpected-message",
        RefusalCode::MessageTooLarge => "message-too-large",
        RefusalCode::UnknownTask => "unknown-task",
        RefusalCode::TaskClosed => "task-closed",
        RefusalCode::Overloaded => "overloaded",
        RefusalCode::Timeout => "timeout",
        RefusalCode::ShuttingDown => "shutting-down",
    }
}
