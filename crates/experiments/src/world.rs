//! Devices and the server on one virtual clock. What devices compute runs on all cores, and
//! is taken at the time at which it would have been done.

mod evaluating;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use fedra_coordinator::messages::ConnectionId;
use fedra_coordinator::round::Operation;
use fedra_coordinator::storage::{RoundRecord, Storage, StoreError};
use fedra_data::Dataset;
use fedra_edge_client::secure_round::SecureRound;
use fedra_edge_client::session::{Action, Event as Input, SecureRequest, Session};
use fedra_edge_client::{
    ClientEvent, Consent, ErrorFeedback, EventCode, Failure, PrivacyConfig, PrivacyFloors,
};
use fedra_learning::LearningError;
use fedra_protocol::{
    ClientMessage, Quality, RoundAssignment, RoundId, ServerMessage, Sha256Hash, SubjectId,
    TaskDescription,
};
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::attack::Kind;
use crate::config::Experiment;
use crate::devices::{Device, Devices};
use crate::seeds::{Purpose, Seeds};
use crate::server::{Sent, Server, ServerError};
use crate::work::{Job, Product, secure};
use evaluating::Evaluating;

/// Longest time without a completed round.
const LONGEST_ROUND: Duration = Duration::from_secs(20 * 24 * 3600);

/// A round whose figures are complete.
#[derive(Clone, Debug)]
pub struct Round {
    /// The record as the server stored it.
    pub record: RoundRecord,
    /// Virtual time at which its model was made, from the start of the experiment.
    pub at: Duration,
    /// Quality of its model on the held-out examples, if it was evaluated.
    pub quality: Option<Quality>,
    /// Epsilon spent so far, under a privacy policy.
    pub epsilon: Option<f64>,
}

/// Reason why an experiment cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The server does not start.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A result cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A client has ended for good.
    #[error("client {client}: {message}")]
    Client {
        /// Its number.
        client: usize,
        /// Its message to its owner.
        message: String,
    },
    /// A model cannot be evaluated.
    #[error("the model of round {round}: {source}")]
    Evaluation {
        /// Its round.
        round: u64,
        /// The problem.
        source: LearningError,
    },
    /// There are no threads.
    #[error("cannot start threads: {0}")]
    Threads(String),
    /// No round is completed any more.
    #[error(
        "no round was completed for {0:?} of virtual time: too few clients are there, or none reports in time"
    )]
    Stalled(Duration),
}

/// Entry of the agenda.
enum Due {
    /// The task begins or goes on: every device that is there at the start has come.
    Begin,
    /// A device comes.
    Comes(usize),
    /// A device goes.
    Goes(usize),
    /// The product of a device's work is there: of this work, unless it was abandoned.
    Done(usize, u64),
    /// A device goes away in the middle of this work.
    DropsOut(usize, u64),
    /// The client's session is to be woken.
    Client(usize, u64),
    /// The server is to be woken.
    Server,
}

/// Message on its way, or an input of a session.
enum Delivery {
    ToServer(ConnectionId, ClientMessage),
    ToClient(ConnectionId, Box<ServerMessage>),
    Closed(ConnectionId),
    Input(usize, Input),
}

/// Work under way.
struct Work {
    number: u64,
    assignment: RoundAssignment,
    product: Receiver<Product>,
}

struct Client {
    device: Device,
    attack: Option<Kind>,
    /// Its examples.
    own: Arc<Vec<u32>>,
    /// Drives comings and goings.
    presence: ChaCha20Rng,
    /// `None` while the device is away.
    session: Option<Session>,
    /// Distinguishes this visit from earlier ones.
    visit: u64,
    connection: Option<ConnectionId>,
    work: Option<Work>,
    secret: Option<Box<SecureRound>>,
    /// The round of the secret.
    round: Option<RoundAssignment>,
    timer: Option<Duration>,
    participations: u32,
    /// The model that it has.
    model: Option<Sha256Hash>,
    /// Part of its updates that a sparse codec has not sent.
    feedback: ErrorFeedback,
}

