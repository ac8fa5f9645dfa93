//! The simulated server: the production core, worker and conversations, without
//! threads. It is made anew from the store after every crash.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fedra_aggregation::CheckedUpdate;
use fedra_protocol::{
    Availability, CheckedIn, ClientMessage, PROTOCOL_VERSION, ServerMessage, SubjectId, Welcome,
};
use rand::rngs::StdRng;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

#[cfg(test)]
use super::client::Client;
use super::network::LinkId;
use super::scenario::Bug;
use crate::config::Config;
use crate::coordinator::{
    Act, Command, ConnectionId, Core, Departure, Join, Joined, Leave, Link, Order,
};
use crate::folding::{Contribution, Job, Received, Worker};
use crate::metrics::Metrics;
use crate::round::{ClientId, Time};
use crate::server::{Revived, ServeError, revive};
use crate::session::{Conversation, End, Input, Output, Pace, Participant, Seat};
use crate::storage::Store;
use crate::task::{Task, TaskView};

/// A chunk is this short, so that an update has several.
const CHUNK: u32 = 8;
const HEARTBEAT: Duration = Duration::from_secs(5);
const BUDGET_UNITS: usize = 3;

/// A client's connection as the server has it.
enum Session {
    Greeting,
    CheckingIn,
    Joining {
        connection: Held,
        joined: oneshot::Receiver<Joined>,
    },
    Member {
        connection: Held,
        conversation: Box<Conversation>,
        view: watch::Receiver<Arc<TaskView>>,
    },
}

/// The server's end of the way between a session and the coordinator.
struct Held {
    id: ConnectionId,
    orders: watch::Receiver<Order>,
    cut: CancellationToken,
}

/// What the world is to do for the server.
pub(super) enum Wish {
    Send(LinkId, ServerMessage),
    /// Close the connection in words.
    Hang(LinkId),
    /// A model is announced.
    Publish(fedra_protocol::Sha256Hash),
    /// There is a job for the worker.
    Work,
}

pub(super) struct Server {
    /// Distinguishes this life of the server from earlier ones.
    pub life: u64,
    pub task: Arc<Task>,
    core: Core,
    worker: Worker,
    jobs: VecDeque<Job>,
    sessions: BTreeMap<LinkId, Session>,
    budget: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    pace: Pace,
    started: Duration,
    /// Kept open: sessions of a simulation talk to the core directly.
    _inbox: mpsc::Receiver<Command>,
    numbers: BTreeMap<LinkId, usize>,
    bug: Option<Bug>,
}

impl Server {
    pub(super) fn start(
        store: &Arc<dyn Store>,
        config: &Config,
        life: u64,
        now: Duration,
        bug: Option<Bug>,
    ) -> Result<Self, ServeError> {
        let metrics = Arc::new(Metrics::new());
        let Revived { task, core, worker, inbox, .. } =
            revive(store, config.tasks[0].clone(), &metrics, 1)?;
        Ok(Self {
            life,
            task,
            core,
            worker,
            jobs: VecDeque::new(),
            sessions: BTreeMap::new(),
            budget: Arc::new(Semaphore::new(BUDGET_UNITS)),
            metrics,
            pace: Pace::new(&config.server.limits),
            started: now,
            _inbox: inbox,
            numbers: BTreeMap::new(),
            bug,
        })
    }

    fn time(&self, now: Duration) -> Time {
        Time(now - self.started)
    }

    pub(super) fn progress(&self) -> crate::round::Progress {
        self.core.progress()
    }

    /// Time left until the deadline of the stage under way; negative is `None`.
    pub(super) fn overrun(&self, now: Duration) -> Option<Duration> {
        let deadline = self.core.progress().deadline?;
        let over = self.time(now).0.checked_sub(deadline.0)?;
        (over > Duration::ZERO).then_some(over)
    }

    /// When the core or a conversation wants to be woken.
    pub(super) fn wake_at(&self) -> Option<Duration> {
        let conversations = self.sessions.values().filter_map(|session| match session {
            Session::Member { conversation, .. } => conversation.wake_at(),
            _ => None,
        });
        conversations.chain(self.core.wake_at()).min().map(|time| self.started + time.0)
    }

    pub(super) fn links(&self) -> Vec<LinkId> {
        self.sessions.keys().copied().collect()
    }

    pub(super) fn connect(&mut self, link: LinkId, client: usize) {
        self.numbers.insert(link, client);
        self.sessions.insert(link, Session::Greeting);
    }

