//! Drives a [`Session`] with a real socket, clock and trainer.
//!
//! One loop owns the session and waits for whatever comes first: a command of
//! the owner, a message, room on the socket, the end of a round's work, a timer.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use fedra_learning::{Dataset, DatasetError};
use fedra_protocol::{ModelRef, ModelSpec, RoundAssignment, RoundId, ServerMessage, TaskId};
use futures_channel::mpsc;
use futures_util::future::{self, Fuse, FusedFuture, LocalBoxFuture};
use futures_util::{FutureExt, StreamExt, select_biased};

use crate::backend::BackendPreference;
use crate::events::ClientEvent;
use crate::origin::ServerUrl;
use crate::platform::{self, Incoming, Receiver, Sender, TrainingSlots};
use crate::rounds::{News, Trained, WorkError, Workshop};
use crate::session::{Action, Event, Session};

/// Where to take part, and on what device.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The server's socket.
    pub url: ServerUrl,
    /// The task.
    pub task: TaskId,
    /// The device to train on.
    pub backend: BackendPreference,
}

/// Takes part in a task; [`Client::run`] does the work, the other methods steer it.
///
/// Single-threaded: keep it on one thread (`spawn_local`), training finds its own.
pub struct Client {
    config: ClientConfig,
    workshop: Rc<Workshop>,
    commands: mpsc::UnboundedSender<Event>,
    inbox: RefCell<Option<mpsc::UnboundedReceiver<Event>>>,
    current: RefCell<Option<(ModelSpec, ModelRef)>>,
    traffic: Rc<Traffic>,
}

/// Why a client cannot predict yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PredictError {
    /// Stable name.
    pub code: &'static str,
    /// In words.
    pub message: String,
}

#[derive(Default)]
struct Traffic {
    up: Cell<u64>,
    down: Cell<u64>,
}

impl Client {
    /// A client that does nothing before [`Client::run`].
    pub fn new(config: ClientConfig, slots: TrainingSlots) -> Self {
        let (commands, inbox) = mpsc::unbounded();
        let workshop = Workshop::new(config.url.clone(), config.backend, slots);
        Self {
            config,
            workshop: Rc::new(workshop),
            commands,
            inbox: RefCell::new(Some(inbox)),
            current: RefCell::new(None),
            traffic: Rc::default(),
        }
    }

    /// Gives the local examples, or replaces them from the next round on.
    pub fn set_data(&self, data: Dataset) -> Result<(), DatasetError> {
        if let Some((spec, _)) = &*self.current.borrow() {
            data.check_for(spec)?;
        }
        self.workshop.set_data(data);
        self.command(Event::DataReady);
        Ok(())
    }

    /// Leaves the current round and takes part in no other until [`Client::resume`].
    pub fn pause(&self) {
        self.command(Event::Pause);
    }

    /// Takes part again.
    pub fn resume(&self) {
        self.command(Event::Resume);
    }

    /// Ends [`Client::run`].
    pub fn close(&self) {
        self.command(Event::Close);
    }

    fn command(&self, event: Event) {
        // Fails only after `run` has ended, when there is nothing left to steer.
        let _ = self.commands.unbounded_send(event);
    }

    /// Outputs of the newest global model for one or more examples, row-major.
    pub async fn predict(&self, features: Vec<f32>) -> Result<Vec<f32>, PredictError> {
        let current = self.current.borrow().clone();
        let (spec, model) = current.ok_or_else(|| PredictError {
            code: "no-model",
            message: "there is no global model yet; connect first".into(),
        })?;
        self.workshop
            .predict(&spec, &model, features)
            .await
            .map_err(|error| PredictError { code: error.code, message: error.reason })
    }

    /// Takes part until [`Client::close`] or a refusal for good; reports on the way.
    pub async fn run(&self, emit: impl FnMut(ClientEvent)) {
        let Some(inbox) = self.inbox.borrow_mut().take() else {
            return;
        };
        if self.workshop.has_data() {
            self.command(Event::DataReady);
        }
        let (news_in, news) = mpsc::unbounded();
        let mut driver = Driver {
            client: self,
            session: Session::new(self.config.task.clone()),
            emit,
            news_in,
            connecting: Fuse::terminated(),
            sender: None,
            sending: Fuse::terminated(),
            receiver: None,
            work: Fuse::terminated(),
            traffic_told: (0, 0),
            traffic_at: platform::now(),
        };
        driver.run(inbox, news).await;
    }
}

type WorkResult = (RoundId, Result<Trained, WorkError>);
type RoundNews = (RoundId, News);

struct Driver<'a, F> {
    client: &'a Client,
    session: Session,
    emit: F,
    news_in: mpsc::UnboundedSender<RoundNews>,
    connecting: Fuse<LocalBoxFuture<'static, Result<(Sender, Receiver), String>>>,
    sender: Option<Sender>,
    sending: Fuse<LocalBoxFuture<'static, (Sender, Result<(), String>)>>,
    receiver: Option<Receiver>,
    work: Fuse<LocalBoxFuture<'static, WorkResult>>,
    traffic_told: (u64, u64),
    traffic_at: std::time::Duration,
}

/// What the loop woke up for.
enum Woken {
    Event(Event),
    Opened(Sender, Receiver),
    Sent(Sender, Result<(), String>),
    Incoming(Option<Incoming>),
    Worked(WorkResult),
    News(RoundNews),
}

