//! Untrusted clients: they connect, send anything at any time, and disconnect. For
//! fuzzing, and for replaying what fuzzing has found.
//!
//! The server is the production core, worker and conversations. The same bytes
//! are always the same history.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use fedra_coordinator::messages::{Command, Departure, RequestId};
use fedra_coordinator::participation::Pace;
use fedra_coordinator::round::{Mode, Operation, RoundPlan, Stage};
use fedra_coordinator::settings::Counting;
use fedra_coordinator::storage::Storage;
use fedra_learning::safetensors;
use fedra_protocol::limits::MAX_PARTICIPATIONS;
use fedra_protocol::{
    AdvertisedKeys, Availability, Capabilities, CentralNoise, ClientMessage, EncryptedShare, Hello,
    Mechanism, PROTOCOL_VERSION, PrivacyPolicy, RevealedShare, RoundId, ServerMessage, SubjectId,
    UpdateBegin, UpdateChunk,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::network::LinkId;
use crate::scenario::{PLAN, Task, settings};
use crate::server::{Server, ServerEffect};

const STRANGERS: usize = 4;
const REQUEST: RequestId = RequestId(0);
/// Longest time that passes at once.
const LONGEST: Duration = Duration::from_secs(20);
/// Maximum number of wakings in one such time; more are a busy loop.
const WAKINGS: usize = 1_000;

/// Kinds of tasks: plain, buffered, under each policy, and buffered with masking groups.
const TASKS: usize = 6;

/// A history: [task, (what happens)...].
///
/// # Panics
///
/// If a promise is broken: a stage outlasts its deadline, an update counts twice,
/// a message cannot be decoded, or a model is not a model.
pub fn strangers(data: &[u8]) {
    let mut input = Input(data);
    let mut street = Street::new(input.below(TASKS));
    while !input.0.is_empty() {
        street.happen(&mut input);
        street.check();
    }
    street.work();
    street.check_model();
}

/// Choices, a byte each; zeros once there are no more.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, most: usize) -> usize {
        usize::from(self.byte()) % most
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

fn task(number: usize) -> &'static Task {
    static MADE: [OnceLock<Task>; TASKS] = [const { OnceLock::new() }; TASKS];
    MADE[number].get_or_init(|| {
        let mode = match number {
            1 | 5 => Mode::Buffered { max_staleness: 1, staleness_exponent: 0.5 },
            _ => Mode::Synchronous,
        };
        let plan = RoundPlan {
            mode,
            invited: 4,
            minimum_cohort: 3,
            minimum_reports: 3,
            report_goal: 4,
            reconnect_grace: Duration::from_secs(1),
            ..PLAN
        };
        let mechanism = match number {
            2 | 5 => Some(Mechanism::Distributed),
            3 => Some(Mechanism::Local),
            4 => Some(Mechanism::Central(CentralNoise::Independent)),
            _ => None,
        };
        let counting = if number == 4 { Counting::Subjects } else { Counting::Rounds };
        let policy = mechanism.map(|mechanism| PrivacyPolicy {
            mechanism,
            noise_multiplier: 1.0,
            clipping_norm: 1.0,
            target_quantile: None,
            epsilon: 1000.0,
            delta: 1e-5,
            cohort: 4,
            minimum_survivors: 3,
            colluders: 0,
            max_participations: if number == 4 { 3 } else { MAX_PARTICIPATIONS },
        });
        let settings = settings("street", 2, plan, policy, counting);
        let pace = Pace::new(Duration::from_secs(1), 4096);
        Task { settings: Arc::new(settings), pace }
    })
}

#[derive(Default)]
struct Stranger {
    link: Option<LinkId>,
    round: Option<RoundId>,
    /// Makes its updates, keys and shares different from those of others.
    seed: u8,
    neighbours: Vec<u32>,
    /// Next messages of an honest client.
    outbox: VecDeque<ClientMessage>,
}

impl Stranger {
    fn subject(number: usize) -> SubjectId {
        SubjectId::from_bytes([number as u8; 16])
    }

    fn update(&self, length: usize) -> Bytes {
        // Of floats, 0x3c3c3c3c is small, and 0xffffffff is none.
        let byte = [0, 0, 0x3c, 0xff, self.seed][usize::from(self.seed) % 5];
        vec![byte; length].into()
    }

