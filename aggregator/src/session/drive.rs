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
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::admission::{Membership, admit};
use super::socket::{Incoming, Socket, SocketError};
use super::{End, Origin};
use crate::server::Server;
use crate::task::Message;

type RoomWait = Pin<Box<dyn Future<Output = Room> + Send>>;
type Check = Pin<Box<dyn Future<Output = Option<Checked>> + Send>>;
type Checked = Result<CheckedUpdate, UpdateError>;

/// Reasons to wake up.
enum Happening {
    Incoming(Result<Incoming, SocketError>),
    Input(Input),
    News,
    Quiet,
    End(End),
}

struct SessionDriver<'a, S> {
    socket: &'a mut Socket<S>,
    session: Box<Session>,
    /// Membership in the task, once the client is admitted.
    membership: Option<Membership>,
    view: Option<watch::Receiver<Arc<TaskView>>>,
    origin: Origin,
    server: &'a Arc<Server>,
    cut: CancellationToken,
    room: Option<RoomWait>,
    check: Option<Check>,
    /// Round in the last log line that named one.
    round: Option<RoundId>,
}

/// Serves a client until there is a reason to stop. Its participation goes back to the
/// task's core before anything else, however slow the socket is.
pub(super) async fn run<S>(
    socket: &mut Socket<S>,
    origin: Origin,
    id: String,
    server: &Arc<Server>,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let limits = &server.config.limits;
    let settings = SessionSettings {
        heartbeat: server.config.idle_timeout / 3,
        max_chunk_bytes: MAX_CHUNK_BYTES as u32,
        pace: Pace::new(limits.upload_grace, limits.min_upload_rate),
    };
    let cut = CancellationToken::new();
    let mut driver = SessionDriver {
        socket,
        session: Box::new(Session::new(id, settings)),
        membership: None,
        view: None,
        origin,
        server,
        cut: cut.clone(),
        room: None,
        check: None,
        round: None,
    };
    let end = tokio::select! {
        // A client may be replaced while the server waits for it to read.
        () = cut.cancelled() => driver.cut(),
        end = driver.run() => end,
    };
    let SessionDriver { session, membership, .. } = driver;
    if let Some(membership) = membership
        && let Some((_, participation)) = session.leave()
    {
        membership.leave(end.departure(), participation);
    }
    end
}

impl<S> SessionDriver<'_, S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    async fn run(&mut self) -> End {
        // Only messages of the client's program count: its network stack answers for one
        // that is frozen, too.
        let idle = self.server.config.idle_timeout;
        let check_in_due = self.origin.opened + self.server.config.handshake_timeout;
        let mut heard = Instant::now();
        loop {
            let is_member = self.session.is_member();
            let quiet_at = if is_member { heard + idle } else { check_in_due };
            let wake_at = self.wake_at();
            let happening = tokio::select! {
                () = self.server.shutdown.cancelled() => Happening::End(End::GoingAway),
                incoming = self.socket.receive(), if self.session.reads() => {
                    Happening::Incoming(incoming)
                }
                notice = notice(self.membership.as_ref()) => match notice {
                    Some(notice) => Happening::Input(Input::Notice(notice)),
                    None => Happening::End(End::GoingAway),
                },
                changed = changed(self.view.as_mut()), if is_member => match changed {
                    true => Happening::News,
                    false => Happening::End(End::GoingAway),
                },
                room = ready(&mut self.room) => Happening::Input(Input::Room(room)),
                checked = ready(&mut self.check) => match checked {
                    Some(checked) => Happening::Input(Input::Checked(checked)),
                    // Only when the server's runtime is shutting down.
                    None => Happening::End(End::GoingAway),
                },
                // One timer for both: most sessions wait, and each has one.
                () = sleep_until(wake_at.map_or(quiet_at, |wake| wake.min(quiet_at))) => {
                    match wake_at {
                        Some(wake) if wake <= quiet_at => Happening::Input(Input::TimePassed),
                        _ => Happening::Quiet,
                    }
                }
            };
            // Boxed so that an idle session's future stays small.
            let done = match happening {
                Happening::Incoming(incoming) => {
                    if matches!(incoming, Ok(Incoming::Message(_))) {
                        heard = Instant::now();
                    }
                    Box::pin(self.receive(incoming)).await
                }
                Happening::Input(input) => Box::pin(self.feed(input)).await,
                Happening::News => Box::pin(self.feed(Input::News)).await,
                Happening::Quiet => {
                    let message = if is_member {
                        format!("nothing heard for {} s", idle.as_secs_f64())
                    } else {
                        "no check-in in time".to_owned()
                    };
                    Err(End::refuse(RefusalCode::Timeout, message))
                }
                Happening::End(end) => Err(end),
            };
            if let Err(end) = done {
                return end;
            }
            if !is_member && self.session.is_member() {
                heard = Instant::now();
            }
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        let time = self.session.wake_at()?;
        self.membership.as_ref().map(|membership| membership.task.instant(time))
    }

    /// The end that the task's core has in mind for the session.
    fn cut(&mut self) -> End {
        let notice = self.membership.as_ref().and_then(|m| m.mailbox.take_end());
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
            Incoming::Message(bytes) => bytes,
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
                    Output::Tell(command) => tell(self.membership.as_ref(), command).await?,
                    Output::Admit(check_in) => {
                        let address = self.origin.address;
                        let (membership, admitted) =
                            admit(check_in, address, self.cut.clone(), self.server).await?;
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

/// Passes a command on to the task's core.
async fn tell(membership: Option<&Membership>, command: Command) -> Result<(), End> {
    let Some(Membership { task, mailbox, .. }) = membership else { return Ok(()) };
    let message = match command {
        Command::Join(join) => Message::Join(join, Arc::clone(mailbox)),
        command => Message::Command(Box::new(command)),
    };
    task.messages.send(message).await.map_err(|_| End::GoingAway)
}

/// The next notice of the task's core; none before the check-in.
async fn notice(membership: Option<&Membership>) -> Option<Notice> {
    match membership {
        Some(membership) => membership.mailbox.next().await,
        None => pending().await,
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