pub(crate) struct World {
    now: Duration,
    agenda: BinaryHeap<Reverse<(Duration, u64)>>,
    due: HashMap<u64, Due>,
    next_due: u64,
    next_work: u64,
    server: Server,
    server_timer: Option<Duration>,
    clients: Vec<Client>,
    /// The client of each connection.
    owners: HashMap<ConnectionId, usize>,
    deliveries: VecDeque<Delivery>,
    pool: ThreadPool,
    devices: Devices,
    seeds: Seeds,
    task: Arc<TaskDescription>,
    examples: Arc<Dataset>,
    held_out: Option<Arc<Dataset>>,
    evaluate_every: u64,
    evaluating: VecDeque<Evaluating>,
    /// Rounds whose figures are not complete, oldest first.
    open: VecDeque<Round>,
    /// Problem that a client told last, which a stalled experiment is explained by.
    problem: Option<(usize, String)>,
    /// Time of the newest model.
    last_completed: Duration,
    /// Time at which the experiment ends.
    limit: Option<Duration>,
}

impl World {
    /// A world in which nothing has happened.
    pub(crate) fn new(
        experiment: &Experiment,
        storage: &Storage,
        examples: Arc<Dataset>,
        shares: Vec<Vec<u32>>,
        held_out: Option<Arc<Dataset>>,
    ) -> Result<Self, WorldError> {
        let seeds = Seeds(experiment.simulation.seed);
        let settings = Arc::new(experiment.task.settings.clone());
        let spec = settings.model.clone();
        let read = experiment.task.initial.as_ref().map(|initial| {
            let spec = spec.clone();
            move || fedra_aggregator::initial::load(&spec, initial).map_err(|e| e.to_string())
        });
        let read = read.as_ref().map(|read| read as _);
        let server = Server::start(&settings, storage, read, seeds)?;
        let mut rng = seeds.rng(Purpose::Devices);
        let kinds = experiment.attacks.iter();
        let mut attacks: Vec<Option<Kind>> =
            kinds.flat_map(|attack| (0..attack.clients).map(|_| Some(attack.kind))).collect();
        attacks.resize(shares.len(), None);
        attacks.shuffle(&mut rng);
        let clients = shares.into_iter().zip(attacks).enumerate();
        let clients = clients.map(|(number, (own, attack))| Client {
            device: experiment.devices.draw(&mut rng),
            attack,
            own: Arc::new(own),
            presence: seeds.rng(Purpose::Presence(number)),
            session: None,
            visit: 0,
            connection: None,
            work: None,
            secret: None,
            round: None,
            timer: None,
            participations: 0,
            model: None,
            feedback: ErrorFeedback::default(),
        });
        let threads = experiment.simulation.threads.unwrap_or(0);
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        let mut world = Self {
            now: Duration::ZERO,
            agenda: BinaryHeap::new(),
            due: HashMap::new(),
            next_due: 0,
            next_work: 0,
            task: Arc::new(server.settings.description()),
            server,
            server_timer: None,
            clients: clients.collect(),
            owners: HashMap::new(),
            deliveries: VecDeque::new(),
            pool: pool.map_err(|error| WorldError::Threads(error.to_string()))?,
            devices: experiment.devices.clone(),
            seeds,
            examples,
            held_out,
            evaluate_every: experiment.simulation.evaluate_every,
            evaluating: VecDeque::new(),
            open: VecDeque::new(),
            problem: None,
            last_completed: Duration::ZERO,
            limit: experiment.simulation.time,
        };
        // A cohort is complete as soon as enough clients are there: the first of all would be
        // those with the lowest numbers.
        let _ = world.server.operate(Operation::Pause, Duration::ZERO);
        for client in 0..world.clients.len() {
            world.at(Duration::ZERO, Due::Comes(client));
        }
        world.at(Duration::ZERO, Due::Begin);
        Ok(world)
    }

    /// Hash of the newest model.
    pub(crate) fn model(&self) -> Sha256Hash {
        self.server.view().model.sha256
    }