    fn begin(&self, round: RoundId, length: usize) -> ClientMessage {
        let update = self.update(length);
        let (bytes, crc32) = (update.len() as u64, crc32fast::hash(&update));
        ClientMessage::UpdateBegin(UpdateBegin { round, bytes, examples: 1, crc32 })
    }

    fn chunk(&self, round: RoundId, offset: u64, length: usize) -> ClientMessage {
        let update = self.update(length);
        let from = (offset as usize).min(length);
        let data = update.slice(from..(from + 8).min(length));
        ClientMessage::UpdateChunk(UpdateChunk::new(round, offset, data))
    }

    fn keys(&self, round: RoundId) -> ClientMessage {
        // Sound, and no other client's: the highest bit is clear.
        let key = |first: u8| {
            let mut key = [self.seed & 0x7f; 32];
            key[0] = first;
            key
        };
        let keys = AdvertisedKeys { encryption: key(1), masking: key(2) };
        ClientMessage::AdvertiseKeys { round, keys }
    }

    fn shares(&self, round: RoundId) -> ClientMessage {
        let share = |&peer: &u32| EncryptedShare { peer, ciphertext: vec![self.seed; 80] };
        ClientMessage::ShareKeys { round, shares: self.neighbours.iter().map(share).collect() }
    }

    fn unmasking(&self, round: RoundId, survivors: &[u32]) -> ClientMessage {
        let share = |&peer: &u32| RevealedShare { peer, share: [self.seed & 0x0f; 32] };
        let survived = |peer: &&u32| survivors.contains(peer);
        ClientMessage::UnmaskingShares {
            round,
            self_masks: self.neighbours.iter().filter(survived).map(share).collect(),
            pairwise: self.neighbours.iter().filter(|peer| !survived(peer)).map(share).collect(),
        }
    }
}

struct Street {
    server: Server,
    store: Storage,
    strangers: [Stranger; STRANGERS],
    now: Duration,
    links: u64,
    rng: StdRng,
    /// Clients that have announced an update, with its round.
    announced: BTreeSet<(usize, RoundId)>,
}

impl Street {
    fn new(number: usize) -> Self {
        let store = Storage::in_memory();
        let server = Server::start(&store, task(number), 1, Duration::ZERO, None);
        Self {
            server: server.expect("an empty store"),
            store,
            strangers: Default::default(),
            now: Duration::ZERO,
            links: 0,
            rng: StdRng::seed_from_u64(1),
            announced: BTreeSet::new(),
        }
    }

    fn happen(&mut self, input: &mut Input<'_>) {
        let what = input.byte();
        let who = usize::from(what >> 4) % STRANGERS;
        match what % 16 {
            0 => self.connect(who, input.byte()),
            1 => self.hang_up(who, input.byte()),
            2..=5 => {
                if let Some(message) = self.strangers[who].outbox.pop_front() {
                    self.say(who, message);
                }
            }
            6 => {
                if let Some(message) = self.strangers[who].outbox.front().cloned() {
                    self.say(who, message);
                }
            }
            7 => drop(self.strangers[who].outbox.pop_front()),
            8..=9 => {
                let message = self.anything(who, input);
                self.say(who, message);
            }
            10 => {
                let length = input.byte();
                let bytes = Bytes::copy_from_slice(input.bytes(length.into()));
                match ClientMessage::decode(bytes) {
                    Ok(message) => self.say(who, message),
                    Err(_) => self.hang_up(who, 0),
                }
            }
            11 => self.work(),
            12 => {
                let wake = self.server.wake_at().unwrap_or(self.now);
                self.pass(wake.min(self.now + LONGEST));
            }
            13 => self.pass(self.now + Duration::from_millis(20 * u64::from(input.byte()))),
            14 => self.operate(input.byte()),
            _ => self.poll(who),
        }
        if what & 0x40 == 0 {
            (0..STRANGERS).for_each(|who| self.poll(who));
        }
    }

    fn connect(&mut self, who: usize, seed: u8) {
        self.hang_up(who, seed);
        self.links += 1;
        let link = LinkId(self.links);
        self.server.connect(link, who);
        let stranger = &mut self.strangers[who];
        (stranger.link, stranger.seed) = (Some(link), seed);
        let versions = vec![PROTOCOL_VERSION];
        stranger.outbox =
            [ClientMessage::Hello(Hello { versions, software: String::new() })].into();
    }

