//! Drives a [`Session`] with a real socket, clock and trainer.
//!
//! One loop owns the session and waits for the first of these: a command of the owner,
//! a message, room on the socket, the end of a round's work, a timer.

use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use fedra_protocol::{
    ClientMessage, RoundAssignment, RoundId, ServerMessage, TaskDescription, Token,
};
use futures_channel::mpsc;
use futures_util::future::{self, Fuse, FusedFuture, LocalBoxFuture};
use futures_util::{FutureExt, StreamExt, select_biased};

use super::{Client, DataRefused, GivenData};
use crate::callback::CallbackError;
use crate::codes::EventCode;
use crate::events::ClientEvent;
use crate::failure::Failure;
use crate::local_work::{Done, GlobalModel, News, WorkError};
use crate::origin::ServerUrl;
use crate::outgoing::RoundJob;
use crate::platform::{self, Incoming, Receiver, Sender};
use crate::session::{Action, COMING_BACK, Event, SecureReply, Session};
use crate::transport::TransportError;

type WorkResult = (RoundId, Result<Done, WorkError>);
type RecordResult = (RoundId, Result<(), CallbackError>);
type RoundNews = (RoundId, News);
type Opened = Result<(Sender, Receiver, Option<Token>), NotOpened>;

pub(super) struct Driver<'a, F> {
    client: &'a Client,
    session: Session,
    emit: F,
    news_in: mpsc::UnboundedSender<RoundNews>,
    news: mpsc::UnboundedReceiver<RoundNews>,
    connecting: Fuse<LocalBoxFuture<'static, Opened>>,
    sender: Option<Sender>,
    /// The last piece of an update, until what it leaves behind is stored.
    held: Fuse<LocalBoxFuture<'static, ClientMessage>>,
    /// True if the sender has a message that the socket has not taken yet.
    sending: bool,
    receiver: Option<Receiver>,
    /// The end of the last connection.
    closing: LocalBoxFuture<'static, ()>,
    work: Fuse<LocalBoxFuture<'static, WorkResult>>,
    /// The owner's log writes a participation down.
    recording: Fuse<LocalBoxFuture<'static, RecordResult>>,
    /// The description that the examples were held against last.
    judged_for: Option<TaskDescription>,
    /// The event that ended the session, if one did.
    fatal: Option<DataRefused>,
    traffic_told: (u64, u64),
    traffic_at: std::time::Duration,
}

/// Reason why there is no connection.
enum NotOpened {
    /// There is no token to check in with.
    Token(CallbackError),
    /// The server's socket did not open.
    Socket(ServerUrl, TransportError),
}

/// Reason why the loop woke up.
enum Woken {
    Event(Event),
    Opened(Sender, Receiver, Option<Token>),
    Stored(ClientMessage),
    Sent(Result<(), TransportError>),
    Incoming(Option<Incoming>),
    Worked(WorkResult),
    Recorded(RecordResult),
    News(RoundNews),
}

impl<'a, F: FnMut(ClientEvent)> Driver<'a, F> {
    pub fn new(client: &'a Client, emit: F) -> Self {
        let (news_in, news) = mpsc::unbounded();
        let config = &client.config;
        Self {
            client,
            session: Session::new(config.task.clone(), config.privacy.clone()),
            emit,
            news_in,
            news,
            connecting: Fuse::terminated(),
            sender: None,
            held: Fuse::terminated(),
            sending: false,
            receiver: None,
            closing: future::ready(()).boxed_local(),
            work: Fuse::terminated(),
            recording: Fuse::terminated(),
            judged_for: None,
            fatal: None,
            traffic_told: (0, 0),
            traffic_at: platform::now(),
        }
    }