    /// Goes on until another round is complete, with its evaluation; `None` after the last,
    /// and when the time is over.
    ///
    /// A model is evaluated beside the round after it, so a round is told when the next one
    /// is complete.
    pub(crate) fn next_round(&mut self) -> Result<Option<Round>, WorldError> {
        loop {
            let is_over =
                self.server.is_finished() || self.limit.is_some_and(|limit| self.now >= limit);
            if self.open.len() > usize::from(!is_over) {
                self.collect_evaluations()?;
                return Ok(self.open.pop_front());
            }
            if is_over {
                return Ok(None);
            }
            self.step()?;
        }
    }

    /// Does what is due next.
    fn step(&mut self) -> Result<(), WorldError> {
        let Some(Reverse((at, number))) = self.agenda.pop() else {
            return Err(self.stalled());
        };
        self.now = self.now.max(at);
        if self.now > self.last_completed + LONGEST_ROUND {
            return Err(self.stalled());
        }
        match self.due.remove(&number) {
            Some(Due::Begin) => {
                let sent = self.server.operate(Operation::Resume, self.now);
                self.post(sent);
            }
            Some(Due::Comes(client)) => self.comes(client),
            Some(Due::Goes(client)) => {
                self.goes(client);
                if let Some(after) = self.devices.stays(false, &mut self.clients[client].presence) {
                    self.at(self.now + after, Due::Comes(client));
                }
            }
            Some(Due::DropsOut(client, work)) if self.is_current(client, work) => {
                self.goes(client);
                // It comes back at once, as a page that is opened again.
                self.at(self.now, Due::Comes(client));
            }
            Some(Due::Done(client, work)) if self.is_current(client, work) => self.done(client),
            Some(Due::Client(client, visit)) if self.clients[client].visit == visit => {
                self.clients[client].timer = None;
                self.deliveries.push_back(Delivery::Input(client, Input::Timer));
            }
            Some(Due::Server) => {
                self.server_timer = None;
                let sent = self.server.time_passed(self.now);
                self.post(sent);
            }
            Some(Due::Done(..) | Due::DropsOut(..) | Due::Client(..)) | None => {}
        }
        self.settle();
        self.take_completed();
        self.start_evaluations();
        Ok(())
    }

    fn stalled(&mut self) -> WorldError {
        match self.problem.take() {
            Some((client, message)) => WorldError::Client { client, message },
            None => WorldError::Stalled(self.now - self.last_completed),
        }
    }

    fn at(&mut self, time: Duration, due: Due) {
        self.next_due += 1;
        self.due.insert(self.next_due, due);
        self.agenda.push(Reverse((time, self.next_due)));
    }

    fn is_current(&self, client: usize, work: u64) -> bool {
        self.clients[client].work.as_ref().is_some_and(|of| of.number == work)
    }

    // ------------------------------------------------------------- devices

    fn comes(&mut self, client: usize) {
        let task = self.task.id.clone();
        let of = &mut self.clients[client];
        let mut subject = [0; 16];
        subject[..8].copy_from_slice(&(client as u64).to_le_bytes());
        of.session = Some(Session::new(
            task,
            PrivacyConfig {
                floors: PrivacyFloors::default(),
                consent: Consent::Granted,
                subject: SubjectId::from_bytes(subject),
                participations: of.participations,
            },
        ));
        of.visit += 1;
        of.timer = None;
        if let Some(after) = self.devices.stays(true, &mut of.presence) {
            self.at(self.now + after, Due::Goes(client));
        }
        self.deliveries.push_back(Delivery::Input(client, Input::Start));
    }

    fn goes(&mut self, client: usize) {
        let of = &mut self.clients[client];
        of.session = None;
        of.work = None;
        of.secret = None;
        of.visit += 1;
        if let Some(connection) = of.connection.take() {
            self.owners.remove(&connection);
            let sent = self.server.disconnect(connection, self.now);
            self.post(sent);
        }
    }

