//! A client and a server whose connection breaks at any point: after any loss the
//! server receives one update, always the same bytes, and the round ends.

use std::collections::VecDeque;

use fedra_protocol::CentralNoise;
use proptest::prelude::*;

use super::private::policy;
use super::*;
use crate::session::{SecureReply, SecureRequest};

/// Steps in which a round must be over once connections hold.
const ENOUGH: usize = 400;

/// A server with one client in one round, as the protocol says it should be.
struct Server {
    secure: bool,
    /// Messages that came on this connection: nothing is said twice there.
    said: Vec<ClientMessage>,
    order: ServerMessage,
    keys: Option<ClientMessage>,
    shares: Option<ClientMessage>,
    begin: Option<UpdateBegin>,
    received: Vec<u8>,
    unmasking: Option<ClientMessage>,
}

impl Server {
    fn is_judged(&self) -> bool {
        self.begin.as_ref().is_some_and(|begin| begin.bytes == self.received.len() as u64)
    }

    fn is_done(&self) -> bool {
        self.is_judged() && (!self.secure || self.unmasking.is_some())
    }

    /// Answers to a message.
    fn answer(&mut self, message: ClientMessage, task: &TaskDescription) -> Vec<ServerMessage> {
        if matches!(message, ClientMessage::Hello(_)) {
            self.said.clear();
        }
        assert!(!self.said.contains(&message), "twice: {message:?}");
        self.said.push(message.clone());
        match message {
            ClientMessage::Hello(_) => vec![ServerMessage::Welcome(Welcome {
                version: 1,
                session_id: "s".into(),
                heartbeat: HEARTBEAT,
                max_chunk_bytes: 4,
            })],
            ClientMessage::CheckIn { availability, .. } => {
                let status = status(1, RoundPhase::Collecting);
                let checked_in = CheckedIn { task: task.clone(), status };
                let order = (availability == Availability::Available).then(|| self.order.clone());
                let checked_in = ServerMessage::CheckedIn(Box::new(checked_in));
                [checked_in].into_iter().chain(order).collect()
            }
            ClientMessage::AdvertiseKeys { .. } => {
                let deadline = seconds(5);
                let next = ServerMessage::KeyDirectory(KeyDirectory {
                    round: ROUND,
                    own: 0,
                    cohort: 10,
                    threshold: 6,
                    neighbours: Vec::new(),
                    deadline,
                    group: None,
                });
                once(&mut self.keys, message, &mut self.order, next)
            }
            ClientMessage::ShareKeys { .. } => {
                let shares = vec![EncryptedShare { peer: 1, ciphertext: vec![1] }];
                let deadline = seconds(5);
                let next = MaskedInputRequest { round: ROUND, shares, deadline };
                let next = ServerMessage::MaskedInputRequest(next);
                once(&mut self.shares, message, &mut self.order, next)
            }
            ClientMessage::UnmaskingShares { .. } => {
                assert!(self.unmasking.as_ref().is_none_or(|known| *known == message));
                self.unmasking = Some(message);
                Vec::new()
            }
            ClientMessage::UpdateBegin(begin) => {
                assert!(self.begin.as_ref().is_none_or(|known| *known == begin), "{begin:?}");
                self.begin = Some(begin);
                if self.is_judged() {
                    return self.judge();
                }
                let offset = self.received.len() as u64;
                vec![ServerMessage::UploadReady { round: ROUND, offset }]
            }
            ClientMessage::UpdateChunk(chunk) => {
                let offset = self.received.len() as u64;
                let expected = UpdateChunk::new(chunk.round, offset, chunk.data.clone());
                assert_eq!(chunk, expected, "in order, nothing twice");
                self.received.extend_from_slice(&chunk.data);
                if self.is_judged() { self.judge() } else { Vec::new() }
            }
            ClientMessage::SetAvailability(Availability::Available) => vec![self.order.clone()],
            ClientMessage::Ping { nonce } => vec![ServerMessage::Pong { nonce }],
            other => panic!("{other:?}"),
        }
    }

