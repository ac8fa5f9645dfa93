//! The loop of a simulation: takes the next event, lets the production code
//! react, schedules what follows, and has every promise checked after each step.

mod devices;
mod trace;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fedra_coordinator::messages::{Command, Departure, RequestId};
use fedra_coordinator::round::{Operation, Standing};
use fedra_coordinator::writer::WriterEvent;
use fedra_edge_client::session::{Event as SessionEvent, SecureReply};
use fedra_protocol::{
    ClientMessage, RefusalCode, RoundId, RoundPhase, ServerMessage, UpdateVerdict,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::LONGEST;
use crate::checks::Checks;
use crate::client::Client;
use crate::figures::{Figure, Figures};
use crate::network::{Agenda, Link, LinkId, Way, delay};
use crate::scenario::{Faults, Manner, Scenario};
use crate::server::{Server, ServerEffect};
use crate::store::FaultyStore;
use trace::{Note, Trace};

/// Rounds that have to be completed once the faults are over.
const CALM_ROUNDS: u64 = 2;
/// Period of an operator's looks at the task once the faults are over.
const CALM_OPERATOR: Duration = Duration::from_secs(2);

/// Number of every request: its reply is not looked at.
const REQUEST: RequestId = RequestId(0);

/// Something that happens.
pub(crate) enum Event {
    ToServer(LinkId, Bytes),
    ToClient(LinkId, Bytes),
    Opened(LinkId),
    NoServer(usize, u64),
    /// The server notices that a connection is gone.
    ServerNotices(LinkId, Departure),
    /// The client does.
    ClientNotices(LinkId),
    Poll(LinkId),
    ClientTimer(usize, u64),
    ServerTimer(u64),
    Work(u64),
    Trained(usize, u64, RoundId, u64),
    /// A step of secure aggregation is worked out.
    Secured(usize, u64, RoundId, Box<SecureReply>),
    Start(usize),
    Thaw(usize),
    Disturb,
    Crash,
    Restart,
    Operate,
    Calm,
}

pub(crate) struct World {
    scenario: Scenario,
    faults: Faults,
    rng: StdRng,
    now: Duration,
    agenda: Agenda<Event>,
    store: Arc<FaultyStore>,
    server: Option<Server>,
    server_timer: Option<Duration>,
    lives: u64,
    clients: Vec<Client>,
    links: BTreeMap<LinkId, Link>,
    next_link: u64,
    checks: Checks,
    figures: Figures,
    trace: Trace,
    /// Rounds that were complete when the faults ended.
    calm_since: Option<u64>,
}

impl World {
    pub(crate) fn new(mut scenario: Scenario) -> Self {
        let mut rng = scenario.rng.fork();
        let store = Arc::new(FaultyStore::new(rng.random(), scenario.faults, scenario.bug));
        let manner = |number| scenario.manners.get(number).copied().unwrap_or(Manner::Sound);
        let clients = (0..scenario.clients).map(|n| Client::new(n, manner(n))).collect();
        let checks = Checks::new(&scenario.task.settings, scenario.kind);
        Self {
            faults: scenario.faults,
            rng,
            now: Duration::ZERO,
            agenda: Agenda::default(),
            store,
            server: None,
            server_timer: None,
            lives: 0,
            clients,
            links: BTreeMap::new(),
            next_link: 0,
            checks,
            figures: Figures::default(),
            trace: Trace::default(),
            calm_since: None,
            scenario,
        }
    }

    pub(crate) fn trace(&self) -> String {
        self.trace.to_string()
    }

    fn note(&mut self, what: &'static str, client: Option<usize>, round: Option<RoundId>) {
        self.trace.add(self.now, Note { what, client, round });
    }

    /// Runs a history without faults, and counts the rounds completed between two times.
    pub(crate) fn rounds_within(&mut self, from: Duration, to: Duration) -> Result<u64, String> {
        self.start_all();
        self.happen(Event::Calm)?;
        let mut before = None;
        while let Some((at, event)) = self.agenda.pop() {
            self.now = at;
            if at >= from {
                before.get_or_insert(self.checks.rounds());
            }
            if at >= to {
                return Ok(self.checks.rounds() - before.unwrap_or_default());
            }
            self.happen(event)?;
            self.check()?;
        }
        Err("nothing happens any more".to_owned())
    }

    fn start_all(&mut self) {
        self.agenda.at(Duration::ZERO, Event::Restart);
        for client in 0..self.clients.len() {
            let at = delay(&mut self.rng, Duration::from_secs(3));
            self.agenda.at(at, Event::Start(client));
        }
    }

    /// Runs the whole history.
    pub(crate) fn run(&mut self) -> Result<Figures, String> {
        self.start_all();
        self.schedule(self.faults.disturb_every, Event::Disturb);
        self.schedule(self.faults.crash_every.unwrap_or(Duration::MAX), Event::Crash);
        self.schedule(self.faults.operator_every.unwrap_or(Duration::MAX), Event::Operate);
        self.agenda.at(self.scenario.calm_after, Event::Calm);
        while let Some((at, event)) = self.agenda.pop() {
            self.now = at;
            self.figures.count(Figure::Steps);
            self.happen(event)?;
            self.check()?;
            if self.is_done() {
                self.figures.count_many(Figure::Rounds, self.checks.rounds());
                return Ok(self.figures.clone());
            }
            if self.now > LONGEST {
                let phase = self.server.as_ref().map(Server::progress);
                return Err(format!("no round is completed though nothing is wrong: {phase:?}"));
            }
        }
        Err("nothing happens any more".to_owned())
    }

    fn schedule(&mut self, about_every: Duration, event: Event) {
        if about_every != Duration::MAX {
            let share = self.rng.random_range(0.5..1.5);
            self.agenda.at(self.now + about_every.mul_f64(share), event);
        }
    }

    fn is_done(&self) -> bool {
        let Some(calm_since) = self.calm_since else { return false };
        let finished = |server: &Server| server.progress().phase == RoundPhase::Finished;
        self.checks.rounds() >= calm_since + CALM_ROUNDS
            || self.server.as_ref().is_some_and(finished)
            || self.has_too_few_left()
    }

    /// True if so many subjects have taken part as often as they may that no round begins
    /// any more, by the ledger or by their own count.
    fn has_too_few_left(&self) -> bool {
        let settings = &self.scenario.task.settings;
        let Some(policy) = settings.policy().filter(|_| self.scenario.kind.counts_subjects())
        else {
            return false;
        };
        let left = self.checks.unspent(self.clients.len(), self.store.durable());
        let may =
            |client: &&usize| self.clients[**client].participations < policy.max_participations;
        left.iter().filter(may).count() < settings.plan.minimum_cohort
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::ToServer(link, bytes) => self.arrives_up(link, bytes),
            Event::ToClient(link, bytes) => self.arrives_down(link, bytes),
            Event::Opened(link) => self.opened(link),
            Event::NoServer(client, life) => {
                if self.clients[client].lives == life {
                    self.feed(client, SessionEvent::Disconnected { reason: "no server".into() });
                }
            }
            Event::ServerNotices(link, departure) => self.server_notices(link, departure),
            Event::ClientNotices(link) => self.client_notices(link),
            Event::Poll(link) => {
                if let Some(open) = self.links.get_mut(&link) {
                    open.polled();
                }
                self.poll(link);
            }
            Event::ClientTimer(client, life) => {
                self.clients[client].timer = None;
                if self.clients[client].lives == life
                    && !self.defer(client, Event::ClientTimer(client, life))
                {
                    self.feed(client, SessionEvent::Timer);
                }
            }
            Event::ServerTimer(life) => {
                if self.server.as_ref().is_some_and(|server| server.life == life) {
                    self.server_timer = None;
                    self.with_server(|server, now, rng, effects| {
                        server.time_passed(now, rng, effects);
                    });
                }
            }
            Event::Work(life) => self.work(life),
            Event::Trained(client, life, round, work) => self.trained(client, life, round, work),
            Event::Secured(client, life, round, reply) => self.secured(client, life, round, reply),
            Event::Start(client) => self.start(client),
            Event::Thaw(client) => self.clients[client].frozen_until = Duration::ZERO,
            Event::Disturb => self.disturb(),
            Event::Crash => self.crash_now(),
            Event::Restart => return self.restart(),
            Event::Operate => self.operate(),
            Event::Calm => self.calm(),
        }
        if self.store.take_crash() {
            self.figures.count(Figure::CrashesAtWrites);
            self.crash();
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), String> {
        if let Some(server) = &self.server
            && let Some(over) = server.overrun(self.now)
        {
            return Err(format!("{:?} outlasts its deadline by {over:?}", server.progress()));
        }
        self.checks.verdict(self.store.durable())
    }

    // ------------------------------------------------------------ the server

    fn restart(&mut self) -> Result<(), String> {
        self.lives += 1;
        let store = self.store.faulty();
        let (life, bug) = (self.lives, self.scenario.bug);
        match Server::start(&store, &self.scenario.task, life, self.now, bug) {
            Ok(server) => {
                self.note("the server starts", None, None);
                self.server = Some(server);
                self.server_timer = None;
                self.after_server();
                Ok(())
            }
            // It may crash while it creates the task.
            Err(_) if self.store.take_crash() | self.store.take_failure() => {
                let at = self.now + Duration::from_millis(500);
                self.agenda.at(at, Event::Restart);
                Ok(())
            }
            Err(error) => Err(format!("the server cannot start: {error}")),
        }
    }

    fn crash_now(&mut self) {
        if self.calm_since.is_some() {
            return;
        }
        self.schedule(self.faults.crash_every.unwrap_or(Duration::MAX), Event::Crash);
        if self.server.is_some() {
            self.crash();
        }
    }

    fn crash(&mut self) {
        if self.server.take().is_none() {
            return;
        }
        self.note("the server crashes", None, None);
        self.figures.count(Figure::Crashes);
        self.store.lose_what_is_pending();
        self.checks.server_crashed();
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.sever(link);
        }
        let pause = delay(&mut self.rng, Duration::from_secs(8));
        self.agenda.at(self.now + pause, Event::Restart);
    }

    fn with_server(
        &mut self,
        act: impl FnOnce(&mut Server, Duration, &mut StdRng, &mut Vec<ServerEffect>),
    ) {
        let mut effects = Vec::new();
        if let Some(server) = &mut self.server {
            act(server, self.now, &mut self.rng, &mut effects);
        }
        self.grant(effects);
        self.after_server();
    }

    fn poll(&mut self, link: LinkId) {
        let mut effects = Vec::new();
        let Some(server) = &mut self.server else { return };
        let busy = server.poll(link, self.now, &mut self.rng, &mut effects);
        self.grant(effects);
        if busy {
            self.after_server();
        }
    }

    fn grant(&mut self, effects: Vec<ServerEffect>) {
        for effect in effects {
            match effect {
                ServerEffect::Send(link, message) => self.send_down(link, &message),
                ServerEffect::Close(link) => {
                    let at = self.now + delay(&mut self.rng, self.faults.longest_delay);
                    self.agenda.at(at, Event::ClientNotices(link));
                }
                ServerEffect::Publish(sha256) => {
                    self.checks.published(sha256, self.store.durable());
                }
                ServerEffect::Work => {
                    let Some(life) = self.server.as_ref().map(|server| server.life) else { return };
                    let at = self.now + delay(&mut self.rng, Duration::from_millis(50));
                    self.agenda.at(at, Event::Work(life));
                }
            }
        }
    }

    /// Schedules the sessions, because any command to the server may have made work for
    /// them.
    fn after_server(&mut self) {
        let Some(server) = &self.server else { return };
        let life = server.life;
        let wake = server.wake_at();
        for link in server.links() {
            let at = self.now + delay(&mut self.rng, Duration::from_millis(3));
            if self.links.get_mut(&link).is_some_and(Link::wants_poll) {
                self.agenda.at(at, Event::Poll(link));
            }
        }
        if let Some(wake) = wake
            && self.server_timer.is_none_or(|timer| wake < timer)
        {
            self.server_timer = Some(wake);
            self.agenda.at(wake.max(self.now), Event::ServerTimer(life));
        }
    }

    fn work(&mut self, life: u64) {
        let Some(server) = self.server.as_mut().filter(|server| server.life == life) else {
            return;
        };
        let commands = server.work(self.now, &mut self.rng);
        if self.store.is_crashed() {
            return;
        }
        for command in commands {
            if let Command::Writer(event) = &command
                && let WriterEvent::RolledBack(Ok(_)) = &**event
            {
                self.figures.count(Figure::RollBacks);
            }
            self.with_server(|server, now, rng, effects| {
                server.command(command, now, rng, effects);
            });
        }
    }

    fn operate(&mut self) {
        if self.calm_since.is_some() {
            self.schedule(CALM_OPERATOR, Event::Operate);
            self.resume_if_paused();
            return;
        }
        self.schedule(self.faults.operator_every.unwrap_or(Duration::MAX), Event::Operate);
        let command = match self.rng.random_range(0..8) {
            0..3 => Command::Operate(Operation::Pause, REQUEST),
            3..6 => Command::Operate(Operation::Resume, REQUEST),
            6 if self.rng.random_bool(0.1) => Command::Operate(Operation::Stop, REQUEST),
            _ => {
                let newest = self.checks.rounds();
                Command::RollBack(self.rng.random_range(0..=newest), REQUEST)
            }
        };
        self.note("the operator acts", None, None);
        self.figures.count(Figure::Operations);
        self.with_server(|server, now, rng, effects| {
            server.command(command, now, rng, effects);
        });
    }

    /// Ends all faults for good.
    fn calm(&mut self) {
        self.note("all faults are over", None, None);
        self.faults = Faults::NONE;
        self.store.set_faults(self.faults);
        self.calm_since = Some(self.checks.rounds());
        // Where messages were lost or out of order, both ends may believe different
        // things for ever. No real connection does that, and a new one mends it.
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.sever(link);
        }
        for client in 0..self.clients.len() {
            self.clients[client].frozen_until = Duration::ZERO;
            let off = self.clients[client].session.as_ref().is_none_or(|s| s.is_closed());
            if off {
                self.agenda.at(self.now, Event::Start(client));
            } else {
                self.feed(client, SessionEvent::Resume);
            }
        }
        self.schedule(CALM_OPERATOR, Event::Operate);
    }

    /// In the calm an operator lets a paused task go on.
    fn resume_if_paused(&mut self) {
        if self.store.standing(&self.scenario.task.settings.id) != Standing::Paused {
            return;
        }
        self.with_server(|server, now, rng, effects| {
            let resume = Command::Operate(Operation::Resume, REQUEST);
            server.command(resume, now, rng, effects);
        });
    }

    // ----------------------------------------------------------- the network

    fn send_down(&mut self, link: LinkId, message: &ServerMessage) {
        let Some(open) = self.links.get_mut(&link) else { return };
        let client = open.client;
        let arrivals = open.arrivals(Way::Down, self.now, &self.faults, &mut self.rng);
        self.checks.sent(client, message, self.store.durable());
        match message {
            ServerMessage::UploadReady { offset, .. } if *offset > 0 => {
                self.figures.count(Figure::ResumedUploads);
            }
            ServerMessage::Refusal(refusal) => match refusal.code {
                RefusalCode::NotSelected => self.figures.count(Figure::SentAway),
                RefusalCode::Timeout => self.figures.count(Figure::SlowUploads),
                _ => {}
            },
            ServerMessage::Standby(_) => self.figures.count(Figure::LeftOut),
            ServerMessage::UpdateOutcome(outcome) if outcome.verdict == UpdateVerdict::Accepted => {
                self.figures.count(Figure::Accepted);
                let repeated = u64::from(self.checks.is_repeated());
                self.figures.count_many(Figure::RepeatedVerdicts, repeated);
            }
            _ => {}
        }
        if let Some(note) = trace::of_server(message, client) {
            self.trace.add(self.now, note);
        }
        if arrivals.is_empty() {
            self.figures.count(Figure::LostMessages);
        }
        let bytes = message.encode();
        for at in arrivals {
            self.agenda.at(at, Event::ToClient(link, bytes.clone()));
        }
        self.maybe_sever(link);
    }

    fn maybe_sever(&mut self, link: LinkId) {
        if self.rng.random_bool(self.faults.sever) {
            self.sever(link);
        }
    }

    /// Breaks a connection: both ends notice in their time.
    fn sever(&mut self, link: LinkId) {
        let Some(open) = self.links.remove(&link) else { return };
        self.note("the connection breaks", Some(open.client), None);
        let (up, down) = (
            delay(&mut self.rng, Duration::from_secs(4)),
            delay(&mut self.rng, Duration::from_secs(4)),
        );
        self.agenda.at(self.now + up, Event::ServerNotices(link, Departure::Lost));
        self.agenda.at(self.now + down, Event::ClientNotices(link));
    }

    fn opened(&mut self, link: LinkId) {
        let Some(client) = self.links.get(&link).map(|open| open.client) else { return };
        if let Some(server) = &mut self.server {
            server.connect(link, client);
        }
        if self.clients[client].link == Some(link) {
            self.feed(client, SessionEvent::Connected { token: None });
        }
    }

    fn arrives_up(&mut self, link: LinkId, bytes: Bytes) {
        if !self.links.contains_key(&link) {
            return;
        }
        let message = ClientMessage::decode(bytes).expect("a session sends valid messages");
        self.with_server(|server, now, rng, effects| {
            server.receive(link, message, now, rng, effects);
        });
    }

    fn arrives_down(&mut self, link: LinkId, bytes: Bytes) {
        let Some(client) = self.links.get(&link).map(|open| open.client) else { return };
        if self.clients[client].link != Some(link)
            || self.defer(client, Event::ToClient(link, bytes.clone()))
        {
            return;
        }
        let message = ServerMessage::decode(bytes).expect("a server sends valid messages");
        self.feed(client, SessionEvent::Received(message));
    }

    fn server_notices(&mut self, link: LinkId, departure: Departure) {
        self.links.remove(&link);
        self.with_server(|server, now, rng, effects| {
            server.disconnect(link, departure, now, rng, effects);
        });
    }

    fn client_notices(&mut self, link: LinkId) {
        self.links.remove(&link);
        let Some(client) = self.clients.iter().position(|client| client.link == Some(link)) else {
            return;
        };
        if !self.defer(client, Event::ClientNotices(link)) {
            self.clients[client].link = None;
            self.feed(client, SessionEvent::Disconnected { reason: "broken".into() });
        }
    }
}
