//! Devices and the server on one virtual clock. What devices compute runs on all cores, and
//! is taken at the time at which it would have been done.

mod clients;
mod cost;
mod evaluating;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fedra_coordinator::messages::ConnectionId;
use fedra_coordinator::round::Operation;
use fedra_coordinator::storage::{RoundRecord, Storage, StoreError};
use fedra_data::Dataset;
use fedra_edge_client::session::Event as Input;
use fedra_learning::LearningError;
use fedra_protocol::{ClientMessage, Quality, ServerMessage, Sha256Hash, TaskDescription};
use rand::seq::SliceRandom;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::attack::Kind;
use crate::config::Experiment;
use crate::devices::{Devices, TraceError, frame};
use crate::partition::Share;
use crate::seeds::{Purpose, Seeds};
use crate::server::{Sent, Server, ServerError};
use crate::style::Style;
use clients::Client;
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
    /// Epsilon spent so far, under a privacy policy or with DP-SGD.
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
    /// A client has no device.
    #[error(transparent)]
    Device(#[from] TraceError),
    /// There are no threads.
    #[error("cannot start threads: {0}")]
    Threads(String),
    /// The task's gate has refused too many models in a row.
    #[error("the task is {0}")]
    Paused(String),
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
    /// A device goes at the end of this visit.
    Goes(usize, u64),
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
    style: Option<Style>,
    seeds: Seeds,
    task: Arc<TaskDescription>,
    examples: Arc<Dataset>,
    held_out: Option<Arc<Dataset>>,
    costs: cost::ExampleCosts,
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
        shares: Vec<Share>,
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
        let names = shares.iter().map(|share| share.name.as_str());
        let devices = experiment.devices.draw(names, &mut rng)?;
        let clients = shares.into_iter().zip(attacks).zip(devices).enumerate();
        let clients: Vec<Client> = clients
            .map(|(number, ((share, attack), device))| {
                let presence = seeds.rng(Purpose::Presence(number));
                Client::new(device, attack, share.examples, presence)
            })
            .collect();
        let first: Vec<Option<Duration>> = clients.iter().map(Client::first).collect();
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
            clients,
            owners: HashMap::new(),
            deliveries: VecDeque::new(),
            pool: pool.map_err(|error| WorldError::Threads(error.to_string()))?,
            devices: experiment.devices.clone(),
            style: experiment.style(),
            seeds,
            examples,
            held_out,
            costs: cost::ExampleCosts::new(experiment.example_privacy),
            evaluate_every: experiment.simulation.evaluate_every,
            evaluating: VecDeque::new(),
            open: VecDeque::new(),
            problem: None,
            last_completed: Duration::ZERO,
            limit: experiment.simulation.time,
        };
        // The first cohort would be the first clients that are there: the lowest numbers.
        let _ = world.server.operate(Operation::Pause, Duration::ZERO);
        for (client, first) in first.into_iter().enumerate() {
            if let Some(first) = first {
                world.at(first, Due::Comes(client));
            }
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
            let paused = self.server.paused_by_gate();
            let is_over = self.server.is_finished()
                || paused.is_some()
                || self.limit.is_some_and(|limit| self.now >= limit);
            if self.open.len() > usize::from(!is_over) {
                self.collect_evaluations()?;
                return Ok(self.open.pop_front());
            }
            if is_over {
                return paused.map_or(Ok(None), |reason| Err(WorldError::Paused(reason)));
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
            Some(Due::Goes(client, visit)) if self.clients[client].is_in(visit) => {
                self.leaves(client);
            }
            Some(Due::DropsOut(client, work)) if self.clients[client].does(work) => {
                self.goes(client);
                // It comes back at once, as a page that is opened again.
                self.at(self.now, Due::Comes(client));
            }
            Some(Due::Done(client, work)) if self.clients[client].does(work) => self.done(client),
            Some(Due::Client(client, visit)) if self.clients[client].is_in(visit) => {
                self.wakes(client);
            }
            Some(Due::Server) => {
                self.server_timer = None;
                let sent = self.server.time_passed(self.now);
                self.post(sent);
            }
            Some(Due::Goes(..) | Due::Done(..) | Due::DropsOut(..) | Due::Client(..)) | None => {}
        }
        self.settle();
        self.take_completed();
        self.start_evaluations();
        self.pass_gate()
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
                        self.clients[client].heard(&message);
                        self.feed(client, Input::Received(*message));
                    }
                }
                Delivery::Closed(connection) => {
                    if let Some(client) = self.owners.remove(&connection) {
                        self.clients[client].disconnected();
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
}