    fn judge(&mut self) -> Vec<ServerMessage> {
        let verdict = UpdateVerdict::Accepted;
        let outcome = UpdateOutcome { round: ROUND, verdict, message: String::new() };
        let mut answers = vec![ServerMessage::UpdateOutcome(outcome)];
        if self.secure && !matches!(self.order, ServerMessage::UnmaskingRequest(_)) {
            let (survivors, deadline) = (vec![0, 2, 5], seconds(5));
            let ask = UnmaskingRequest { round: ROUND, survivors, deadline };
            self.order = ServerMessage::UnmaskingRequest(ask);
            answers.push(self.order.clone());
        }
        answers
    }
}

/// Takes an answer that may come again, and goes on to the next order at the first.
fn once(
    known: &mut Option<ClientMessage>,
    message: ClientMessage,
    order: &mut ServerMessage,
    next: ServerMessage,
) -> Vec<ServerMessage> {
    if let Some(known) = known {
        assert_eq!(*known, message, "the same answer");
        return Vec::new();
    }
    *known = Some(message);
    *order = next.clone();
    vec![next]
}

/// Work to be done outside of the session.
#[derive(Clone, Debug)]
enum Task {
    Open,
    Download,
    Train,
    Step(SecureRequest),
    Record,
}

/// Both of them, and the wire between.
struct World {
    rig: Rig,
    mechanism: Option<Mechanism>,
    server: Server,
    up: VecDeque<ClientMessage>,
    down: VecDeque<ServerMessage>,
    connected: bool,
    tasks: VecDeque<Task>,
    trainings: u32,
    accepted: u32,
    records: u32,
    /// Differs in everything that is worked out.
    dice: u8,
}

impl World {
    fn new(mechanism: Option<Mechanism>) -> Self {
        let rig = Rig::with(config(), mechanism.map(policy));
        let order = match mechanism {
            None => assignment(ROUND),
            Some(_) => private::private_assignment(ROUND),
        };
        let server = Server {
            said: Vec::new(),
            secure: mechanism == Some(Mechanism::Distributed),
            order,
            keys: None,
            shares: None,
            begin: None,
            received: Vec::new(),
            unmasking: None,
        };
        let mut world = Self {
            rig,
            mechanism,
            server,
            up: VecDeque::new(),
            down: VecDeque::new(),
            connected: false,
            tasks: VecDeque::new(),
            trainings: 0,
            accepted: 0,
            records: 0,
            dice: 0,
        };
        world.rig.has_data = true;
        world.feed(Event::Start);
        world
    }

    fn feed(&mut self, event: Event) {
        let mut ready = false;
        for action in self.rig.feed(event) {
            match action {
                Action::Connect => self.tasks.push_front(Task::Open),
                Action::Disconnect { .. } => panic!("the server does nothing wrong"),
                Action::Work(_) => {
                    self.trainings += 1;
                    self.tasks.push_back(Task::Download);
                }
                Action::Secure(_, request) => self.tasks.push_back(Task::Step(request)),
                Action::Record { participations, .. } => {
                    assert_eq!(participations, 1);
                    self.records += 1;
                    self.tasks.push_back(Task::Record);
                }
                Action::Abort => panic!("the work was ended"),
                Action::Emit(ClientEvent::Update { outcome, .. }) => {
                    assert_eq!(outcome, UpdateFate::Accepted);
                    self.accepted += 1;
                }
                Action::Judge => ready = true,
                Action::Emit(_) => {}
            }
        }
        if ready {
            self.feed(Event::DataReady);
        }
    }

    /// One of the things that may happen next; none if there is nothing of the kind.
    fn happen(&mut self, what: u8) {
        match what {
            0 if self.connected => self.up.extend(self.rig.session.poll_transmit()),
            0 => {}
            1 => {
                if let Some(message) = self.up.pop_front() {
                    let message = ClientMessage::decode(message.encode()).unwrap();
                    self.down.extend(self.server.answer(message, &self.rig.task));
                }
            }
            2 => {
                if let Some(message) = self.down.pop_front() {
                    self.feed(Event::Received(message));
                }
            }
            3 => self.work(),
            4 => {
                if let Some(at) = self.rig.session.deadline().filter(|_| !self.connected) {
                    self.rig.now = self.rig.now.max(at);
                    if !self.tasks.iter().any(|task| matches!(task, Task::Open)) {
                        self.feed(Event::Timer);
                    }
                }
            }
            _ => self.lose(),
        }
    }

