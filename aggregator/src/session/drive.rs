//! Driver of a client's session: moves messages between the socket, the session and
//! the task's core, within the server's budget of bytes in flight.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;

use fedra_aggregation::{CheckedUpdate, UpdateError};
use fedra_coordinator::messages::{Command, Notice};
use fedra_coordinator::participation::Pace;
use fedra_coordinator::round::Time;
use fedra_coordinator::session::{Input, Output, Session, SessionSettings, malformed};
use fedra_coordinator::status::TaskView;
use fedra_coordinator::writer::Room;
use fedra_protocol::limits::MAX_CHUNK_BYTES;
use fedra_protocol::{ClientMessage, RefusalCode, RoundId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::Span;

use super::admission::{Membership, admit};
use super::socket::{Incoming, Socket, SocketError};
use super::{End, Origin};
use crate::server::Server;
use crate::task::{Mailbox, Message};

type RoomWait = Pin<Box<dyn Future<Output = Room> + Send>>;
type Check = Pin<Box<dyn Future<Output = Option<Checked>> + Send>>;
type Checked = Result<CheckedUpdate, UpdateError>;

/// Reasons to wake up.
enum Happening {
    Incoming(Result<Incoming, SocketError>),
    Notice(Notice),
    Room(Room),
    Checked(Checked),
    News,
    /// The time of [`SessionDriver::due`] has come.
    TimePassed,
    GoingAway,
}

/// A session with its socket and its place in the task.
pub(super) struct SessionDriver<'a, S> {
    socket: &'a mut Socket<S>,
    session: Box<Session>,
    /// Membership in the task, once the client is admitted.
    membership: Option<Membership>,
    view: Option<watch::Receiver<Arc<TaskView>>>,
    origin: Origin,
    server: &'a Arc<Server>,
    mailbox: Arc<Mailbox>,
    room: Option<RoomWait>,
    check: Option<Check>,
    /// Round in the last log line that named one.
    round: Option<RoundId>,
    /// Time of the last message.
    heard: Instant,
}

