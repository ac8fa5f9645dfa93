//! Simulated clients: comings and goings, their sessions, and the work that they begin.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use fedra_coordinator::messages::ConnectionId;
use fedra_edge_client::outgoing::RoundJob;
use fedra_edge_client::secure_round::SecureRound;
use fedra_edge_client::session::{Action, Event as Input, SecureRequest, Session};
use fedra_edge_client::{
    Carried, ClientEvent, Consent, EventCode, Failure, PrivacyConfig, PrivacyFloors,
};
use fedra_protocol::{RoundAssignment, RoundId, ServerMessage, Sha256Hash, SubjectId};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use super::{Delivery, Due, World};
use crate::attack::Kind;
use crate::devices::Device;
use crate::seeds::Purpose;
use crate::work::{Job, Product, Values, secure};

/// Work under way.
struct Work {
    number: u64,
    assignment: RoundAssignment,
    product: Receiver<Product>,
}

/// A device with its session.
pub(super) struct Client {
    device: Device,
    attack: Option<Kind>,
    /// Its examples.
    pub(super) own: Arc<Vec<u32>>,
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
    /// State that goes from one of its updates to the next: as much as the model, once it has taken
    /// part in rounds that carry something.
    carried: Carried,
}

impl Client {
    /// A client that has not come yet. `presence` drives its comings and goings.
    pub(super) fn new(
        device: Device,
        attack: Option<Kind>,
        own: Vec<u32>,
        presence: ChaCha20Rng,
    ) -> Self {
        Self {
            device,
            attack,
            own: Arc::new(own),
            presence,
            session: None,
            visit: 0,
            connection: None,
            work: None,
            secret: None,
            round: None,
            timer: None,
            participations: 0,
            model: None,
            carried: Carried::default(),
        }
    }

    /// Time at which it comes first; `None` if it never does.
    pub(super) fn first(&self) -> Option<Duration> {
        self.device.first()
    }

    /// Takes note of what the server says of an update.
    pub(super) fn heard(&mut self, message: &ServerMessage) {
        self.carried.heard(message);
    }

    /// The connection is closed.
    pub(super) fn disconnected(&mut self) {
        self.connection = None;
    }

    /// True during this visit.
    pub(super) fn is_in(&self, visit: u64) -> bool {
        self.visit == visit
    }

    /// True while it does this work.
    pub(super) fn does(&self, work: u64) -> bool {
        self.work.as_ref().is_some_and(|of| of.number == work)
    }
}

impl World {
    /// A device comes.
    pub(super) fn comes(&mut self, client: usize) {
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
        let visit = of.visit;
        if let Some(at) = self.devices.change(&of.device, self.now, true, &mut of.presence) {
            self.at(at, Due::Goes(client, visit));
        }
        self.deliveries.push_back(Delivery::Input(client, Input::Start));
    }

    /// A device goes at the end of its stay, and comes back later.
    pub(super) fn leaves(&mut self, client: usize) {
        self.goes(client);
        let of = &mut self.clients[client];
        if let Some(at) = self.devices.change(&of.device, self.now, false, &mut of.presence) {
            self.at(at, Due::Comes(client));
        }
    }

    /// A device is away from now on.
    pub(super) fn goes(&mut self, client: usize) {
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

    /// Gives a client's session an input and does what it says.
    pub(super) fn feed(&mut self, client: usize, input: Input) {
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
        let control = self.server.control(assignment.control.as_deref());
        let Some((trained, control)) = self.server.model(&assignment.model).zip(control) else {
            let reason = "its model is not kept".to_owned();
            return Some(Input::Failed { round, failure: Failure::ModelUnavailable, reason });
        };
        let of = &mut self.clients[client];
        let policy = of.session.as_ref().and_then(|session| session.privacy_of(&assignment));
        let job = RoundJob {
            task: Arc::clone(&self.task),
            privacy: policy.cloned(),
            assignment: assignment.clone(),
        };
        let correction = job
            .trains_with_variates()
            .then(|| of.carried.correction(&self.task.model, &assignment, &control));
        let frozen = self.task.frozen.as_ref().map_or(0, |frozen| frozen.bytes);
        let kept = of.model.replace(assignment.model.sha256);
        let drawn = assignment.drawn.as_ref().map(|drawn| drawn.sha256);
        let bases = kept.into_iter().chain(drawn);
        let steps = bases.filter_map(|base| assignment.steps_from(&base)).map(|(_, bytes)| bytes);
        let down = steps.min().unwrap_or(assignment.model.bytes)
            + if kept.is_none() { frozen } else { 0 }
            + assignment.control.as_ref().map_or(0, |control| control.bytes);
        self.server.count_sent(down as usize);
        let style = self.style.map(|of| of.draw(&mut self.seeds.rng(Purpose::Style(client))));
        let job = Job {
            client,
            round: job,
            trained,
            correction,
            frozen: Arc::clone(&self.server.frozen),
            examples: Arc::clone(&self.examples),
            own: Arc::clone(&of.own),
            style,
            speed: of.device.speed,
            attack: of.attack,
            example_privacy: self.costs.begin(client, round),
            seeds: self.seeds,
        };
        let (examples, up) = job.effort();
        let takes = self.devices.work(&of.device, down, examples, up);
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

    /// The client's timer has run out.
    pub(super) fn wakes(&mut self, client: usize) {
        self.clients[client].timer = None;
        self.deliveries.push_back(Delivery::Input(client, Input::Timer));
    }

    /// Takes the product of a device's work, and waits for it if it must.
    pub(super) fn done(&mut self, client: usize) {
        let of = &mut self.clients[client];
        let Some(Work { assignment, product, .. }) = of.work.take() else { return };
        let round = assignment.round;
        let product = product.recv().unwrap_or_else(|_| Product::Failed("it crashed".to_owned()));
        let input = match product {
            Product::Update(update, examples) => Input::Trained { round, update, examples },
            Product::Values(Values { values, codec, examples, correction }) => {
                let (seed, range) = (of.presence.random(), self.task.update_range);
                let form = codec.values().expect("a codec of values");
                let update = match correction {
                    Some(correction) => {
                        of.carried.encode_corrected(round, &values, &correction, form, &seed)
                    }
                    None => of.carried.encode(round, values, range, form, &seed),
                };
                Input::Trained { round, update: update.into(), examples }
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
