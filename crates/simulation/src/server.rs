//! Simulated server: the production core, writer and sessions, without threads. It is
//! made anew from the store after every crash.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fedra_aggregation::CheckedUpdate;
use fedra_coordinator::messages::{Action, Command, ConnectionId, Departure, Leave, Mail};
use fedra_coordinator::round::{ClientId, Progress, Time};
use fedra_coordinator::session::{Admitted, Input, Output, Session, SessionSettings};
use fedra_coordinator::settings::TaskSettings;
use fedra_coordinator::status::{Counters, NoMetrics, TaskView};
use fedra_coordinator::storage::Storage;
use fedra_coordinator::task::{StartError, Started, TaskCore, start};
use fedra_coordinator::writer::{Contribution, Received, Room, Writer, WriterJob};
use fedra_protocol::{ClientMessage, ServerMessage, Sha256Hash, UpdateVerdict};
use rand::rngs::StdRng;

use crate::client::Client;
use crate::network::LinkId;
use crate::scenario::{Bug, Task};

/// A chunk is this short, so that an update has several.
const CHUNK: u32 = 8;
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Updates for which there is room at a time.
const ROOM: usize = 3;
/// Date at which a simulation starts, seconds since 1970.
const START: u64 = 1_700_000_000;
/// Seeds the noise of a central policy.
const SECRET: [u8; 32] = [7; 32];

/// Connection of a client as the server has it.
struct Connection {
    id: ConnectionId,
    session: Session,
    mail: Mail,
    /// The view that the client was told last.
    known: Option<Arc<TaskView>>,
    /// Messages that came while the session read none.
    unread: VecDeque<ClientMessage>,
}

/// Work of the world for the server.
pub(crate) enum ServerEffect {
    Send(LinkId, Box<ServerMessage>),
    /// Close the connection.
    Close(LinkId),
    /// A model is announced.
    Publish(Sha256Hash),
    /// There is a job for the worker.
    Work,
}

pub(crate) struct Server {
    /// Distinguishes this life of the server from earlier ones.
    pub life: u64,
    pub settings: Arc<TaskSettings>,
    core: TaskCore,
    writer: Writer,
    jobs: VecDeque<WriterJob>,
    connections: BTreeMap<LinkId, Connection>,
    links: BTreeMap<ConnectionId, LinkId>,
    next_connection: u64,
    budget: Arc<()>,
    sessions: SessionSettings,
    started: Duration,
    numbers: BTreeMap<LinkId, usize>,
    bug: Option<Bug>,
}

impl Server {
    pub(crate) fn start(
        store: &Storage,
        task: &Task,
        life: u64,
        now: Duration,
        bug: Option<Bug>,
    ) -> Result<Self, StartError> {
        let counters = Arc::<Counters>::default();
        let Started { core, writer, .. } =
            start(&task.settings, store, Arc::new(NoMetrics), counters, SECRET, None)?;
        Ok(Self {
            life,
            settings: Arc::clone(&task.settings),
            core,
            writer,
            jobs: VecDeque::new(),
            connections: BTreeMap::new(),
            links: BTreeMap::new(),
            next_connection: 0,
            budget: Arc::default(),
            sessions: SessionSettings {
                heartbeat: HEARTBEAT,
                max_chunk_bytes: CHUNK,
                pace: task.pace,
            },
            started: now,
            numbers: BTreeMap::new(),
            bug,
        })
    }

    pub(crate) fn view(&self) -> &Arc<TaskView> {
        self.core.view()
    }

    fn time(&self, now: Duration) -> Time {
        Time(now - self.started)
    }

    pub(crate) fn progress(&self) -> Progress {
        self.core.progress()
    }

    /// Time left until the deadline of the stage under way; negative is `None`.
    pub(crate) fn overrun(&self, now: Duration) -> Option<Duration> {
        let deadline = self.core.progress().deadline?;
        let over = self.time(now).0.checked_sub(deadline.0)?;
        (over > Duration::ZERO).then_some(over)
    }

