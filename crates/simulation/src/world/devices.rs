//! Devices: they connect, train, send and answer, and die, freeze and come back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fedra_edge_client::Failure;
use fedra_edge_client::encoding::PrivateRound;
use fedra_edge_client::secure_round::SecureRound;
use fedra_edge_client::session::{Action, Event as SessionEvent, SecureReply, SecureRequest};
use fedra_protocol::{AdvertisedKeys, ClientMessage, DeclineCause, RoundAssignment, RoundId};
use rand::{RngExt, SeedableRng};

use super::{Event, World, trace};
use crate::client::Client;
use crate::figures::Figure;
use crate::network::{Link, LinkId, Way, delay};
use crate::scenario::{Kind, Manner};
use fedra_coordinator::messages::Departure;

impl World {
    /// Puts an event off while the client is frozen.
    pub(crate) fn defer(&mut self, client: usize, event: Event) -> bool {
        let until = self.clients[client].frozen_until;
        let frozen = until > self.now;
        if frozen && until < Duration::MAX {
            self.agenda.at(until, event);
        }
        frozen
    }

    pub(crate) fn start(&mut self, client: usize) {
        let alive = self.clients[client].session.as_ref().is_some_and(|s| !s.is_closed());
        if alive {
            return;
        }
        self.note("switched on", Some(client), None);
        self.clients[client].start(self.scenario.task.settings.id.clone());
        self.feed(client, SessionEvent::Start);
    }