    /// The connection has broken, or was closed in words.
    pub(super) fn disconnect(
        &mut self,
        link: LinkId,
        departure: Departure,
        now: Duration,
        rng: &mut StdRng,
        wishes: &mut Vec<Wish>,
    ) {
        let (connection, seat) = match self.sessions.remove(&link) {
            None | Some(Session::Greeting | Session::CheckingIn) => return,
            Some(Session::Joining { connection, .. }) => (connection.id, Seat::default()),
            Some(Session::Member { connection, conversation, .. }) => {
                (connection.id, conversation.into_seat())
            }
        };
        let leave = Leave { connection, departure, seat };
        self.command(Command::Leave(leave), now, rng, wishes);
    }

    /// The core and the conversations that want it are told the time.
    pub(super) fn time_passed(&mut self, now: Duration, rng: &mut StdRng, wishes: &mut Vec<Wish>) {
        let time = self.time(now);
        for link in self.links() {
            let due = match self.sessions.get(&link) {
                Some(Session::Member { conversation, .. }) => conversation.wake_at(),
                _ => None,
            };
            if due.is_some_and(|due| due <= time) {
                self.feed(link, Input::TimePassed, now, rng, wishes);
            }
        }
        self.take(None, now, rng, wishes);
    }

    pub(super) fn command(
        &mut self,
        command: Command,
        now: Duration,
        rng: &mut StdRng,
        wishes: &mut Vec<Wish>,
    ) {
        self.take(Some(command), now, rng, wishes);
    }

    /// Gives the core a command, or the time.
    fn take(
        &mut self,
        command: Option<Command>,
        now: Duration,
        rng: &mut StdRng,
        wishes: &mut Vec<Wish>,
    ) {
        let time = self.time(now);
        for act in self.core.take(command, time, rng) {
            match act {
                Act::Fold(job) => {
                    self.jobs.push_back(*job);
                    wishes.push(Wish::Work);
                }
                Act::Publish(sha256, _) => wishes.push(Wish::Publish(sha256)),
                Act::Evaluate(..) => {}
            }
        }
    }

    /// Does the next job; what comes of it is for [`Server::command`].
    pub(super) fn work(&mut self) -> Vec<Command> {
        self.jobs.pop_front().map(|job| self.worker.work(job)).unwrap_or_default()
    }

    pub(super) fn receive(
        &mut self,
        link: LinkId,
        message: ClientMessage,
        now: Duration,
        rng: &mut StdRng,
        wishes: &mut Vec<Wish>,
    ) {
        match (self.sessions.get_mut(&link), message) {
            (None, _) => {}
            (Some(session @ Session::Greeting), ClientMessage::Hello(_)) => {
                *session = Session::CheckingIn;
                wishes.push(Wish::Send(
                    link,
                    ServerMessage::Welcome(Welcome {
                        version: PROTOCOL_VERSION,
                        session_id: "simulated".to_owned(),
                        heartbeat: HEARTBEAT,
                        max_chunk_bytes: CHUNK,
                    }),
                ));
            }
            (Some(Session::CheckingIn), ClientMessage::CheckIn { subject, availability, .. }) => {
                self.check_in(link, (subject, availability), now, rng, wishes);
            }
            (
                Some(Session::CheckingIn | Session::Joining { .. }),
                ClientMessage::Ping { nonce },
            ) => {
                wishes.push(Wish::Send(link, ServerMessage::Pong { nonce }));
            }
            (Some(Session::Member { .. }), message) => {
                #[cfg(test)]
                self.fold_again(link, &message, wishes);
                self.feed(link, Input::Message(message), now, rng, wishes);
            }
            // The real server reads nothing before it has joined.
            (Some(Session::Joining { .. }), _) => {}
            (Some(Session::Greeting | Session::CheckingIn), _) => {
                self.disconnect(link, Departure::Closed, now, rng, wishes);
                wishes.push(Wish::Hang(link));
            }
        }
    }

    fn check_in(
        &mut self,
        link: LinkId,
        (subject, availability): (Option<SubjectId>, Availability),
        now: Duration,
        rng: &mut StdRng,
        wishes: &mut Vec<Wish>,
    ) {
        let view = self.task.view.borrow().clone();
        let status = self.task.status(&view, self.time(now));
        let checked_in = CheckedIn { task: self.task.description(), status };
        wishes.push(Wish::Send(link, ServerMessage::CheckedIn(Box::new(checked_in))));
        let (order, orders) = watch::channel(Order::Rest);
        let (id, cut) = (ConnectionId::next(), CancellationToken::new());
        let (answer, joined) = oneshot::channel();
        let connection = Held { id, orders, cut: cut.clone() };
        self.sessions.insert(link, Session::Joining { connection, joined });
        let link = Link { connection: id, order, cut };
        self.command(Command::Join(Join { subject, availability, link, answer }), now, rng, wishes);
    }