impl<'a, S> SessionDriver<'a, S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    pub(super) fn new(
        socket: &'a mut Socket<S>,
        origin: Origin,
        id: String,
        server: &'a Arc<Server>,
    ) -> Self {
        let limits = &server.config.limits;
        let settings = SessionSettings {
            heartbeat: server.config.idle_timeout / 3,
            max_chunk_bytes: MAX_CHUNK_BYTES as u32,
            pace: Pace::new(limits.upload_grace, limits.min_upload_rate),
        };
        Self {
            socket,
            session: Box::new(Session::new(id, settings)),
            membership: None,
            view: None,
            origin,
            server,
            mailbox: Arc::default(),
            room: None,
            check: None,
            round: None,
            heard: Instant::now(),
        }
    }

    /// Serves the client until there is a reason to stop.
    pub(super) async fn run(&mut self) -> End {
        let mailbox = Arc::clone(&self.mailbox);
        tokio::select! {
            // A client may be replaced while the server waits for it to read.
            () = mailbox.cut() => self.cut(),
            end = self.converse() => end,
        }
    }

    /// Gives the participation back to the task's core, before anything else, however slow
    /// the socket is.
    pub(super) fn leave(self, end: &End) {
        if let Some(membership) = self.membership
            && let Some((_, participation)) = self.session.leave()
        {
            membership.leave(end.departure(), participation);
        }
    }

    async fn converse(&mut self) -> End {
        loop {
            let is_member = self.session.is_member();
            let (due, _) = self.due();
            let happening = tokio::select! {
                () = self.server.shutdown.cancelled() => Happening::GoingAway,
                incoming = self.socket.receive(), if self.session.reads() => {
                    Happening::Incoming(incoming)
                }
                notice = self.mailbox.next() => {
                    notice.map_or(Happening::GoingAway, Happening::Notice)
                }
                changed = changed(self.view.as_mut()), if is_member => match changed {
                    true => Happening::News,
                    false => Happening::GoingAway,
                },
                room = ready(&mut self.room) => Happening::Room(room),
                // None only when the server's runtime is shutting down.
                checked = ready(&mut self.check) => {
                    checked.map_or(Happening::GoingAway, Happening::Checked)
                }
                // One timer for both: most sessions wait, and each has one.
                () = sleep_until(due) => Happening::TimePassed,
            };
            // Boxed so that an idle session's future stays small.
            let done = Box::pin(self.take(happening)).await;
            if let Err(end) = done {
                return end;
            }
            if !is_member && self.session.is_member() {
                self.heard = Instant::now();
            }
        }
    }

    /// The time at which something is due if nothing happens, and whether it is the end of
    /// a client that has been quiet for too long.
    fn due(&self) -> (Instant, bool) {
        let config = &self.server.config;
        // Only messages of the client's program count: its network stack answers for one
        // that is frozen, too.
        let quiet_at = match self.session.is_member() {
            true => self.heard + config.idle_timeout,
            false => self.origin.opened + config.handshake_timeout,
        };
        match self.wake_at() {
            Some(wake) if wake <= quiet_at => (wake, false),
            _ => (quiet_at, true),
        }
    }

    async fn take(&mut self, happening: Happening) -> Result<(), End> {
        match happening {
            Happening::Incoming(incoming) => self.receive(incoming).await,
            Happening::Notice(notice) => self.feed(Input::Notice(notice)).await,
            Happening::Room(room) => self.feed(Input::Room(room)).await,
            Happening::Checked(checked) => self.feed(Input::Checked(checked)).await,
            Happening::News => self.feed(Input::News).await,
            Happening::TimePassed if self.due().1 => {
                let message = match self.session.is_member() {
                    true => {
                        let idle = self.server.config.idle_timeout;
                        format!("nothing heard for {} s", idle.as_secs_f64())
                    }
                    false => "no check-in in time".to_owned(),
                };
                Err(End::refuse(RefusalCode::Timeout, message))
            }
            Happening::TimePassed => self.feed(Input::TimePassed).await,
            Happening::GoingAway => Err(End::GoingAway),
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        let time = self.session.wake_at()?;
        self.membership.as_ref().map(|membership| membership.task.instant(time))
    }

    /// The end that the task's core has in mind for the session.
    fn cut(&mut self) -> End {
        let notice = self.mailbox.take_end();
        let outputs =
            self.session.handle(Input::Notice(notice.unwrap_or(Notice::Replaced)), self.now());
        let end = outputs.into_iter().find_map(|output| match output {
            Output::End(refusal) => Some(End::Refused(refusal)),
            _ => None,
        });
        end.unwrap_or(End::GoingAway)
    }

    /// The time of the task; there is none before the check-in.
    fn now(&self) -> Time {
        self.membership.as_ref().map(|membership| membership.task.now()).unwrap_or_default()
    }

    async fn receive(&mut self, incoming: Result<Incoming, SocketError>) -> Result<(), End> {
        let bytes = match incoming? {
            Incoming::Message(bytes) => {
                self.heard = Instant::now();
                bytes
            }
            Incoming::Text => return Err(End::Refused(malformed("messages are binary"))),
            Incoming::Control => return Ok(()),
        };
        let message = ClientMessage::decode(bytes)
            .map_err(|error| End::Refused(malformed(&error.to_string())))?;
        self.feed(Input::Message(message)).await
    }

    /// Gives the session an input and carries out its outputs.
    async fn feed(&mut self, input: Input) -> Result<(), End> {
        let now = self.now();
        if let Some(view) = &mut self.view {
            if matches!(input, Input::News) {
                self.session.refresh(&view.borrow_and_update());
            } else if view.has_changed().unwrap_or(true) {
                // The news is still to come, but the session goes by the newest view.
                self.session.refresh(&view.borrow());
            }
        }
        let mut outputs = self.session.handle(input, now);
        if self.session.round() != self.round {
            self.round = self.session.round();
            if let Some(round) = self.round {
                Span::current().record("round", tracing::field::display(round));
            }
        }
        while !outputs.is_empty() {
            for output in std::mem::take(&mut outputs) {
                match output {
                    Output::Send(message) => self.socket.send(&message).await?,
                    Output::Tell(command) => self.tell(command).await?,
                    Output::Admit(check_in) => {
                        let address = self.origin.address;
                        let (membership, admitted) = admit(check_in, address, self.server).await?;
                        self.socket.count_for(Arc::clone(&membership.task));
                        let mut view = membership.task.view.clone();
                        // Everything published since the check-in's answer is news.
                        view.mark_changed();
                        self.view = Some(view);
                        self.membership = Some(membership);
                        let admitted = Input::Admitted(Box::new(admitted));
                        outputs.extend(self.session.handle(admitted, self.now()));
                    }
                    Output::Check(bytes, codec) => {
                        let parse = move || CheckedUpdate::parse(bytes, &codec);
                        let parsed = tokio::task::spawn_blocking(parse);
                        self.check = Some(Box::pin(async { parsed.await.ok() }));
                    }
                    Output::End(refusal) => return Err(End::Refused(refusal)),
                }
            }
        }
        self.queue();
        self.socket.expect(self.session.expects());
        Ok(())
    }

    /// Passes a command on to the task's core.
    async fn tell(&mut self, command: Command) -> Result<(), End> {
        let Some(Membership { task, .. }) = &self.membership else { return Ok(()) };
        let message = match command {
            Command::Join(join) => Message::Join(join, Arc::clone(&self.mailbox)),
            command => Message::Command(Box::new(command)),
        };
        task.messages.send(message).await.map_err(|_| End::GoingAway)
    }

    /// Waits for room exactly as long as the session wants some.
    fn queue(&mut self) {
        match self.session.wants_room() {
            None => self.room = None,
            Some(bytes) if self.room.is_none() => {
                let budget = Arc::clone(&self.server.budget);
                let share = Server::budget_share(bytes);
                self.room = Some(Box::pin(async move {
                    let permit = budget.acquire_many_owned(share).await;
                    Room::held_by(permit.expect("the budget's semaphore is never closed"))
                }));
            }
            Some(_) => {}
        }
    }
}

/// Resolves when the task's view changes; `false` when the task is gone.
async fn changed(view: Option<&mut watch::Receiver<Arc<TaskView>>>) -> bool {
    match view {
        Some(view) => view.changed().await.is_ok(),
        None => pending().await,
    }
}

/// Resolves once the future that may be there does, and takes it away.
async fn ready<T>(slot: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    let Some(future) = slot else { return pending().await };
    let value = future.await;
    *slot = None;
    value
}