    /// Delivers messages and inputs until there are none.
    fn settle(&mut self) {
        while let Some(delivery) = self.deliveries.pop_front() {
            match delivery {
                Delivery::ToServer(connection, message) => {
                    let bytes = frame(message.encode().len(), true);
                    let sent = self.server.receive(connection, message, bytes, self.now);
                    self.post(sent);
                }
                Delivery::ToClient(connection, message) => {
                    self.server.count_sent(frame(message.encode().len(), false));
                    if let Some(&client) = self.owners.get(&connection) {
                        if let ServerMessage::UpdateOutcome(outcome) = &*message {
                            self.clients[client].feedback.judged(outcome);
                        }
                        self.feed(client, Input::Received(*message));
                    }
                }
                Delivery::Closed(connection) => {
                    if let Some(client) = self.owners.remove(&connection) {
                        self.clients[client].connection = None;
                        let reason = "the server closed the connection".to_owned();
                        self.feed(client, Input::Disconnected { reason });
                    }
                }
                Delivery::Input(client, input) => self.feed(client, input),
            }
        }
        if let Some(at) = self.server.wake_at()
            && self.server_timer.is_none_or(|timer| at < timer)
        {
            self.server_timer = Some(at);
            self.at(at.max(self.now), Due::Server);
        }
    }

    fn post(&mut self, sent: Vec<Sent>) {
        self.deliveries.extend(sent.into_iter().map(|sent| match sent {
            Sent::Message(connection, message) => Delivery::ToClient(connection, message),
            Sent::Closed(connection) => Delivery::Closed(connection),
        }));
    }