    /// Looks what a session has to do: an order, a verdict, news, room. Whether
    /// there was anything.
    pub(super) fn poll(
        &mut self,
        link: LinkId,
        now: Duration,
        rng: &mut StdRng,
        wishes: &mut Vec<Wish>,
    ) -> bool {
        let mut busy = self.settle_join(link);
        while let Some(input) = self.next_input(link) {
            busy = true;
            let Some(input) = input else {
                self.disconnect(link, Departure::Closed, now, rng, wishes);
                wishes.push(Wish::Hang(link));
                return true;
            };
            self.feed(link, input, now, rng, wishes);
        }
        busy
    }

    fn settle_join(&mut self, link: LinkId) -> bool {
        let Some(Session::Joining { joined, .. }) = self.sessions.get_mut(&link) else {
            return false;
        };
        let Ok(Joined { client, seat }) = joined.try_recv() else { return false };
        let Some(Session::Joining { connection, .. }) = self.sessions.remove(&link) else {
            return false;
        };
        let participant = Participant { client, has_subject: true };
        let task = Arc::clone(&self.task);
        let mut view = task.view.clone();
        view.mark_changed();
        let metrics = Arc::clone(&self.metrics);
        let conversation = Box::new(Conversation::new(participant, seat, task, metrics, self.pace));
        self.sessions.insert(link, Session::Member { connection, conversation, view });
        true
    }

    /// `Some(None)`: the session is to end.
    fn next_input(&mut self, link: LinkId) -> Option<Option<Input>> {
        match self.sessions.get_mut(&link)? {
            Session::Joining { connection, .. } => connection.cut.is_cancelled().then_some(None),
            Session::Member { connection, conversation, view } => {
                if connection.cut.is_cancelled() {
                    return Some(None);
                }
                if let Some(Ok(verdict)) = conversation.verdict().map(oneshot::Receiver::try_recv) {
                    return Some(Some(Input::Verdict(verdict)));
                }
                match connection.orders.has_changed() {
                    Ok(true) => {
                        let order = connection.orders.borrow_and_update().clone();
                        return Some(Some(Input::Order(order)));
                    }
                    Ok(false) => {}
                    // The coordinator has forgotten the client, with a last word or without.
                    Err(_) => {
                        let order = connection.orders.borrow().clone();
                        let last = matches!(order, Order::Away(_)).then_some(Input::Order(order));
                        return Some(last);
                    }
                }
                if view.has_changed().unwrap_or(false) {
                    view.mark_unchanged();
                    return Some(Some(Input::News));
                }
                conversation.wants_room()?;
                let permit = Arc::clone(&self.budget).try_acquire_owned().ok()?;
                Some(Some(Input::Room(permit)))
            }
            Session::Greeting | Session::CheckingIn => None,
        }
    }

    fn feed(
        &mut self,
        link: LinkId,
        input: Input,
        now: Duration,
        rng: &mut StdRng,
        wishes: &mut Vec<Wish>,
    ) {
        let time = self.time(now);
        let Some(Session::Member { conversation, .. }) = self.sessions.get_mut(&link) else {
            return;
        };
        for output in conversation.handle(input, time) {
            match output {
                Output::Send(message) => wishes.push(Wish::Send(link, message)),
                Output::Tell(command) => self.command(command, now, rng, wishes),
                Output::Check(bytes, parameters, range) => {
                    let checked = CheckedUpdate::parse(bytes, parameters, range);
                    self.feed(link, Input::Checked(checked), now, rng, wishes);
                }
                Output::End(end) => {
                    self.disconnect(link, end.departure(), now, rng, wishes);
                    if let End::Refused(refusal) = end {
                        wishes.push(Wish::Send(link, ServerMessage::Refusal(refusal)));
                    }
                    wishes.push(Wish::Hang(link));
                    return;
                }
            }
        }
    }

    /// The bug of a retry that counts again, put in on purpose: an update that is
    /// announced though its verdict was given is folded as if it were new.
    #[cfg(test)]
    fn fold_again(&mut self, link: LinkId, message: &ClientMessage, wishes: &mut Vec<Wish>) {
        let (Some(Bug::DoubleCount), ClientMessage::UpdateBegin(begin)) = (self.bug, message)
        else {
            return;
        };
        let Some(Session::Member { conversation, .. }) = self.sessions.get(&link) else { return };
        let (Some(number), true) = (self.numbers.get(&link), conversation.has_accepted(begin))
        else {
            return;
        };
        let config = &self.task.config;
        let (parameters, range) = (config.model.parameters(), config.update_range);
        let bytes = Client::update(*number, parameters);
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned();
        if let (Ok(update), Ok(permit)) = (CheckedUpdate::parse(bytes, parameters, range), permit) {
            let received = Received { update, _permit: permit };
            let contribution = Contribution::Update(received, begin.examples);
            let client = ClientId(0);
            self.jobs.push_front(Job::Take { client, subject: None, contribution, staleness: 0 });
            wishes.push(Wish::Work);
        }
    }
}
