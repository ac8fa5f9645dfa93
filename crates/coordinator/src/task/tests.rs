//! Histories of one task's core with its writer, told command by command.

mod clients;
mod gate;
mod groups;
mod operators;
mod privacy;
mod rounds;
mod starting;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fedra_protocol::{Availability, RoundId, SubjectId, UpdateVerdict};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{Started, TaskCore, start};
use crate::fixtures::{FlakyStore, contribution, subject};
use crate::messages::{
    Action, Command, ConnectionId, Departure, Join, Leave, Notice, Order, Reply, Report, RequestId,
};
use crate::participation::Participation;
use crate::round::{ClientId, Stage, Time};
use crate::settings::TaskSettings;
use crate::status::{Counters, NoMetrics};
use crate::storage::Lease;
use crate::writer::{Writer, WriterJob};

/// Date of everything that is stored.
const DATE: u64 = 1_700_000_000;

/// A task with a clock that only the test moves. The writer works when it is told to.
struct Bench {
    settings: Arc<TaskSettings>,
    store: FlakyStore,
    core: TaskCore,
    writer: Writer,
    lease: Lease,
    counters: Arc<Counters>,
    jobs: VecDeque<WriterJob>,
    now: Time,
    rng: StdRng,
    requests: u64,
}

impl Bench {
    fn new(settings: TaskSettings) -> Self {
        let store = FlakyStore::with(&settings, &[0.0; crate::fixtures::PARAMETERS]);
        Self::on(settings, store)
    }

    /// The task as the store has it, as after a start of the server.
    fn on(settings: TaskSettings, store: FlakyStore) -> Self {
        let settings = Arc::new(settings);
        let counters = Arc::<Counters>::default();
        let started = start(
            &settings,
            &store.storage,
            Arc::new(NoMetrics),
            Arc::clone(&counters),
            [7; 32],
            None,
        );
        let Started { core, writer, lease, .. } = started.expect("a sound task");
        Self {
            settings,
            store,
            core,
            writer,
            lease,
            counters,
            jobs: VecDeque::new(),
            now: Time::default(),
            rng: StdRng::seed_from_u64(7),
            requests: 0,
        }
    }

    /// Handles a command; jobs for the writer wait.
    fn handle(&mut self, command: impl Into<Option<Command>>) -> Vec<Action> {
        let mut rest = Vec::new();
        for action in self.core.handle(command.into(), self.now, &mut self.rng) {
            match action {
                Action::Write(job) => self.jobs.push_back(*job),
                other => rest.push(other),
            }
        }
        rest
    }

    /// Does all that waits for the writer.
    fn write(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some(job) = self.jobs.pop_front() {
            for event in self.writer.work(job, DATE, &mut self.rng) {
                actions.extend(self.handle(Command::Writer(Box::new(event))));
            }
        }
        actions
    }

    /// Lets time pass, with the wake-ups that are due.
    fn wait(&mut self, time: Duration) -> Vec<Action> {
        let until = self.now + time;
        let mut actions = Vec::new();
        while let Some(due) = self.core.wake_at().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            actions.extend(self.handle(None));
        }
        self.now = until;
        actions.extend(self.handle(None));
        actions
    }

    /// Checks a connection in as this subject; its notices.
    fn join(&mut self, connection: u64, who: Option<SubjectId>) -> Vec<Action> {
        let connection = ConnectionId(connection);
        let availability = Availability::Available;
        self.handle(Command::Join(Join { connection, subject: who, availability }))
    }

    /// Checks subjects 1 to `count` in, on connections of these numbers.
    fn join_all(&mut self, count: u8) {
        for number in 1..=count {
            self.join(number.into(), Some(subject(number)));
        }
    }

    fn leave(&mut self, connection: u64, departure: Departure) -> Vec<Action> {
        self.leave_with(connection, departure, Participation::default())
    }

    fn leave_with(
        &mut self,
        connection: u64,
        departure: Departure,
        participation: Participation,
    ) -> Vec<Action> {
        let connection = ConnectionId(connection);
        self.handle(Command::Leave(Leave { connection, departure, participation }))
    }

    /// A client reports this update, with weight 10.
    fn report(&mut self, client: u64, round: RoundId, values: &[f32]) -> Vec<Action> {
        let contribution = contribution(&self.settings, values, 10);
        let (client, stage) = (ClientId(client), Stage::Update);
        let report = Report { client, round, stage, weight: 10, contribution };
        self.handle(Command::Report(report))
    }

    fn request(&mut self, command: impl FnOnce(RequestId) -> Command) -> Vec<Action> {
        self.requests += 1;
        self.handle(command(RequestId(self.requests)))
    }

    /// Parameters of the newest model in the store.
    fn model(&self) -> Vec<f32> {
        let newest =
            *self.store.storage.checkpoints(&self.settings.id).expect("reads").last().expect("one");
        let (_, files) = self.store.storage.checkpoint(&self.settings.id, newest).expect("is kept");
        fedra_learning::safetensors::read(&self.settings.model, &files.model).expect("a model")
    }
}

/// The notices to a connection.
fn notices(actions: &[Action], connection: u64) -> Vec<&Notice> {
    let to = |action| match action {
        &Action::Notify(to, ref notice) if to == ConnectionId(connection) => Some(notice),
        _ => None,
    };
    actions.iter().filter_map(to).collect()
}

/// The invitation in what a connection is told, if there is one.
fn invitation(actions: &[Action], connection: u64) -> Option<RoundId> {
    notices(actions, connection).into_iter().rev().find_map(|notice| match notice {
        Notice::Order(Order::Invited(invitation)) => Some(invitation.round),
        _ => None,
    })
}

/// The verdict in what a connection is told, if there is one.
fn verdict(actions: &[Action], connection: u64) -> Option<UpdateVerdict> {
    notices(actions, connection).into_iter().find_map(|notice| match notice {
        Notice::Verdict(_, verdict) => Some(*verdict),
        _ => None,
    })
}

fn reply(actions: Vec<Action>) -> Option<Reply> {
    actions.into_iter().find_map(|action| match action {
        Action::Reply(_, reply) => Some(reply),
        _ => None,
    })
}
