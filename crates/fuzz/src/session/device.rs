//! Environment of a session on a device: socket, clock, trainer, storage. It does what
//! the session says and checks what must hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use fedra_edge_client::session::{Action, Event, SecureReply, SecureRequest, Session};
use fedra_edge_client::{ClientEvent, Consent, Failure, PrivacyConfig, PrivacyFloors};
use fedra_protocol::{
    AdvertisedKeys, Availability, ClientMessage, EncryptedShare, Mechanism, RevealedShare, RoundId,
    ServerMessage, SubjectId, TaskDescription, Token, UpdateBegin, UpdateChunk,
};

use super::wire;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Socket {
    None,
    Opening,
    Open,
}

/// Work that the session has asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Job {
    Train(RoundId),
    Share(RoundId),
    Mask(RoundId),
    Unmask(RoundId),
}

impl Job {
    fn round(self) -> RoundId {
        match self {
            Self::Train(round) | Self::Share(round) | Self::Mask(round) | Self::Unmask(round) => {
                round
            }
        }
    }
}

/// Traffic of the present connection.
#[derive(Default)]
struct Connection {
    messages: usize,
    announced: Option<UpdateBegin>,
    /// Rounds for which the server has said that it has room.
    room: BTreeSet<RoundId>,
}

pub struct Device {
    pub session: Session,
    pub task: TaskDescription,
    pub now: Duration,
    /// The round of the last work, for a server that wants to make sense.
    pub round: Option<RoundId>,
    socket: Socket,
    connection: Connection,
    job: Option<Job>,
    /// True if participations cannot be written down.
    disk_is_full: bool,
    recorded: BTreeSet<RoundId>,
    participations: u32,
    most: Option<u32>,
    paused: bool,
    agreed: bool,
    /// True if the examples fit the task, once there are some.
    fits: Option<bool>,
    /// True if the session was told last that they do.
    ready: bool,
    /// True if it was ever told so.
    was_ready: bool,
    /// True if training found that they do not, after all.
    is_unfit: bool,
    /// Every update that came out of work, by its announcement.
    updates: BTreeMap<(RoundId, u32), Bytes>,
    /// The announcement that left under a policy, by round.
    sent: BTreeMap<RoundId, UpdateBegin>,
    /// The other answers that left, by round and step.
    answers: BTreeMap<(RoundId, u8), ClientMessage>,
}

impl Device {
    pub fn new(input: &mut Unstructured<'_>) -> Result<Self> {
        let task = wire::task(input)?;
        let agreed = input.int_in_range(0..=3)? > 0;
        let most = input.arbitrary::<bool>()?.then_some(2);
        let participations = input.int_in_range(0..=1)?;
        let config = PrivacyConfig {
            floors: PrivacyFloors { max_participations: most, ..PrivacyFloors::default() },
            consent: if agreed { Consent::Granted } else { Consent::Ask },
            subject: SubjectId::from_bytes([7; 16]),
            participations,
        };
        Ok(Self {
            session: Session::new(task.id.clone(), config),
            task,
            now: Duration::from_secs(100),
            round: None,
            socket: Socket::None,
            connection: Connection::default(),
            job: None,
            disk_is_full: false,
            recorded: BTreeSet::new(),
            participations,
            most,
            paused: false,
            agreed,
            fits: Some(true),
            ready: false,
            is_unfit: false,
            was_ready: false,
            updates: BTreeMap::new(),
            sent: BTreeMap::new(),
            answers: BTreeMap::new(),
        })
    }

    pub fn is_open(&self) -> bool {
        self.socket == Socket::Open
    }