    /// Time at which the core or a session is to be woken.
    pub(crate) fn wake_at(&self) -> Option<Duration> {
        let sessions = self.connections.values().filter_map(|c| c.session.wake_at());
        sessions.chain(self.core.wake_at()).min().map(|time| self.started + time.0)
    }

    pub(crate) fn links(&self) -> Vec<LinkId> {
        self.connections.keys().copied().collect()
    }

    pub(crate) fn connect(&mut self, link: LinkId, client: usize) {
        self.numbers.insert(link, client);
        self.next_connection += 1;
        let id = ConnectionId(self.next_connection);
        self.links.insert(id, link);
        let session = Session::new("simulated".to_owned(), self.sessions);
        let (mail, unread) = (Mail::default(), VecDeque::new());
        self.connections.insert(link, Connection { id, session, mail, known: None, unread });
    }

    /// The connection has broken, or was closed on purpose.
    pub(crate) fn disconnect(
        &mut self,
        link: LinkId,
        departure: Departure,
        now: Duration,
        rng: &mut StdRng,
        effects: &mut Vec<ServerEffect>,
    ) {
        let Some(Connection { id, session, mut mail, .. }) = self.connections.remove(&link) else {
            return;
        };
        self.links.remove(&id);
        let Some((connection, participation)) = session.leave() else { return };
        let participation = mail.take_participation().unwrap_or(participation);
        let leave = Leave { connection, departure, participation };
        self.command(Command::Leave(leave), now, rng, effects);
    }

    /// The core and the sessions that want it are told the time.
    pub(crate) fn time_passed(
        &mut self,
        now: Duration,
        rng: &mut StdRng,
        effects: &mut Vec<ServerEffect>,
    ) {
        let time = self.time(now);
        for link in self.links() {
            let due = self.connections.get(&link).and_then(|c| c.session.wake_at());
            if due.is_some_and(|due| due <= time) {
                self.feed(link, Input::TimePassed, now, rng, effects);
            }
        }
        self.take(None, now, rng, effects);
    }

    pub(crate) fn command(
        &mut self,
        command: Command,
        now: Duration,
        rng: &mut StdRng,
        effects: &mut Vec<ServerEffect>,
    ) {
        self.take(Some(command), now, rng, effects);
    }

    /// Gives the core a command, or the time.
    fn take(
        &mut self,
        command: Option<Command>,
        now: Duration,
        rng: &mut StdRng,
        effects: &mut Vec<ServerEffect>,
    ) {
        let time = self.time(now);
        for action in self.core.handle(command, time, rng) {
            match action {
                Action::Write(job) => {
                    self.jobs.push_back(*job);
                    effects.push(ServerEffect::Work);
                }
                Action::Notify(id, notice) => {
                    let link = self.links.get(&id);
                    let connection = link.and_then(|link| self.connections.get_mut(link));
                    if let Some(connection) = connection {
                        connection.mail.put(notice);
                    }
                }
                Action::Serve(sha256, _) => effects.push(ServerEffect::Publish(sha256)),
                Action::ServeStep(..)
                | Action::ServeControl(..)
                | Action::Publish(_)
                | Action::Evaluate(..)
                | Action::Reply(..) => {}
            }
        }
    }

    /// Does the next job; what comes of it is for [`Server::command`].
    pub(crate) fn work(&mut self, now: Duration, rng: &mut StdRng) -> Vec<Command> {
        let Some(job) = self.jobs.pop_front() else { return Vec::new() };
        let events = self.writer.work(job, START + now.as_secs(), rng);
        events.into_iter().map(|event| Command::Writer(Box::new(event))).collect()
    }

    pub(crate) fn receive(
        &mut self,
        link: LinkId,
        message: ClientMessage,
        now: Duration,
        rng: &mut StdRng,
        effects: &mut Vec<ServerEffect>,
    ) {
        let Some(connection) = self.connections.get_mut(&link) else { return };
        if !connection.session.reads() {
            return connection.unread.push_back(message);
        }
        self.fold_again(link, &message, effects);
        self.feed(link, Input::Message(message), now, rng, effects);
    }