    /// Runs to the session's end, and says why it ended.
    pub async fn run(&mut self, mut commands: mpsc::UnboundedReceiver<Event>) -> DataRefused {
        self.feed(Event::Start);
        while !self.session.is_closed() {
            self.transmit();
            let woken = self.next(&mut commands).await;
            self.woken(woken);
            self.tell_traffic(false);
        }
        self.tell_traffic(true);
        // A process that ends now would take the goodbye with it.
        (&mut self.closing).await;
        self.fatal.take().unwrap_or_else(DataRefused::closed)
    }

    /// Waits for the next event; commands and messages go before new work.
    async fn next(&mut self, commands: &mut mpsc::UnboundedReceiver<Event>) -> Woken {
        let deadline = self.session.deadline();
        let timer = async move {
            match deadline {
                Some(at) => platform::sleep(at.saturating_sub(platform::now())).await,
                None => future::pending().await,
            }
        };
        let sender = self.sender.as_mut().filter(|_| self.sending);
        let sending = async move {
            match sender {
                Some(sender) => sender.sent().await,
                None => future::pending().await,
            }
        };
        let receiver = &mut self.receiver;
        let receiving = async move {
            match receiver {
                Some(receiver) => receiver.next().await,
                None => future::pending().await,
            }
        };
        let mut timer = pin!(timer.fuse());
        let mut sending = pin!(sending.fuse());
        let mut receiving = pin!(receiving.fuse());
        select_biased! {
            command = commands.next() => Woken::Event(command.unwrap_or(Event::Close)),
            item = self.news.select_next_some() => Woken::News(item),
            opened = &mut self.connecting => match opened {
                Ok((sender, receiver, token)) => Woken::Opened(sender, receiver, token),
                Err(NotOpened::Token(error)) => {
                    Woken::Event(Event::NoToken { reason: error.to_string() })
                }
                Err(NotOpened::Socket(url, error)) => {
                    Woken::Event(Event::Disconnected { reason: format!("{url}: {error}") })
                }
            },
            recorded = &mut self.recording => Woken::Recorded(recorded),
            incoming = receiving => Woken::Incoming(incoming),
            worked = &mut self.work => Woken::Worked(worked),
            message = &mut self.held => Woken::Stored(message),
            sent = sending => Woken::Sent(sent),
            () = timer => Woken::Event(Event::Timer),
        }
    }

    fn woken(&mut self, woken: Woken) {
        match woken {
            Woken::Event(event) => self.feed(event),
            Woken::Opened(sender, receiver, token) => {
                self.sender = Some(sender);
                self.receiver = Some(receiver);
                self.feed(Event::Connected { token });
            }
            Woken::Stored(message) => self.send(&message),
            Woken::Sent(Ok(())) => {
                self.sending = false;
                self.feed(Event::Sent);
            }
            Woken::Sent(Err(error)) => self.lost(error.to_string()),
            Woken::Incoming(Some(Incoming::Message(bytes))) => self.incoming(bytes),
            Woken::Incoming(Some(Incoming::Closed(reason))) => self.lost(reason),
            Woken::Incoming(None) => self.lost("closed".into()),
            Woken::Worked((round, result)) => {
                // The turn in which the work ended may have had news as well.
                while let Ok(item) = self.news.try_recv() {
                    self.news(item);
                }
                match result {
                    Ok(done) => self.worked(round, done),
                    Err(WorkError { failure, reason }) => {
                        self.feed(Event::Failed { round, failure, reason });
                    }
                }
            }
            Woken::Recorded((round, kept)) => self.recorded(round, kept),
            Woken::News(item) => self.news(item),
        }
    }

    fn worked(&mut self, round: RoundId, done: Done) {
        let dropouts = self.client.config.dropouts.as_ref();
        let secure = self.session.privacy().is_some_and(|privacy| privacy.is_secure_aggregation());
        if dropouts.is_some_and(|dropouts| dropouts.leaves_at(round, secure) == Some(step(&done))) {
            return self.vanish();
        }
        self.feed(match done {
            Done::Trained { update, examples } => Event::Trained { round, update, examples },
            Done::Secured(reply) => Event::Secured { round, reply },
        });
    }

