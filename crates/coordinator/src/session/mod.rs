//! Session of a client on one connection, from Hello to close: what its messages mean
//! and what it is told.
//!
//! A machine without I/O, `(input, now) -> outputs`. It decides nothing about rounds,
//! and any message of a client ends at worst its own session, with a typed refusal.
//!
//! ```text
//! Greeting -> CheckingIn -> Admitting -> Joining -> Member
//! ```

mod member;
mod refusal;
#[cfg(test)]
mod tests;
mod uploading;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fedra_aggregation::{CheckedUpdate, Codec, UpdateError};
use fedra_protocol::{
    Availability, Capabilities, CheckedIn, ClientMessage, Hello, PROTOCOL_VERSION, Refusal,
    RefusalCode, RoundId, ServerMessage, SubjectId, TaskId, Token, Welcome,
};

use self::member::Member;
pub use self::refusal::malformed;
use self::refusal::{contested, no_subject, refusal, replaced, unexpected};
use crate::messages::{Command, ConnectionId, Join, Notice};
use crate::participation::{Pace, Participation};
use crate::round::{ClientId, Time};
use crate::settings::TaskSettings;
use crate::status::{TaskMetrics, TaskView};
use crate::writer::Room;

/// Input of a session.
#[derive(Debug)]
pub enum Input {
    /// A message from the client.
    Message(ClientMessage),
    /// The answer to [`Output::Admit`]; without admission the connection ends.
    Admitted(Box<Admitted>),
    /// A notice of the task's core.
    Notice(Notice),
    /// The task's view has changed: see [`Session::refresh`].
    News,
    /// There is room for the update that was announced.
    Room(Room),
    /// The answer to [`Output::Check`].
    Checked(Result<CheckedUpdate, UpdateError>),
    /// It is the time of [`Session::wake_at`], or later.
    TimePassed,
}

/// Output of a session, to be carried out in this order.
#[derive(Debug)]
pub enum Output {
    /// Send this to the client.
    Send(ServerMessage),
    /// Find out whether the client may take part; [`Input::Admitted`] is the answer.
    Admit(CheckIn),
    /// Pass this on to the task's core.
    Tell(Command),
    /// Check an update in this codec; [`Input::Checked`] is the answer.
    Check(Bytes, Codec),
    /// Say why, and end the connection.
    End(Refusal),
}

/// Check-in of a client as it claims it.
#[derive(Debug, Clone)]
pub struct CheckIn {
    /// The task.
    pub task: TaskId,
    /// Availability: the client takes part or observes.
    pub availability: Availability,
    /// The subject that it names.
    pub subject: Option<SubjectId>,
    /// Its token.
    pub token: Option<Token>,
    /// Layers, algorithms and codecs that it knows.
    pub capabilities: Capabilities,
}

impl CheckIn {
    /// Refuses a client that does not know what the task needs. Before admission, so that
    /// no token is used up.
    ///
    /// # Errors
    ///
    /// The [`Refusal`], which names what the client does not know.
    pub fn check_capabilities(&self, settings: &TaskSettings) -> Result<(), Refusal> {
        match self.capabilities.missing(&settings.needs()) {
            Some(missing) => Err(refusal(
                RefusalCode::UnsupportedClient,
                format!("this client does not know {missing}; update this client"),
            )),
            None => Ok(()),
        }
    }
}

/// Check-in that was admitted.
#[derive(Clone)]
pub struct Admitted {
    /// Number of the connection.
    pub connection: ConnectionId,
    /// The subject that it stands for: its own or that of its token.
    pub subject: Option<SubjectId>,
    /// Settings of the task.
    pub settings: Arc<TaskSettings>,
    /// Metrics of the task.
    pub metrics: Arc<dyn TaskMetrics>,
    /// The task's newest view.
    pub view: Arc<TaskView>,
    /// The task's time.
    pub now: Time,
}

impl std::fmt::Debug for Admitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { connection, subject, .. } = self;
        f.debug_struct("Admitted")
            .field("connection", connection)
            .field("subject", subject)
            .finish()
    }
}

/// Settings that the sessions of a server share.
#[derive(Debug, Clone, Copy)]
pub struct SessionSettings {
    /// Interval at which a silent client says that it is there.
    pub heartbeat: Duration,
    /// Largest chunk of an upload, bytes.
    pub max_chunk_bytes: u32,
    /// Least pace of an upload.
    pub pace: Pace,
}

/// Session of one connection.
pub struct Session {
    id: String,
    settings: SessionSettings,
    state: State,
}

enum State {
    /// Nothing has been said.
    Greeting,
    /// The client has had Welcome.
    CheckingIn,
    /// The check that the client may take part is under way.
    Admitting(Availability),
    /// It waits for its participation.
    Joining(Box<Admitted>),
    Member(ConnectionId, Box<Member>),
    /// The session has ended.
    Over,
}

impl Session {
    /// New session. `id` is for the logs of both ends.
    #[must_use]
    pub fn new(id: String, settings: SessionSettings) -> Self {
        Self { id, settings, state: State::Greeting }
    }

    /// True if the next message of the client may be read. None is before an answer
    /// that the session waits for.
    #[must_use]
    pub fn reads(&self) -> bool {
        !matches!(self.state, State::Admitting(_) | State::Joining(..) | State::Over)
    }

    /// True if the client has checked in and joined.
    #[must_use]
    pub fn is_member(&self) -> bool {
        matches!(self.state, State::Member(..))
    }

    /// Time at which [`Input::TimePassed`] is due, if nothing else comes.
    #[must_use]
    pub fn wake_at(&self) -> Option<Time> {
        self.member()?.wake_at()
    }

    /// Bytes of an update that wait for room in the upload budget.
    #[must_use]
    pub fn wants_room(&self) -> Option<u64> {
        self.member()?.wants_room()
    }