    /// Gives a session what waits for it: a notice, a message, news, room. Returns
    /// whether there was anything.
    pub(crate) fn poll(
        &mut self,
        link: LinkId,
        now: Duration,
        rng: &mut StdRng,
        effects: &mut Vec<ServerEffect>,
    ) -> bool {
        let mut busy = false;
        while let Some(input) = self.next_input(link) {
            busy = true;
            self.feed(link, input, now, rng, effects);
        }
        busy
    }

    fn next_input(&mut self, link: LinkId) -> Option<Input> {
        let newest = Arc::clone(self.core.view());
        let connection = self.connections.get_mut(&link)?;
        if let Some(notice) = connection.mail.take() {
            return Some(Input::Notice(notice));
        }
        if connection.session.reads()
            && let Some(message) = connection.unread.pop_front()
        {
            return Some(Input::Message(message));
        }
        if !connection.session.is_member() {
            return None;
        }
        if connection.known.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &newest)) {
            connection.known = Some(newest);
            return Some(Input::News);
        }
        connection.session.wants_room()?;
        let has_room = Arc::strong_count(&self.budget) <= ROOM;
        has_room.then(|| Input::Room(Room::held_by(Arc::clone(&self.budget))))
    }

    fn feed(
        &mut self,
        link: LinkId,
        input: Input,
        now: Duration,
        rng: &mut StdRng,
        effects: &mut Vec<ServerEffect>,
    ) {
        let time = self.time(now);
        let view = Arc::clone(self.core.view());
        let Some(Connection { id, session, .. }) = self.connections.get_mut(&link) else { return };
        let id = *id;
        session.refresh(&view);
        for output in session.handle(input, time) {
            match output {
                Output::Send(message) => effects.push(ServerEffect::Send(link, Box::new(message))),
                Output::Tell(command) => self.command(command, now, rng, effects),
                Output::Admit(check_in) => {
                    check_in.check_capabilities(&self.settings).expect("knows the model");
                    let admitted = Admitted {
                        connection: id,
                        subject: check_in.subject,
                        settings: Arc::clone(&self.settings),
                        metrics: Arc::new(NoMetrics),
                        view: Arc::clone(&view),
                        now: time,
                    };
                    self.feed(link, Input::Admitted(Box::new(admitted)), now, rng, effects);
                }
                Output::Check(bytes, codec) => {
                    let checked = CheckedUpdate::parse(bytes, &codec);
                    self.feed(link, Input::Checked(checked), now, rng, effects);
                }
                Output::End(refusal) => {
                    self.disconnect(link, Departure::after(&refusal), now, rng, effects);
                    effects
                        .push(ServerEffect::Send(link, Box::new(ServerMessage::Refusal(refusal))));
                    effects.push(ServerEffect::Close(link));
                    return;
                }
            }
        }
    }

    /// The bug of a retry that counts again, put in on purpose: an update that is
    /// announced though its verdict was given is folded as if it were new.
    fn fold_again(
        &mut self,
        link: LinkId,
        message: &ClientMessage,
        effects: &mut Vec<ServerEffect>,
    ) {
        let (Some(Bug::DoubleCount), ClientMessage::UpdateBegin(begin)) = (self.bug, message)
        else {
            return;
        };
        let connection = self.connections.get(&link);
        let settled = connection.and_then(|c| c.session.participation()?.settled.as_ref());
        let is_accepted =
            settled.is_some_and(|s| s.begin == *begin && s.verdict == UpdateVerdict::Accepted);
        let (Some(number), true) = (self.numbers.get(&link), is_accepted) else { return };
        let bytes = Client::update(*number, self.settings.model.parameters());
        if let Ok(update) = CheckedUpdate::parse(bytes, &self.settings.codec) {
            let received = Received { update, room: Room::unlimited() };
            let contribution = Contribution::Update(received, begin.examples);
            let (client, subject, round, staleness) = (ClientId(0), None, begin.round, 0);
            let job = WriterJob::Fold { client, subject, round, contribution, staleness };
            self.jobs.push_front(job);
            effects.push(ServerEffect::Work);
        }
    }
}