    /// Gives a client's session an input and does what it says.
    fn feed(&mut self, client: usize, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let jitter = self.clients[client].presence.random();
            let Some(session) = &mut self.clients[client].session else { return };
            for action in session.handle(input, self.now, jitter) {
                inputs.extend(self.act(client, action));
            }
            self.transmit(client);
        }
        let of = &mut self.clients[client];
        let Some(session) = &of.session else { return };
        if session.is_closed() {
            return;
        }
        if let Some(at) = session.deadline()
            && of.timer.is_none_or(|timer| at < timer)
        {
            of.timer = Some(at);
            let visit = of.visit;
            self.at(at.max(self.now), Due::Client(client, visit));
        }
    }

    fn transmit(&mut self, client: usize) {
        let of = &mut self.clients[client];
        while let (Some(session), Some(connection)) = (&mut of.session, of.connection) {
            let Some(message) = session.poll_transmit() else { return };
            self.deliveries.push_back(Delivery::ToServer(connection, message));
            // The socket has taken it; nothing follows from that.
            let _ = session.handle(Input::Sent, self.now, 0.0);
        }
    }

    fn act(&mut self, client: usize, action: Action) -> Option<Input> {
        match action {
            Action::Connect => {
                let connection = self.server.connect();
                self.owners.insert(connection, client);
                self.clients[client].connection = Some(connection);
                return Some(Input::Connected { token: None });
            }
            Action::Disconnect { .. } => {
                if let Some(connection) = self.clients[client].connection.take() {
                    self.owners.remove(&connection);
                    let sent = self.server.disconnect(connection, self.now);
                    self.post(sent);
                }
            }
            Action::Judge => return Some(Input::DataReady),
            Action::Work(assignment) => return self.start_work(client, *assignment),
            Action::Secure(round, request) => self.secure(client, round, request),
            Action::Abort => {
                self.clients[client].work = None;
                self.clients[client].secret = None;
            }
            Action::Record { round, participations } => {
                self.clients[client].participations = participations;
                return Some(Input::Recorded { round });
            }
            Action::Emit(ClientEvent::Error { message, fatal: true, .. }) => {
                self.problem = Some((client, message));
            }
            Action::Emit(ClientEvent::Error {
                code: EventCode::Failure(Failure::TrainingFailed | Failure::BadDataset),
                message,
                ..
            }) => self.problem = Some((client, message)),
            Action::Emit(_) => {}
        }
        None
    }

    fn start_work(&mut self, client: usize, assignment: RoundAssignment) -> Option<Input> {
        let round = assignment.round;
        let Some(trained) = self.server.model(&assignment.model) else {
            let reason = "its model is not kept".to_owned();
            return Some(Input::Failed { round, failure: Failure::ModelUnavailable, reason });
        };
        let of = &mut self.clients[client];
        let policy = of.session.as_ref().and_then(|session| session.privacy_of(&assignment));
        let frozen = self.task.frozen.as_ref().map_or(0, |frozen| frozen.bytes);
        let down = match of.model.replace(assignment.model.sha256) {
            None => assignment.model.bytes + frozen,
            Some(model) if model == assignment.model.sha256 => 0,
            Some(model) => {
                assignment.steps_from(&model).map_or(assignment.model.bytes, |(_, bytes)| bytes)
            }
        };
        self.server.count_sent(down as usize);
        let job = Job {
            client,
            task: Arc::clone(&self.task),
            assignment: assignment.clone(),
            policy: policy.cloned(),
            trained,
            frozen: Arc::clone(&self.server.frozen),
            examples: Arc::clone(&self.examples),
            own: Arc::clone(&of.own),
            speed: of.device.speed,
            attack: of.attack,
            seeds: self.seeds,
        };
        let (examples, up) = job.effort();
        let takes = self.devices.work(of.device, down, examples, up);
        let drops_out = self.devices.drops_out(&mut of.presence);
        let number = self.begin(client, assignment, move || job.run());
        match drops_out {
            true => self.at(self.now + takes / 2, Due::DropsOut(client, number)),
            false => self.at(self.now + takes, Due::Done(client, number)),
        }
        Some(Input::Downloaded { round })
    }

    /// Has something computed, and returns its number.
    fn begin(
        &mut self,
        client: usize,
        assignment: RoundAssignment,
        compute: impl FnOnce() -> Product + Send + 'static,
    ) -> u64 {
        self.next_work += 1;
        let (done, product) = sync_channel(1);
        self.pool.spawn_fifo(move || {
            // Fails only when the work was abandoned.
            let _ = done.send(compute());
        });
        self.clients[client].work = Some(Work { number: self.next_work, assignment, product });
        self.next_work
    }

    fn secure(&mut self, client: usize, round: RoundId, request: SecureRequest) {
        let of = &mut self.clients[client];
        let (state, seeds) = (of.secret.take(), self.seeds);
        let Some(assignment) = of.round.clone().filter(|of| of.round == round) else { return };
        let takes = self.devices.latency.unwrap_or_default() * 2;
        let number =
            self.begin(client, assignment, move || secure(state, request, client, round, seeds));
        self.at(self.now + takes, Due::Done(client, number));
    }

    /// Takes the product of a device's work, and waits for it if it must.
    fn done(&mut self, client: usize) {
        let of = &mut self.clients[client];
        let Some(Work { assignment, product, .. }) = of.work.take() else { return };
        let round = assignment.round;
        let product = product.recv().unwrap_or_else(|_| Product::Failed("it crashed".to_owned()));
        let input = match product {
            Product::Update(update, examples) => Input::Trained { round, update, examples },
            Product::Values(values, codec, examples) => {
                let (seed, range) = (of.presence.random(), self.task.update_range);
                let form = codec.values().expect("a sparse codec is one of values");
                let update = of.feedback.encode(round, values, range, form, &seed).into();
                Input::Trained { round, update, examples }
            }
            Product::Secured(state, reply) => {
                of.round = state.is_some().then_some(assignment);
                of.secret = state;
                Input::Secured { round, reply }
            }
            Product::Failed(reason) => {
                Input::Failed { round, failure: Failure::TrainingFailed, reason }
            }
        };
        self.deliveries.push_back(Delivery::Input(client, input));
    }
}

/// Bytes of a WebSocket message with its frame's header; a client's has a mask.
fn frame(payload: usize, is_masked: bool) -> usize {
    let length = match payload {
        0..126 => 2,
        126..65_536 => 4,
        _ => 10,
    };
    payload + length + if is_masked { 4 } else { 0 }
}
