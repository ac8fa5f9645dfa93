//! Drives a checked-in client's conversation with its socket, the clock, the
//! coordinator and the budget of bytes in flight.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use fedra_aggregation::{CheckedUpdate, UpdateError};
use fedra_protocol::{ClientMessage, RefusalCode, RoundId, UpdateVerdict};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::Span;

use super::End;
use super::conversation::{Conversation, Input, Output};
use super::handshake::{CheckedInAs, Membership, malformed};
use super::socket::{Incoming, Socket, SocketError};
use super::upload::Pace;
use crate::server::Server;

type Room = Pin<Box<dyn Future<Output = OwnedSemaphorePermit> + Send>>;
type Check = Pin<Box<dyn Future<Output = Option<Checked>> + Send>>;
type Checked = Result<CheckedUpdate<Bytes>, UpdateError>;

/// What a session wakes up for.
enum Happening {
    Incoming(Result<Incoming, SocketError>),
    Input(Input),
    Quiet,
    End(End),
}

struct Session<'a, S> {
    socket: &'a mut Socket<S>,
    conversation: Conversation,
    membership: Membership,
    server: &'a Server,
    room: Option<Room>,
    check: Option<Check>,
    /// Of the last log line that named it.
    round: Option<RoundId>,
}

/// Serves a client until there is a reason to stop. Its seat goes back to the
/// coordinator before anything else, however slow the socket is.
pub(super) async fn run<S>(
    socket: &mut Socket<S>,
    admitted: CheckedInAs,
    server: &Arc<Server>,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let CheckedInAs { membership, seat } = admitted;
    let task = Arc::clone(membership.task());
    let metrics = Arc::clone(&server.metrics);
    let pace = Pace::new(&server.config.limits);
    let conversation = Conversation::new(membership.participant(), seat, task, metrics, pace);
    let cut = membership.cut();
    let mut session =
        Session { socket, conversation, membership, server, room: None, check: None, round: None };
    let end = tokio::select! {
        // A client may be replaced while the server waits for it to read.
        () = cut.cancelled() => End::replaced(),
        end = session.run() => end,
    };
    let Session { conversation, membership, .. } = session;
    membership.leave(end.departure(), conversation.into_seat());
    end
}

impl<S> Session<'_, S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    async fn run(&mut self) -> End {
        // Only messages of the client's program count: its network stack answers for one
        // that is frozen, too.
        let idle = self.server.config.idle_timeout;
        let mut view = self.membership.task().view.clone();
        // Whatever was published since the check-in's answer is news.
        view.mark_changed();
        let mut heard = Instant::now();
        loop {
            let quiet_at = heard + idle;
            let task = self.membership.task();
            let wake_at = self.conversation.wake_at().map(|time| task.instant(time));
            let happening = tokio::select! {
                () = self.server.shutdown.cancelled() => Happening::End(End::GoingAway),
                incoming = self.socket.receive() => Happening::Incoming(incoming),
                order = self.membership.order() => match order {
                    Some(order) => Happening::Input(Input::Order(order)),
                    None => Happening::End(End::GoingAway),
                },
                changed = view.changed() => match changed {
                    Ok(()) => Happening::Input(Input::News),
                    Err(_) => Happening::End(End::GoingAway),
                },
                verdict = judged(self.conversation.verdict()) => match verdict {
                    Ok(verdict) => Happening::Input(Input::Verdict(verdict)),
                    Err(_) => Happening::End(End::GoingAway),
                },
                permit = ready(&mut self.room) => Happening::Input(Input::Room(permit)),
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
            // What is done takes memory only while it is done: most sessions wait.
            let done = match happening {
                Happening::Incoming(incoming) => {
                    if matches!(incoming, Ok(Incoming::Message(_))) {
                        heard = Instant::now();
                    }
                    Box::pin(self.receive(incoming)).await
                }
                Happening::Input(input) => Box::pin(self.feed(input)).await,
                Happening::Quiet => {
                    let message = format!("nothing heard for {} s", idle.as_secs_f64());
                    Err(End::refuse(RefusalCode::Timeout, message))
                }
                Happening::End(end) => Err(end),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn receive(&mut self, incoming: Result<Incoming, SocketError>) -> Result<(), End> {
        let bytes = match incoming? {
            Incoming::Message(bytes) => bytes,
            Incoming::Text => return Err(malformed("messages are binary")),
            Incoming::Control => return Ok(()),
        };
        let message =
            ClientMessage::decode(bytes).map_err(|error| malformed(&error.to_string()))?;
        self.feed(Input::Message(message)).await
    }

    /// Gives the conversation an input and does what it says.
    async fn feed(&mut self, input: Input) -> Result<(), End> {
        let now = self.membership.task().now();
        let outputs = self.conversation.handle(input, now);
        if self.conversation.round() != self.round {
            self.round = self.conversation.round();
            if let Some(round) = self.round {
                Span::current().record("round", tracing::field::display(round));
            }
        }
        for output in outputs {
            match output {
                Output::Send(message) => self.socket.send(&message).await?,
                Output::Tell(command) => self.membership.tell(command).await?,
                Output::Check(bytes, parameters, range) => {
                    let parse = move || CheckedUpdate::parse(bytes, parameters, range);
                    let parsed = tokio::task::spawn_blocking(parse);
                    self.check = Some(Box::pin(async { parsed.await.ok() }));
                }
                Output::End(end) => return Err(end),
            }
        }
        self.queue();
        self.socket.expect(self.conversation.expects());
        Ok(())
    }

    /// Waits for room exactly as long as the conversation wants some.
    fn queue(&mut self) {
        match self.conversation.wants_room() {
            None => self.room = None,
            Some(bytes) if self.room.is_none() => {
                let budget = Arc::clone(&self.server.budget);
                let share = Server::budget_share(bytes);
                self.room = Some(Box::pin(async move {
                    let permit = budget.acquire_many_owned(share).await;
                    permit.expect("the budget's semaphore is never closed")
                }));
            }
            Some(_) => {}
        }
    }
}

/// Resolves once the future that may be there does, and takes it away.
async fn ready<T>(slot: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    let Some(future) = slot else { return pending().await };
    let value = future.await;
    *slot = None;
    value
}

async fn judged(
    verdict: Option<&mut oneshot::Receiver<UpdateVerdict>>,
) -> Result<UpdateVerdict, oneshot::error::RecvError> {
    match verdict {
        Some(verdict) => verdict.await,
        None => pending().await,
    }
}