    fn lose(&mut self) {
        if std::mem::replace(&mut self.connected, false) {
            self.up.clear();
            self.down.clear();
            self.feed(Event::Disconnected { reason: "broken".into() });
        }
    }

    fn work(&mut self) {
        let Some(task) = self.tasks.pop_front() else {
            return;
        };
        self.dice += 1;
        let event = match task {
            Task::Open => {
                self.connected = true;
                Event::Connected { token: None }
            }
            Task::Download => {
                self.tasks.push_back(Task::Train);
                Event::Downloaded { round: ROUND }
            }
            Task::Train if self.server.secure => {
                let keys = AdvertisedKeys { encryption: [self.dice; 32], masking: [2; 32] };
                Event::Secured { round: ROUND, reply: SecureReply::Keys(keys) }
            }
            Task::Train => {
                Event::Trained { round: ROUND, update: vec![self.dice; 30].into(), examples: 60 }
            }
            Task::Record => Event::Recorded { round: ROUND },
            Task::Step(request) => Event::Secured { round: ROUND, reply: self.reply(&request) },
        };
        self.feed(event);
    }

    fn reply(&self, request: &SecureRequest) -> SecureReply {
        let share = RevealedShare { peer: 2, share: [self.dice; 32] };
        match request {
            SecureRequest::Share(_) => {
                let ciphertext = vec![self.dice];
                SecureReply::Shares(vec![EncryptedShare { peer: 1, ciphertext }])
            }
            SecureRequest::Mask(_) => SecureReply::Masked(vec![self.dice; 30].into()),
            SecureRequest::Unmask(_) => {
                SecureReply::Unmasking { self_masks: vec![share], pairwise: Vec::new() }
            }
        }
    }

    /// Connections hold from now on.
    fn finish(&mut self) {
        for step in 0.. {
            let done = self.server.is_done() && self.accepted == 1 && self.down.is_empty();
            if done && self.rig.session.is_member() {
                break;
            }
            assert!(step < ENOUGH, "the round does not end");
            self.happen((step % 5) as u8);
        }
        assert!(self.server.received.windows(2).all(|pair| pair[0] == pair[1]), "one update");
        assert_eq!(self.server.received.len(), 30);
        assert_eq!(self.trainings, 1, "trained once");
        assert_eq!(self.records, u32::from(self.mechanism.is_some()), "counted once");
        let over = ServerMessage::TaskStatus(Box::new(status(2, RoundPhase::Selecting)));
        let actions = self.rig.feed(Event::Received(over));
        assert_eq!(state(&actions), Some(SessionState::Waiting));
        assert_eq!(self.accepted, 1, "told once");
    }
}

proptest! {
    #[test]
    fn a_round_ends_with_one_update_wherever_connections_break(
        which in 0usize..4,
        // Breaks are rarer than the rest, or nothing would ever get far.
        script in proptest::collection::vec(prop_oneof![9 => 0u8..5, 1 => Just(5u8)], 0..400),
    ) {
        let mechanisms = [
            None,
            Some(Mechanism::Local),
            Some(Mechanism::Central(CentralNoise::Independent)),
            Some(Mechanism::Distributed),
        ];
        let mut world = World::new(mechanisms[which]);
        for what in script {
            world.happen(what);
        }
        world.finish();
    }
}

#[test]
fn a_round_ends_with_one_update_when_every_step_breaks_once() {
    for mechanism in [None, Some(Mechanism::Local), Some(Mechanism::Distributed)] {
        for broken in 0..150 {
            let mut world = World::new(mechanism);
            for step in 0..broken {
                world.happen((step % 5) as u8);
            }
            world.lose();
            world.finish();
        }
    }
}