    /// Gives the session an event and does what it says.
    pub fn feed(&mut self, event: Event) {
        let mut actions = self.handle(event);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Record { round, participations } => {
                    let event = self.record(round, participations);
                    actions.extend(self.handle(event));
                }
                Action::Judge => {
                    let verdict = self.judge();
                    actions.extend(verdict.into_iter().flat_map(|event| self.handle(event)));
                }
                action => self.act(action),
            }
        }
    }

    fn handle(&mut self, event: Event) -> VecDeque<Action> {
        let over = self.session.is_closed();
        let actions = self.session.handle(event, self.now, 0.5);
        assert!(!over || actions.is_empty(), "a closed session has nothing to do: {actions:?}");
        actions.into()
    }

    /// Checks the invariants that hold between any two events.
    pub fn check(&self) {
        match self.session.deadline() {
            None => assert!(
                self.socket == Socket::None || self.session.is_closed(),
                "a socket that nothing watches"
            ),
            Some(_) => assert!(!self.session.is_closed()),
        }
        if self.session.is_closed() {
            assert_eq!(self.socket, Socket::None, "a socket that nobody closes");
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect => {
                assert_eq!(self.socket, Socket::None, "a second socket");
                self.socket = Socket::Opening;
            }
            Action::Disconnect { .. } => self.hang_up(),
            Action::Work(assignment) => {
                assert!(!self.paused, "work for a client that is paused");
                assert!(self.ready, "work for a client without data");
                assert!(!self.is_unfit, "work that failed for good");
                assert!(self.agreed || !self.is_private(), "work without consent");
                assert_eq!(assignment.privacy.is_some(), self.is_private());
                self.start(Job::Train(assignment.round));
            }
            Action::Secure(round, request) => {
                assert!(self.is_private());
                self.start(match request {
                    SecureRequest::Share(_) => Job::Share(round),
                    SecureRequest::Mask(_) => {
                        assert!(self.recorded.contains(&round), "masked before it was counted");
                        Job::Mask(round)
                    }
                    SecureRequest::Unmask(_) => Job::Unmask(round),
                });
            }
            Action::Record { .. } | Action::Judge => unreachable!("`feed` has seen to it"),
            Action::Abort => self.job = None,
            Action::Emit(event) => {
                let json = serde_json::to_string(&event);
                assert!(json.is_ok(), "{event:?} cannot be told");
                if let ClientEvent::Error { fatal: true, .. } = event {
                    assert!(self.session.is_closed());
                }
            }
        }
    }

    /// Holds the examples against the task, as the real driver does.
    fn judge(&mut self) -> Option<Event> {
        assert!(self.session.task().is_some(), "nothing to hold them against");
        let fits = self.fits?;
        self.ready = fits;
        self.was_ready |= fits;
        self.is_unfit &= !fits;
        let reason = "they do not fit".into();
        Some(if fits { Event::DataReady } else { Event::Misfit { reason } })
    }

    /// Writes a participation down, as the real driver does: before anything else.
    fn record(&mut self, round: RoundId, participations: u32) -> Event {
        assert!(self.is_private());
        assert_eq!(participations, self.participations + 1);
        assert!(self.most.is_none_or(|most| participations <= most), "too often");
        if self.disk_is_full {
            let reason = "the disk is full".into();
            return Event::Failed { round, failure: Failure::ParticipationNotKept, reason };
        }
        assert!(self.recorded.insert(round), "one participation counted twice");
        self.participations += 1;
        Event::Recorded { round }
    }

    fn start(&mut self, job: Job) {
        assert_eq!(self.job, None, "work beside work, without a word that the first is off");
        self.round = Some(job.round());
        self.job = Some(job);
    }

    fn is_private(&self) -> bool {
        self.task.privacy.is_some()
    }

    fn is_secure(&self) -> bool {
        let policy = self.task.privacy.as_ref();
        policy.is_some_and(|policy| policy.mechanism == Mechanism::Distributed)
    }

    fn hang_up(&mut self) {
        self.socket = Socket::None;
        self.connection = Connection::default();
    }
}

/// Events that happen to the device.
impl Device {
    /// The socket opens, or breaks.
    pub fn network(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        match self.socket {
            Socket::Opening => match input.int_in_range(0..=7)? {
                0 => self.lost(Event::Disconnected { reason: "no route".into() }),
                1 => self.lost(Event::NoToken { reason: "signed out".into() }),
                2..=3 => self.open(None),
                some => self.open(Some(Token::new(format!("token-{some}")).expect("visible"))),
            },
            Socket::None => {}
            Socket::Open if input.int_in_range(0..=7)? == 0 => self.lost(Event::Vanished),
            Socket::Open => self.lost(Event::Disconnected { reason: "gone".into() }),
        }
        Ok(())
    }