    fn hang_up(&mut self, who: usize, how: u8) {
        let Some(link) = self.strangers[who].link.take() else { return };
        let departure = if how.is_multiple_of(2) { Departure::Lost } else { Departure::Closed };
        let mut effects = Vec::new();
        self.server.disconnect(link, departure, self.now, &mut self.rng, &mut effects);
        self.grant(effects);
    }

    fn say(&mut self, who: usize, message: ClientMessage) {
        let Some(link) = self.strangers[who].link else { return };
        if let ClientMessage::UpdateBegin(begin) = &message {
            self.announced.insert((who, begin.round));
        }
        let mut effects = Vec::new();
        self.server.receive(link, message, self.now, &mut self.rng, &mut effects);
        self.grant(effects);
    }

    fn poll(&mut self, who: usize) {
        let Some(link) = self.strangers[who].link else { return };
        let mut effects = Vec::new();
        self.server.poll(link, self.now, &mut self.rng, &mut effects);
        self.grant(effects);
    }

    fn command(&mut self, command: Command) {
        let mut effects = Vec::new();
        self.server.command(command, self.now, &mut self.rng, &mut effects);
        self.grant(effects);
    }

    /// The worker does all that there is to do.
    fn work(&mut self) {
        loop {
            let done = self.server.work(self.now, &mut self.rng);
            if done.is_empty() {
                return;
            }
            done.into_iter().for_each(|command| self.command(command));
        }
    }

    fn pass(&mut self, until: Duration) {
        for _ in 0..WAKINGS {
            match self.server.wake_at() {
                Some(wake) if wake <= until => {
                    self.now = self.now.max(wake);
                    let mut effects = Vec::new();
                    self.server.time_passed(self.now, &mut self.rng, &mut effects);
                    self.grant(effects);
                }
                _ => {
                    self.now = self.now.max(until);
                    return;
                }
            }
        }
        panic!("the server wakes all the time: {:?}", self.server.progress());
    }

    fn operate(&mut self, what: u8) {
        let command = match what % 16 {
            0..=3 => Command::Operate(Operation::Pause, REQUEST),
            4..=13 => Command::Operate(Operation::Resume, REQUEST),
            14 => Command::RollBack((what >> 6).into(), REQUEST),
            _ => Command::Operate(Operation::Stop, REQUEST),
        };
        self.command(command);
    }

    /// Message of some kind, mostly about the round that the client is in.
    fn anything(&self, who: usize, input: &mut Input<'_>) -> ClientMessage {
        let stranger = &self.strangers[who];
        let choice = input.byte();
        let made_up = RoundId { round: u64::from(choice % 3), attempt: u32::from(choice >> 7) };
        let round = stranger.round.filter(|_| !choice.is_multiple_of(4)).unwrap_or(made_up);
        let right = self.update_bytes();
        let length = if choice % 8 == 7 { input.byte().into() } else { right };
        match input.below(12) {
            0..=1 => stranger.begin(round, length),
            2..=3 => stranger.chunk(round, u64::from(input.byte() % 4) * 8, length),
            4 => ClientMessage::Decline { round, reason: "no".into(), cause: None },
            5 => ClientMessage::SetAvailability(Availability::Paused),
            6 => ClientMessage::SetAvailability(Availability::Available),
            7 => stranger.keys(round),
            8 => stranger.shares(round),
            9 => stranger.unmasking(round, &[0, 1, 2]),
            10 => self.check_in(who),
            _ => ClientMessage::Ping { nonce: choice.into() },
        }
    }

    /// Bytes of an update of the task.
    fn update_bytes(&self) -> usize {
        self.server.settings.codec.bounds().bytes.most() as usize
    }

    fn check_in(&self, who: usize) -> ClientMessage {
        let task = self.server.settings.id.clone();
        ClientMessage::CheckIn {
            task,
            availability: Availability::Available,
            subject: Some(Stranger::subject(who)),
            token: None,
            capabilities: Capabilities::all(),
        }
    }