    /// Goes away without a word, as a device that is switched off.
    fn vanish(&mut self) {
        self.held = Fuse::terminated();
        self.sending = false;
        self.sender = None;
        self.receiver = None;
        self.feed(Event::Vanished);
    }

    fn incoming(&mut self, bytes: Bytes) {
        add(&self.client.traffic.down, bytes.len() as u64);
        match ServerMessage::decode(bytes) {
            Ok(message) => {
                self.client.local_work.heard(&message);
                self.feed(Event::Received(message));
            }
            Err(error) => self.feed(Event::Garbled(error)),
        }
    }

    fn lost(&mut self, reason: String) {
        self.hang_up(COMING_BACK);
        self.feed(Event::Disconnected { reason });
    }

    fn news(&mut self, (round, news): RoundNews) {
        match news {
            News::Fetched(bytes) => add(&self.client.traffic.down, bytes),
            News::Downloaded => self.feed(Event::Downloaded { round }),
            News::Tell(event) => (self.emit)(event),
            News::ExamplesSpent(terms) => self.feed(Event::ExamplesSpent(terms)),
            News::Progress(progress) => self.feed(Event::Progressed { round, progress }),
        }
    }

    /// Gives the session an event and does what it says.
    fn feed(&mut self, event: Event) {
        let mut actions = self.handle(event);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Connect => self.open(),
                Action::Disconnect { code } => self.hang_up(code),
                Action::Work(assignment) => self.start_work(*assignment),
                Action::Secure(round, request) => {
                    let step = self.client.local_work.clone().secure(request);
                    self.work = async move { (round, step.await) }.boxed_local().fuse();
                }
                Action::Record { round, participations } => {
                    let keeping = self.client.config.log.keep(participations);
                    self.recording = async move { (round, keeping.await) }.boxed_local().fuse();
                }
                Action::Abort => {
                    self.work = Fuse::terminated();
                    self.recording = Fuse::terminated();
                    self.client.local_work.forget_round();
                }
                Action::Judge => {
                    let verdict = self.judge();
                    actions.extend(verdict.into_iter().flat_map(|event| self.handle(event)));
                }
                Action::Emit(event) => self.tell(event),
            }
        }
        let known = self.session.task().zip(self.session.status());
        *self.client.current.borrow_mut() = known.map(|(task, status)| GlobalModel {
            spec: task.model.clone(),
            frozen: task.frozen.clone(),
            trained: status.model.clone(),
        });
    }

    fn tell(&mut self, event: ClientEvent) {
        if let ClientEvent::Error { code: EventCode::Failure(failure), message, fatal: true } =
            &event
        {
            self.fatal = Some(DataRefused::new(*failure, message));
        }
        (self.emit)(event);
    }

    /// Holds examples against the task: those that were given since, or those that
    /// were taken when it had another description.
    fn judge(&mut self) -> Option<Event> {
        let task = self.session.task()?;
        if self.client.task.borrow().as_ref() != Some(task) {
            *self.client.task.borrow_mut() = Some(task.clone());
            for waiting in self.client.waiting.take() {
                // Fails only when the caller has stopped waiting.
                let _ = waiting.send(Ok(task.clone()));
            }
        }
        let is_new = self.judged_for.as_ref() != Some(task);
        let local_work = &self.client.local_work;
        let mut taken = false;
        if let Some(GivenData { data, verdict }) = self.client.given.take() {
            let checked = data.check_for_task(task);
            if checked.is_ok() {
                local_work.set_data(data, task);
                taken = true;
            }
            let answer = checked.map_err(|e| DataRefused::new(Failure::BadDataset, e.to_string()));
            // Fails only when the owner has stopped listening.
            let _ = verdict.send(answer);
        }
        if !taken && !is_new {
            return None;
        }
        self.judged_for = Some(task.clone());
        let data = local_work.data()?;
        Some(match data.check_for_task(task) {
            Ok(()) => Event::DataReady,
            Err(error) => Event::Misfit { reason: error.to_string() },
        })
    }

    /// Asks for a token and opens a socket.
    fn open(&mut self) {
        let config = &self.client.config;
        let (url, trust) = (config.url.clone(), config.trust.clone());
        let token = config.token.get();
        let opening = async move {
            let token = token.await.map_err(NotOpened::Token)?;
            let socket = platform::connect(url.socket(), &trust).await;
            let (sender, receiver) = socket.map_err(|error| NotOpened::Socket(url, error))?;
            Ok((sender, receiver, token))
        };
        self.connecting = opening.boxed_local().fuse();
    }

    fn handle(&mut self, event: Event) -> VecDeque<Action> {
        self.session.handle(event, platform::now(), platform::jitter()).into()
    }

    fn recorded(&mut self, round: RoundId, kept: Result<(), CallbackError>) {
        self.feed(match kept {
            Ok(()) => Event::Recorded { round },
            Err(error) => {
                let reason = format!("taking part cannot be written down ({error})");
                Event::Failed { round, failure: Failure::ParticipationNotKept, reason }
            }
        });
    }

    fn start_work(&mut self, assignment: RoundAssignment) {
        let Some(task) = self.session.task() else {
            return;
        };
        let round = assignment.round;
        let privacy = self.session.privacy_of(&assignment).cloned();
        let job = RoundJob { task: Arc::new(task.clone()), privacy, assignment };
        let news = self.news_in.clone();
        let tell = move |item| {
            // The driver holds the other end for as long as this future lives.
            let _ = news.unbounded_send((round, item));
        };
        let work = self.client.local_work.clone().work(job, tell);
        self.work = async move { (round, work.await) }.boxed_local().fuse();
    }

    /// Starts sending the next message if the socket has room.
    fn transmit(&mut self) {
        if self.sender.is_none() || self.sending || !self.held.is_terminated() {
            return;
        }
        let Some(message) = self.session.poll_transmit() else {
            return;
        };
        let leaving = self.session.completes(&message);
        match leaving.and_then(|round| self.client.local_work.leaves(round)) {
            Some(storing) => self.held = storing.map(|()| message).boxed_local().fuse(),
            None => self.send(&message),
        }
    }

    fn send(&mut self, message: &ClientMessage) {
        if let Some(sender) = &mut self.sender {
            let bytes = message.encode();
            add(&self.client.traffic.up, bytes.len() as u64);
            sender.start(bytes);
            self.sending = true;
        }
    }

    fn hang_up(&mut self, code: u16) {
        self.connecting = Fuse::terminated();
        self.held = Fuse::terminated();
        self.sending = false;
        if let Some(sender) = self.sender.take() {
            self.closing = sender.close(code).boxed_local();
        }
        self.receiver = None;
    }

    /// Reports traffic at most a few times a second.
    fn tell_traffic(&mut self, last: bool) {
        let totals = (self.client.traffic.up.get(), self.client.traffic.down.get());
        let now = platform::now();
        let due = last || (now - self.traffic_at).as_millis() >= 250;
        if totals != self.traffic_told && due {
            self.traffic_told = totals;
            self.traffic_at = now;
            (self.emit)(ClientEvent::Traffic { bytes_up: totals.0, bytes_down: totals.1 });
        }
    }
}

/// Number of the answer, counted as [`Dropouts`](crate::Dropouts) does.
fn step(done: &Done) -> u32 {
    match done {
        Done::Trained { .. } | Done::Secured(SecureReply::Keys(_)) => 0,
        Done::Secured(SecureReply::Shares(_)) => 1,
        Done::Secured(SecureReply::Masked(_)) => 2,
        Done::Secured(SecureReply::Unmasking { .. }) => 3,
    }
}

fn add(counter: &Cell<u64>, bytes: u64) {
    counter.set(counter.get() + bytes);
}