    fn open(&mut self, token: Option<Token>) {
        self.socket = Socket::Open;
        self.feed(Event::Connected { token });
    }

    fn lost(&mut self, event: Event) {
        self.hang_up();
        self.feed(event);
    }

    pub fn receive(&mut self, message: ServerMessage) {
        if !self.is_open() {
            return;
        }
        if let ServerMessage::UploadReady { round, .. } = message {
            self.connection.room.insert(round);
        }
        self.feed(Event::Received(message));
    }

    /// A whole handshake, as an honest server does it.
    pub fn greet(&mut self) {
        if self.socket == Socket::None {
            self.timer();
        }
        if self.socket == Socket::Opening {
            self.open(None);
        }
        if self.is_open() && self.connection.messages == 0 {
            let mut plain = Unstructured::new(&[]);
            self.transmit();
            self.receive(wire::welcome(&mut plain).expect("zeros are enough"));
            self.transmit();
            let answer = wire::checked_in(&mut plain, self).expect("zeros are enough");
            self.receive(answer);
        }
    }

    /// The time that the session waits for comes.
    pub fn timer(&mut self) {
        let Some(deadline) = self.session.deadline() else { return };
        self.now = self.now.max(deadline);
        self.feed(Event::Timer);
        let next = self.session.deadline();
        assert!(next.is_none_or(|next| next > self.now), "a timer that is due again at once");
    }

    /// The owner gives other examples.
    pub fn gets_data(&mut self, fits: bool) {
        self.fits = Some(fits);
        self.feed(Event::DataGiven);
    }

    pub fn pause(&mut self) {
        self.paused = true;
        self.feed(Event::Pause);
        assert_eq!(self.job, None, "work goes on in a pause");
    }

    pub fn resume(&mut self) {
        self.paused = false;
        self.feed(Event::Resume);
    }

    pub fn consent(&mut self) {
        self.agreed = true;
        self.feed(Event::Consent);
    }

    /// There is room for participations again, or none any more.
    pub fn toggle_disk(&mut self) {
        self.disk_is_full = !self.disk_is_full;
    }

    /// Work has news.
    pub fn work(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let Some(job) = self.job else { return Ok(()) };
        let round = job.round();
        match input.int_in_range(0..=15)? {
            0 => {
                self.job = None;
                let reason = "x".repeat(input.arbitrary::<u16>()?.into());
                let failure = *input.choose(&[
                    Failure::TrainingFailed,
                    Failure::TrainingDiverged,
                    Failure::BadDataset,
                    Failure::ModelUnavailable,
                ])?;
                self.is_unfit |= failure == Failure::BadDataset && self.session.privacy().is_none();
                self.feed(Event::Failed { round, failure, reason });
            }
            1..=3 if matches!(job, Job::Train(_)) => self.feed(Event::Downloaded { round }),
            _ => {
                self.job = None;
                let done = self.done(input, job)?;
                self.feed(done);
            }
        }
        Ok(())
    }

    fn done(&mut self, input: &mut Unstructured<'_>, job: Job) -> Result<Event> {
        let round = job.round();
        let byte: u8 = input.arbitrary()?;
        let reply = match job {
            Job::Train(_) if self.is_secure() => {
                SecureReply::Keys(AdvertisedKeys { encryption: [byte; 32], masking: [byte; 32] })
            }
            Job::Train(_) => {
                let update = self.update(round, byte, input.int_in_range(0..=12)?);
                let examples = if self.is_private() { 1 } else { byte.into() };
                return Ok(Event::Trained { round, update, examples });
            }
            Job::Share(_) => {
                SecureReply::Shares(vec![EncryptedShare { peer: 1, ciphertext: vec![byte] }])
            }
            Job::Mask(_) => {
                let length = input.int_in_range(0..=12)?;
                SecureReply::Masked(self.update(round, byte, length))
            }
            Job::Unmask(_) => SecureReply::Unmasking {
                self_masks: vec![RevealedShare { peer: 1, share: [byte; 32] }],
                pairwise: Vec::new(),
            },
        };
        Ok(Event::Secured { round, reply })
    }