    fn grant(&mut self, effects: Vec<ServerEffect>) {
        for effect in effects {
            match effect {
                ServerEffect::Send(link, message) => {
                    // Compared as bytes: on the wire a time has whole milliseconds.
                    let bytes = message.encode();
                    let read = ServerMessage::decode(bytes.clone()).map(|read| read.encode());
                    assert_eq!(read, Ok(bytes), "a client could not read this: {message:?}");
                    let known = |stranger: &Stranger| stranger.link == Some(link);
                    if let Some(who) = self.strangers.iter().position(known) {
                        self.hear(who, *message);
                    }
                }
                ServerEffect::Close(link) => {
                    for stranger in self.strangers.iter_mut().filter(|s| s.link == Some(link)) {
                        stranger.link = None;
                    }
                }
                ServerEffect::Publish(_) | ServerEffect::Work => {}
            }
        }
    }

    /// Notes what an honest client would answer.
    fn hear(&mut self, who: usize, message: ServerMessage) {
        let length = self.update_bytes();
        let masks = self.server.settings.plan.first_stage() == Stage::Keys;
        let check_in = self.check_in(who);
        let stranger = &mut self.strangers[who];
        let answer = match message {
            ServerMessage::Welcome(_) => check_in,
            ServerMessage::RoundAssignment(assignment) => {
                stranger.round = Some(assignment.round);
                match masks {
                    true => stranger.keys(assignment.round),
                    false => stranger.begin(assignment.round, length),
                }
            }
            ServerMessage::UploadReady { round, offset } => {
                for offset in (offset..length as u64).step_by(8).skip(1) {
                    stranger.outbox.push_back(stranger.chunk(round, offset, length));
                }
                let first = stranger.chunk(round, offset, length);
                return stranger.outbox.push_front(first);
            }
            ServerMessage::KeyDirectory(directory) => {
                stranger.neighbours = directory.neighbours.iter().map(|n| n.index).collect();
                stranger.shares(directory.round)
            }
            ServerMessage::MaskedInputRequest(request) => stranger.begin(request.round, length),
            ServerMessage::UnmaskingRequest(request) => {
                stranger.unmasking(request.round, &request.survivors)
            }
            _ => return,
        };
        stranger.outbox.push_back(answer);
    }

    /// Checks the invariants that hold between any two events.
    fn check(&self) {
        if let Some(over) = self.server.overrun(self.now) {
            panic!("{:?} outlasts its deadline by {over:?}", self.server.progress());
        }
        let history = self.server.view().history.clone();
        let counted: u32 = history.iter().map(|record| record.reports).sum();
        assert!(counted as usize <= self.announced.len(), "an update that nobody sent, or twice");
        let rounds = history.iter().map(|record| record.round);
        assert!(rounds.eq(0..history.len() as u64), "a round is missing");
    }

    /// Checks that the newest model can be used after any messages.
    fn check_model(&self) {
        let settings = &self.server.settings;
        let newest = self.server.view().model.clone();
        let model = self.store.model(&settings.id, &newest.sha256).expect("a store in memory");
        let model = model.expect("the newest model is kept");
        let parameters = safetensors::read(&settings.model, &model);
        assert!(parameters.is_ok(), "{parameters:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seeds of updates that are zero, which every encoding takes.
    const SEEDS: [u8; STRANGERS] = [5, 6, 10, 11];

    /// Four clients that keep to the protocol to the end.
    fn polite(task: usize) -> Street {
        let mut street = Street::new(task);
        let everybody = || 0..STRANGERS as u8;
        for (who, seed) in everybody().zip(SEEDS) {
            street.happen(&mut Input(&[who << 4, seed]));
        }
        for _ in 0..200 {
            for who in everybody() {
                street.happen(&mut Input(&[who << 4 | 2]));
            }
            // The worker works, and a fifth of a second goes by.
            street.happen(&mut Input(&[11]));
            street.happen(&mut Input(&[13, 10]));
            street.check();
        }
        street
    }

    #[test]
    fn polite_strangers_come_far() {
        for task in 0..TASKS {
            let street = polite(task);
            street.check_model();
            let progress = street.server.progress();
            let masks = street.server.settings.plan.first_stage() == Stage::Keys;
            // Shares that were made up open no sum.
            let far = if masks { progress.round.attempt > 0 } else { progress.round.round > 2 };
            assert!(far, "task {task}: {progress:?}");
            assert!(!masks || !street.announced.is_empty(), "nobody was asked for a masked update");
        }
    }
}