impl<F: FnMut(ClientEvent)> Driver<'_, F> {
    async fn run(
        &mut self,
        mut commands: mpsc::UnboundedReceiver<Event>,
        mut news: mpsc::UnboundedReceiver<RoundNews>,
    ) {
        while !self.session.is_closed() {
            self.transmit();
            let woken = self.next(&mut commands, &mut news).await;
            self.woken(woken);
            self.tell_traffic(false);
        }
        self.tell_traffic(true);
    }

    /// Waits for whatever comes first; commands and messages go before new work.
    async fn next(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Event>,
        news: &mut mpsc::UnboundedReceiver<RoundNews>,
    ) -> Woken {
        let deadline = self.session.deadline();
        let timer = async move {
            match deadline {
                Some(at) => platform::sleep(at.saturating_sub(platform::now())).await,
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
        let mut receiving = pin!(receiving.fuse());
        select_biased! {
            command = commands.next() => Woken::Event(command.unwrap_or(Event::Close)),
            item = news.select_next_some() => Woken::News(item),
            opened = &mut self.connecting => match opened {
                Ok((sender, receiver)) => Woken::Opened(sender, receiver),
                Err(reason) => Woken::Event(Event::Disconnected { reason }),
            },
            incoming = receiving => Woken::Incoming(incoming),
            worked = &mut self.work => Woken::Worked(worked),
            sent = &mut self.sending => Woken::Sent(sent.0, sent.1),
            () = timer => Woken::Event(Event::Timer),
        }
    }

    fn woken(&mut self, woken: Woken) {
        match woken {
            Woken::Event(event) => self.feed(event),
            Woken::Opened(sender, receiver) => {
                self.sender = Some(sender);
                self.receiver = Some(receiver);
                self.feed(Event::Connected);
            }
            Woken::Sent(sender, Ok(())) => self.sender = Some(sender),
            Woken::Sent(_, Err(reason)) => self.lost(reason),
            Woken::Incoming(Some(Incoming::Message(bytes))) => self.incoming(bytes),
            Woken::Incoming(Some(Incoming::Closed(reason))) => self.lost(reason),
            Woken::Incoming(None) => self.lost("closed".into()),
            Woken::Worked((round, Ok(trained))) => {
                let Trained { update, examples } = trained;
                self.feed(Event::Trained { round, update, examples });
            }
            Woken::Worked((round, Err(WorkError { code, reason }))) => {
                self.feed(Event::Failed { round, code, reason });
            }
            Woken::News((round, news)) => self.news(round, news),
        }
    }

    fn incoming(&mut self, bytes: Bytes) {
        add(&self.client.traffic.down, bytes.len() as u64);
        match ServerMessage::decode(bytes) {
            Ok(message) => self.feed(Event::Received(message)),
            Err(error) => self.feed(Event::Garbled(error)),
        }
    }

    fn lost(&mut self, reason: String) {
        self.hang_up(1000);
        self.feed(Event::Disconnected { reason });
    }

    fn news(&mut self, round: RoundId, news: News) {
        match news {
            News::Fetched(bytes) => add(&self.client.traffic.down, bytes),
            News::Downloaded => self.feed(Event::Downloaded { round }),
            News::Tell(event) => (self.emit)(event),
            News::Progress(progress) => {
                // News of work that was aborted may still be in the channel.
                if !self.work.is_terminated() {
                    (self.emit)(ClientEvent::Progress {
                        round: round.round,
                        epoch: progress.epoch,
                        epochs: progress.epochs,
                        step: progress.step,
                        steps: progress.steps,
                        loss: progress.loss,
                        samples_per_second: progress.samples_per_second,
                    });
                }
            }
        }
    }

    /// Gives the session an event and does what it says.
    fn feed(&mut self, event: Event) {
        let mut actions = self.handle(event);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Connect => {
                    let url = self.client.config.url.clone();
                    let opening = async move { platform::connect(url.socket()).await };
                    self.connecting = opening.boxed_local().fuse();
                }
                Action::Disconnect { code } => self.hang_up(code),
                Action::Work(assignment) => self.start_work(*assignment),
                Action::Abort => self.work = Fuse::terminated(),
                Action::Emit(event) => (self.emit)(event),
            }
        }
        let known = self.session.task().zip(self.session.status());
        *self.client.current.borrow_mut() =
            known.map(|(task, status)| (task.model.clone(), status.model.clone()));
    }

    fn handle(&mut self, event: Event) -> VecDeque<Action> {
        self.session.handle(event, platform::now(), platform::jitter()).into()
    }

    fn start_work(&mut self, assignment: RoundAssignment) {
        let Some(task) = self.session.task() else {
            return;
        };
        let round = assignment.round;
        let news = self.news_in.clone();
        let tell = move |item| {
            // The driver holds the other end for as long as this future lives.
            let _ = news.unbounded_send((round, item));
        };
        let work = self.client.workshop.clone().work(task.model.clone(), assignment, tell);
        self.work = async move { (round, work.await) }.boxed_local().fuse();
    }

    /// Starts sending the next message if the socket has room.
    fn transmit(&mut self) {
        let Some(mut sender) = self.sender.take() else {
            return;
        };
        let Some(message) = self.session.poll_transmit() else {
            self.sender = Some(sender);
            return;
        };
        let bytes = message.encode();
        add(&self.client.traffic.up, bytes.len() as u64);
        let sending = async move {
            let result = sender.send(bytes).await;
            (sender, result)
        };
        self.sending = sending.boxed_local().fuse();
    }

    fn hang_up(&mut self, code: u16) {
        self.connecting = Fuse::terminated();
        self.sending = Fuse::terminated();
        if let Some(sender) = self.sender.take() {
            sender.close(code);
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

fn add(counter: &Cell<u64>, bytes: u64) {
    counter.set(counter.get() + bytes);
}