    /// Bytes of the largest message that the client has been asked for; 0 if none.
    #[must_use]
    pub fn expects(&self) -> u64 {
        self.member().map_or(0, Member::expects)
    }

    /// The round that the client is in, for the log.
    #[must_use]
    pub fn round(&self) -> Option<RoundId> {
        self.member()?.round()
    }

    /// The client, once it has joined.
    #[must_use]
    pub fn client(&self) -> Option<ClientId> {
        self.member().map(Member::client)
    }

    /// Participation, for a simulation to look at.
    #[must_use]
    pub fn participation(&self) -> Option<&Participation> {
        self.member().map(Member::participation)
    }

    /// Replaces the task's view by a newer one, without telling the client.
    pub fn refresh(&mut self, view: &Arc<TaskView>) {
        match &mut self.state {
            State::Joining(admitted) => admitted.view = Arc::clone(view),
            State::Member(_, member) => member.refresh(view),
            _ => {}
        }
    }

    /// Ends the session. Returns the connection that the task's core knows, with the
    /// participation for the client's next one.
    #[must_use]
    pub fn leave(self) -> Option<(ConnectionId, Participation)> {
        match self.state {
            State::Joining(admitted) => Some((admitted.connection, Participation::default())),
            State::Member(connection, member) => Some((connection, member.into_participation())),
            _ => None,
        }
    }

    /// Handles an input at `now`, the time of the task that was joined.
    pub fn handle(&mut self, input: Input, now: Time) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Message(message) => self.message(message, now, &mut out),
            Input::Admitted(admitted) => self.admitted(admitted, &mut out),
            Input::Notice(notice) => self.noticed(notice, now, &mut out),
            input => {
                if let State::Member(_, member) = &mut self.state {
                    member.handle(input, now, &mut out);
                }
            }
        }
        if out.iter().any(|output| matches!(output, Output::End(_)))
            && !matches!(self.state, State::Joining(..) | State::Member(..))
        {
            self.state = State::Over;
        }
        out
    }

    fn member(&self) -> Option<&Member> {
        match &self.state {
            State::Member(_, member) => Some(member),
            _ => None,
        }
    }

    fn message(&mut self, message: ClientMessage, now: Time, out: &mut Vec<Output>) {
        match (&mut self.state, message) {
            (State::Greeting, ClientMessage::Hello(hello)) => self.greet(&hello, out),
            (State::Greeting, _) => {
                out.push(Output::End(unexpected("the first message must be Hello")));
            }
            (
                State::CheckingIn,
                ClientMessage::CheckIn { task, availability, subject, token, capabilities },
            ) => {
                self.state = State::Admitting(availability);
                out.push(Output::Admit(CheckIn {
                    task,
                    availability,
                    subject,
                    token,
                    capabilities,
                }));
            }
            (State::CheckingIn, ClientMessage::Ping { nonce }) => {
                out.push(Output::Send(ServerMessage::Pong { nonce }));
            }
            (State::CheckingIn, _) => {
                out.push(Output::End(unexpected("the message after Welcome must be CheckIn")));
            }
            (State::Member(_, member), message) => {
                member.handle(Input::Message(message), now, out);
            }
            (State::Admitting(_) | State::Joining(..) | State::Over, _) => {}
        }
    }

    fn greet(&mut self, hello: &Hello, out: &mut Vec<Output>) {
        if !hello.versions.contains(&PROTOCOL_VERSION) {
            let message = format!("this server speaks version {PROTOCOL_VERSION} of the protocol");
            out.push(Output::End(refusal(RefusalCode::UnsupportedVersion, message)));
            return;
        }
        tracing::debug!(software = hello.software, "hello");
        self.state = State::CheckingIn;
        out.push(Output::Send(ServerMessage::Welcome(Welcome {
            version: PROTOCOL_VERSION,
            session_id: self.id.clone(),
            heartbeat: self.settings.heartbeat,
            max_chunk_bytes: self.settings.max_chunk_bytes,
        })));
    }

    /// Checks the client in and has it join.
    fn admitted(&mut self, admitted: Box<Admitted>, out: &mut Vec<Output>) {
        let State::Admitting(availability) = self.state else { return };
        let Admitted { connection, subject, settings, view, now, .. } = &*admitted;
        let observes = availability == Availability::Paused;
        if settings.privacy.is_some() && subject.is_none() && !observes {
            return out.push(Output::End(no_subject()));
        }
        let status = view.status(settings, *now);
        let checked_in = CheckedIn { task: settings.description(), status };
        out.push(Output::Send(ServerMessage::CheckedIn(Box::new(checked_in))));
        let join = Join { connection: *connection, subject: *subject, availability };
        out.push(Output::Tell(Command::Join(join)));
        self.state = State::Joining(admitted);
    }

    fn noticed(&mut self, notice: Notice, now: Time, out: &mut Vec<Output>) {
        match (&mut self.state, notice) {
            (State::Joining(admitted), Notice::Joined(client, participation)) => {
                let Admitted { connection, subject, settings, metrics, view, .. } =
                    (**admitted).clone();
                tracing::debug!(client = client.0, "checked in");
                let mut member = Member::new(
                    client,
                    subject.is_some(),
                    *participation,
                    settings,
                    metrics,
                    view,
                    self.settings.pace,
                );
                member.repeat_verdict(out);
                self.state = State::Member(connection, Box::new(member));
            }
            (_, Notice::Replaced) => out.push(Output::End(replaced())),
            (_, Notice::Contested(wait)) => out.push(Output::End(contested(wait))),
            (State::Member(_, member), notice) => {
                member.handle(Input::Notice(notice), now, out);
            }
            _ => {}
        }
    }
}