    fn update(&mut self, round: RoundId, byte: u8, length: u8) -> Bytes {
        let update: Bytes = (0..length).map(|i| byte ^ i).collect();
        self.updates.insert((round, crc32fast::hash(&update)), update.clone());
        update
    }

    /// News of work that was called off, or of nothing at all.
    pub fn stray(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let round = wire::round(input)?;
        if self.job.is_some_and(|job| job.round() == round) {
            return Ok(());
        }
        match input.int_in_range(0..=4)? {
            0 => self.feed(Event::Downloaded { round }),
            1 => {
                let update = self.update(round, input.arbitrary()?, 3);
                self.feed(Event::Trained { round, update, examples: 1 });
            }
            2 => {
                let keys = AdvertisedKeys { encryption: [1; 32], masking: [2; 32] };
                self.feed(Event::Secured { round, reply: SecureReply::Keys(keys) });
            }
            3 => self.feed(Event::Recorded { round }),
            _ => {
                let reason = "late".into();
                self.feed(Event::Failed { round, failure: Failure::TrainingFailed, reason });
            }
        }
        Ok(())
    }
}

/// Output of the device.
impl Device {
    /// Sends one message, if there is a socket.
    pub fn transmit(&mut self) {
        if !self.is_open() {
            if !self.session.is_closed() {
                assert_eq!(self.session.poll_transmit(), None, "for the next connection");
            }
            return;
        }
        let Some(message) = self.session.poll_transmit() else { return };
        assert_eq!(ClientMessage::decode(message.encode()).as_ref(), Ok(&message));
        self.connection.messages += 1;
        let place = self.connection.messages;
        assert_eq!(place == 1, matches!(message, ClientMessage::Hello(_)), "{message:?}");
        assert_eq!(place == 2, matches!(message, ClientMessage::CheckIn { .. }), "{message:?}");
        match message {
            ClientMessage::CheckIn { availability, .. }
            | ClientMessage::SetAvailability(availability) => {
                let available = availability == Availability::Available;
                assert!(self.was_ready || !available, "takes part without data");
            }
            ClientMessage::UpdateBegin(begin) => self.announces(begin),
            ClientMessage::UpdateChunk(chunk) => self.sends(&chunk),
            ClientMessage::AdvertiseKeys { round, .. } => self.answers(round, 0, &message),
            ClientMessage::ShareKeys { round, .. } => self.answers(round, 1, &message),
            ClientMessage::UnmaskingShares { round, .. } => self.answers(round, 2, &message),
            _ => {}
        }
    }

    fn announces(&mut self, begin: UpdateBegin) {
        let update = self.updates.get(&(begin.round, begin.crc32));
        assert_eq!(update.map(|update| update.len() as u64), Some(begin.bytes), "made up");
        if self.is_private() {
            assert!(self.recorded.contains(&begin.round), "it left before it was counted");
            assert_eq!(begin.examples, 1);
            let first = self.sent.entry(begin.round).or_insert_with(|| begin.clone());
            assert_eq!(*first, begin, "one round's update under other noise");
        }
        self.connection.announced = Some(begin);
    }

    fn sends(&self, chunk: &UpdateChunk) {
        assert_eq!(*chunk, UpdateChunk::new(chunk.round, chunk.offset, chunk.data.clone()));
        assert!((1..=wire::CHUNK as usize).contains(&chunk.data.len()));
        assert!(self.connection.room.contains(&chunk.round), "before the server has room");
        let Some(begin) = &self.connection.announced else { panic!("a chunk of nothing") };
        assert_eq!(chunk.round, begin.round);
        let update = &self.updates[&(begin.round, begin.crc32)];
        let from = chunk.offset as usize;
        assert_eq!(update.get(from..from + chunk.data.len()), Some(&chunk.data[..]));
    }

    fn answers(&mut self, round: RoundId, step: u8, message: &ClientMessage) {
        let earlier = self.answers.insert((round, step), message.clone());
        // A client that has left a round may begin it anew until it is counted.
        if let Some(earlier) = earlier.filter(|_| self.recorded.contains(&round)) {
            assert_eq!(earlier, *message, "a second answer to one step");
        }
    }
}