    /// Gives a client's session an event and does what it says.
    pub(crate) fn feed(&mut self, client: usize, event: SessionEvent) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let (now, jitter) = (self.now, self.rng.random());
            let Some(session) = &mut self.clients[client].session else { return };
            for action in session.handle(event, now, jitter) {
                events.extend(self.act(client, action));
            }
        }
        self.transmit(client);
        self.set_timer(client);
        let closed = self.clients[client].session.as_ref().is_some_and(|s| s.is_closed());
        if closed {
            // The page is opened again.
            self.clients[client].session = None;
            let pause = delay(&mut self.rng, Duration::from_secs(10));
            self.agenda.at(self.now + pause, Event::Start(client));
        }
    }

    fn act(&mut self, client: usize, action: Action) -> Option<SessionEvent> {
        match action {
            Action::Connect => self.connect(client),
            Action::Disconnect { .. } => self.hang_up(client),
            Action::Work(assignment) => self.train(client, *assignment),
            Action::Abort => {
                self.clients[client].work = None;
                self.clients[client].secret = None;
            }
            Action::Secure(round, request) => return self.secure(client, round, request),
            Action::Record { round, participations } => {
                self.clients[client].participations = participations;
                return Some(SessionEvent::Recorded { round });
            }
            // What a device has fits the task.
            Action::Judge => return Some(SessionEvent::DataReady),
            // The events have no reader.
            Action::Emit(_) => {}
        }
        None
    }

    fn connect(&mut self, client: usize) {
        let at = self.now + delay(&mut self.rng, self.faults.longest_delay);
        if self.server.is_none() {
            let life = self.clients[client].lives;
            self.agenda.at(at, Event::NoServer(client, life));
            return;
        }
        let again = u64::from(self.next_link >= self.clients.len() as u64);
        self.figures.count_many(Figure::Reconnects, again);
        self.next_link += 1;
        let link = LinkId(self.next_link);
        self.links.insert(link, Link::new(client));
        self.clients[client].link = Some(link);
        self.agenda.at(at, Event::Opened(link));
    }

    fn hang_up(&mut self, client: usize) {
        if let Some(link) = self.clients[client].link.take() {
            self.links.remove(&link);
            let at = self.now + delay(&mut self.rng, self.faults.longest_delay);
            self.agenda.at(at, Event::ServerNotices(link, Departure::Closed));
        }
    }

    fn train(&mut self, client: usize, assignment: RoundAssignment) {
        match self.clients[client].manner {
            Manner::Frozen => {
                self.clients[client].frozen_until = Duration::MAX;
                return;
            }
            Manner::Declines => {
                let (round, cause) = (assignment.round, Some(DeclineCause::TrainingFailed));
                let reason = "this device never trains".to_owned();
                return self.send(client, &ClientMessage::Decline { round, reason, cause });
            }
            Manner::Sound | Manner::Invalid => {}
        }
        let longest = if self.calm_since.is_some() { 500 } else { 15_000 };
        let takes = delay(&mut self.rng, Duration::from_millis(longest));
        let round = assignment.round;
        let device = &mut self.clients[client];
        device.works += 1;
        device.secret = None;
        device.work = Some((assignment, device.works));
        let event = Event::Trained(client, device.lives, round, device.works);
        self.agenda.at(self.now + takes, event);
    }

    pub(crate) fn trained(&mut self, client: usize, life: u64, round: RoundId, work: u64) {
        let device = &self.clients[client];
        let current = device.work.as_ref().is_some_and(|(_, current)| *current == work);
        if device.lives != life
            || !current
            || self.defer(client, Event::Trained(client, life, round, work))
        {
            return;
        }
        let Some((assignment, _)) = self.clients[client].work.take() else { return };
        let clients = self.clients.len();
        let invalid = self.clients[client].manner == Manner::Invalid;
        let (update, examples) = match self.scenario.kind {
            Kind::Masked | Kind::BufferedMasked => return self.keys(client, &assignment),
            Kind::Private | Kind::BufferedPrivate => (Client::update(client, clients), 1),
            Kind::Synchronous | Kind::Buffered => {
                (Client::update(client, clients), Client::weight(client))
            }
        };
        let update = if invalid { vec![0xff; update.len()].into() } else { update };
        self.feed(client, SessionEvent::Trained { round, update, examples });
    }

    /// Under secure aggregation an update stays, and keys go.
    fn keys(&mut self, client: usize, assignment: &RoundAssignment) {
        let task = &self.scenario.task.settings;
        let privacy = task.privacy.as_ref().zip(assignment.privacy.as_ref());
        let (privacy, terms) = privacy.expect("a masked task has a policy");
        let round = PrivateRound {
            task: task.id.clone(),
            round: assignment.round,
            privacy: Arc::clone(&privacy.derived),
            terms: *terms,
            weight: 1.0,
        };
        let update = Client::values(client, self.clients.len());
        let (secret, reply) = SecureRound::begin(round, update, &mut self.rng.fork());
        if self.clients[client].manner == Manner::Invalid {
            // The point at infinity, which shares no secret.
            let none = AdvertisedKeys { encryption: [0; 32], masking: [0; 32] };
            return self.later(client, assignment.round, SecureReply::Keys(none));
        }
        self.clients[client].secret = Some(secret);
        self.later(client, assignment.round, reply);
    }

    /// A step of secure aggregation: the production machine, which takes its time.
    fn secure(
        &mut self,
        client: usize,
        round: RoundId,
        request: SecureRequest,
    ) -> Option<SessionEvent> {
        let secret = self.clients[client].secret.take();
        let done = secret.map(|secret| secret.step(request, &mut self.rng.fork()));
        match done {
            Some(Ok((secret, reply))) => {
                self.clients[client].secret = secret;
                self.later(client, round, reply);
                None
            }
            Some(Err(reason)) => Some(SessionEvent::Failed {
                round,
                failure: Failure::SecureAggregationFailed,
                reason: reason.to_string(),
            }),
            None => {
                let reason = "no secrets of this round".to_owned();
                Some(SessionEvent::Failed {
                    round,
                    failure: Failure::SecureAggregationFailed,
                    reason,
                })
            }
        }
    }

    fn later(&mut self, client: usize, round: RoundId, reply: SecureReply) {
        let at = self.now + delay(&mut self.rng, Duration::from_millis(200));
        let life = self.clients[client].lives;
        self.agenda.at(at, Event::Secured(client, life, round, Box::new(reply)));
    }

    pub(crate) fn secured(
        &mut self,
        client: usize,
        life: u64,
        round: RoundId,
        reply: Box<SecureReply>,
    ) {
        if self.clients[client].lives != life {
            return;
        }
        if self.clients[client].frozen_until > self.now {
            self.defer(client, Event::Secured(client, life, round, reply));
            return;
        }
        self.feed(client, SessionEvent::Secured { round, reply: *reply });
    }

    fn transmit(&mut self, client: usize) {
        while self.clients[client].link.is_some() {
            let Some(session) = &mut self.clients[client].session else { return };
            let Some(message) = session.poll_transmit() else { return };
            self.send(client, &message);
        }
    }

    fn send(&mut self, client: usize, message: &ClientMessage) {
        let Some(link) = self.clients[client].link else { return };
        if let Some(note) = trace::of_client(message, client) {
            self.trace.add(self.now, note);
        }
        if matches!(message, ClientMessage::UnmaskingShares { .. }) {
            self.figures.count(Figure::Unmasked);
        }
        let Some(open) = self.links.get_mut(&link) else { return };
        let arrivals = open.arrivals(Way::Up, self.now, &self.faults, &mut self.rng);
        if arrivals.is_empty() {
            self.figures.count(Figure::LostMessages);
        }
        let bytes = message.encode();
        for at in arrivals {
            self.agenda.at(at, Event::ToServer(link, bytes.clone()));
        }
        self.maybe_sever(link);
    }

    fn set_timer(&mut self, client: usize) {
        let device = &mut self.clients[client];
        let Some(at) = device.session.as_ref().and_then(|session| session.deadline()) else {
            return;
        };
        if device.timer.is_none_or(|timer| at < timer) {
            device.timer = Some(at);
            let life = device.lives;
            self.agenda.at(at.max(self.now), Event::ClientTimer(client, life));
        }
    }

    /// Disturbs a random client.
    pub(crate) fn disturb(&mut self) {
        if self.calm_since.is_some() {
            return;
        }
        self.schedule(self.faults.disturb_every, Event::Disturb);
        let client = self.rng.random_range(0..self.clients.len());
        match self.rng.random_range(0..5) {
            0 => self.kill(client),
            1 => {
                let pause = delay(&mut self.rng, Duration::from_secs(40));
                self.note("frozen", Some(client), None);
                self.figures.count(Figure::Freezes);
                self.clients[client].frozen_until = self.now + pause;
                self.agenda.at(self.now + pause, Event::Thaw(client));
            }
            2 => {
                if let Some(link) = self.clients[client].link {
                    self.sever(link);
                }
            }
            3 => self.feed(client, SessionEvent::Pause),
            _ => self.feed(client, SessionEvent::Resume),
        }
    }

    /// The device dies without a word, and is switched on again later.
    fn kill(&mut self, client: usize) {
        if self.clients[client].session.take().is_none() {
            return;
        }
        self.note("killed", Some(client), None);
        self.figures.count(Figure::Deaths);
        self.clients[client].work = None;
        if let Some(link) = self.clients[client].link.take() {
            self.sever(link);
        }
        let pause = delay(&mut self.rng, Duration::from_secs(15));
        self.agenda.at(self.now + pause, Event::Start(client));
    }
}
