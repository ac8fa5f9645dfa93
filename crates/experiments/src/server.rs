//! The server of an experiment: the production core, writer and sessions, without sockets and
//! threads.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fedra_aggregation::CheckedUpdate;
use fedra_coordinator::messages::{
    Action, Command, ConnectionId, Departure, Leave, Mail, RequestId,
};
use fedra_coordinator::participation::Pace;
use fedra_coordinator::round::{Operation, Standing, Time};
use fedra_coordinator::session::{Admitted, Input, Output, Session, SessionSettings};
use fedra_coordinator::settings::TaskSettings;
use fedra_coordinator::status::{Counters, NoMetrics, TaskView};
use fedra_coordinator::storage::{Lease, RoundRecord, Storage, StoreError};
use fedra_coordinator::task::{ReadInitial, StartError, Started, TaskCore, start};
use fedra_coordinator::writer::{GlobalModel, Room, Writer, WriterEvent, WriterJob};
use fedra_learning::metrics::ConfusionMatrix;
use fedra_learning::safetensors::{self, ModelFileError};
use fedra_protocol::{ClientMessage, Evaluation, ModelRef, RoundPhase, ServerMessage, Sha256Hash};
use rand_chacha::ChaCha20Rng;

use crate::seeds::{Purpose, Seeds};

/// Interval at which a silent client says that it is there: virtual links do not break.
const HEARTBEAT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Largest piece of an update, bytes.
const CHUNK: u32 = 256 << 10;
/// Newest models that are kept: a client takes the one that it is told of at once.
const MODELS: usize = 2;
/// Date at which an experiment starts, seconds since 1970.
const START: u64 = 1_700_000_000;

/// Connection of a client as the server has it.
struct Connection {
    session: Session,
    mail: Mail,
}

/// Message of the server to a connection.
pub(crate) enum Sent {
    Message(ConnectionId, Box<ServerMessage>),
    /// The server has ended the connection.
    Closed(ConnectionId),
}

/// A completed round, as it was stored.
pub(crate) struct Completed {
    pub record: RoundRecord,
    pub at: Duration,
}

pub(crate) struct Server {
    pub settings: Arc<TaskSettings>,
    /// Leadership of the task, for the results of evaluations.
    lease: Lease,
    /// The values of frozen layers.
    pub frozen: Arc<Vec<f32>>,
    core: TaskCore,
    writer: Writer,
    counters: Arc<Counters>,
    connections: HashMap<ConnectionId, Connection>,
    next_connection: u64,
    /// Sessions that have mail.
    mailed: VecDeque<ConnectionId>,
    commands: VecDeque<Command>,
    /// Global models that a client may be told to start from, newest last.
    models: VecDeque<(Sha256Hash, Arc<Vec<f32>>)>,
    /// Control variate beside the newest of them, if there is one.
    control: Option<(Sha256Hash, Arc<Vec<f32>>)>,
    seeds: Seeds,
    /// Draws after a round depend on the seed and the round alone, so that an experiment that
    /// is taken up again goes on with the same.
    rng: ChaCha20Rng,
    outbox: Vec<Sent>,
    /// Completed rounds that have not been taken.
    pub completed: VecDeque<Completed>,
    /// Models that are to be evaluated.
    pub to_evaluate: VecDeque<(u64, Arc<Vec<f32>>)>,
}

/// Reason why the server of an experiment does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The task does not.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A stored model cannot be read.
    #[error(transparent)]
    Model(#[from] ModelFileError),
}

/// The model that an event tells of: of a round, or of a roll-back by the task's gate.
fn made(event: &WriterEvent) -> Option<&GlobalModel> {
    match event {
        WriterEvent::Finalized(_, _, Ok(model)) | WriterEvent::Refused(_, Ok(model)) => Some(model),
        _ => None,
    }
}

/// Hash and values of a control variate.
fn variate(
    settings: &TaskSettings,
    file: &[u8],
) -> Result<(Sha256Hash, Arc<Vec<f32>>), ModelFileError> {
    let values = safetensors::read(&settings.model, file)?;
    Ok((Sha256Hash::of(file), Arc::new(values)))
}

impl Server {
    pub(crate) fn start(
        settings: &Arc<TaskSettings>,
        storage: &Storage,
        initial: Option<ReadInitial<'_>>,
        seeds: Seeds,
    ) -> Result<Self, ServerError> {
        let counters = Arc::<Counters>::default();
        let metrics = Arc::new(NoMetrics);
        let secret = seeds.bytes(Purpose::ServerNoise);
        let started = start(settings, storage, metrics, Arc::clone(&counters), secret, initial)?;
        let Started { settings, core, writer, model, frozen, control, lease } = started;
        let frozen = frozen.map(|file| safetensors::read_frozen(&settings.model, &file));
        let newest = safetensors::read(&settings.model, &model)?;
        let newest = Arc::new(newest);
        let control = control.map(|file| variate(&settings, &file)).transpose()?;
        let models = VecDeque::from([(core.view().model.sha256, Arc::clone(&newest))]);
        // A model that waits for the gate is made, and not announced.
        let progress = core.progress();
        let made = match progress.phase {
            RoundPhase::Finalizing => progress.round.round,
            _ => core.view().model.round,
        };
        // A gate compares the next model with it.
        let compared = settings.gate.is_some() && core.view().evaluation.is_none();
        let to_evaluate = compared.then(|| (core.view().model.round, newest));
        Ok(Self {
            settings,
            lease,
            frozen: Arc::new(frozen.transpose()?.unwrap_or_default()),
            rng: seeds.rng(Purpose::After(made)),
            core,
            writer,
            counters,
            connections: HashMap::new(),
            next_connection: 0,
            mailed: VecDeque::new(),
            commands: VecDeque::new(),
            models,
            control,
            seeds,
            outbox: Vec::new(),
            completed: VecDeque::new(),
            to_evaluate: to_evaluate.into_iter().collect(),
        })
    }

    pub(crate) fn view(&self) -> &Arc<TaskView> {
        self.core.view()
    }

    /// True if there will be no more rounds.
    pub(crate) fn is_finished(&self) -> bool {
        self.core.progress().phase == RoundPhase::Finished
    }

    /// Reason for which the task's gate has paused it, if it has.
    pub(crate) fn paused_by_gate(&self) -> Option<String> {
        let view = self.core.view();
        let (gate, refusal) = self.settings.gate.zip(view.history.back()?.refusal)?;
        let is_paused = view.standing == Standing::Paused && gate.pauses(&refusal);
        view.health.reason.clone().filter(|_| is_paused)
    }

    /// The parameters of a model that clients were told of.
    pub(crate) fn model(&self, of: &ModelRef) -> Option<Arc<Vec<f32>>> {
        let known = self.models.iter().find(|(sha256, _)| *sha256 == of.sha256);
        known.map(|(_, parameters)| Arc::clone(parameters))
    }

    /// The control variate that clients were told of; an empty one is zero.
    pub(crate) fn control(&self, of: Option<&ModelRef>) -> Option<Arc<Vec<f32>>> {
        let Some(of) = of else { return Some(Arc::default()) };
        let known = self.control.as_ref().filter(|(sha256, _)| *sha256 == of.sha256);
        known.map(|(_, values)| Arc::clone(values))
    }

    /// Counts bytes of a message or a model for a client.
    pub(crate) fn count_sent(&self, bytes: usize) {
        self.counters.sent(bytes);
    }

    /// Time at which the core is to be woken.
    pub(crate) fn wake_at(&self) -> Option<Duration> {
        self.core.wake_at().map(|time| time.0)
    }

    pub(crate) fn connect(&mut self) -> ConnectionId {
        self.next_connection += 1;
        let id = ConnectionId(self.next_connection);
        let settings = SessionSettings {
            heartbeat: HEARTBEAT,
            max_chunk_bytes: CHUNK,
            pace: Pace::new(Duration::ZERO, 0),
        };
        let session = Session::new(format!("c{}", id.0), settings);
        self.connections.insert(id, Connection { session, mail: Mail::default() });
        id
    }

    /// A client has gone.
    pub(crate) fn disconnect(&mut self, id: ConnectionId, now: Duration) -> Vec<Sent> {
        self.leave(id, Departure::Closed);
        self.settle(now)
    }

    /// A message of a client.
    pub(crate) fn receive(
        &mut self,
        id: ConnectionId,
        message: ClientMessage,
        bytes: usize,
        now: Duration,
    ) -> Vec<Sent> {
        self.counters.received(bytes);
        self.feed(id, Input::Message(message), now);
        self.settle(now)
    }

    /// Pauses the task or lets it go on.
    pub(crate) fn operate(&mut self, operation: Operation, now: Duration) -> Vec<Sent> {
        self.commands.push_back(Command::Operate(operation, RequestId(0)));
        self.settle(now)
    }

    /// The time alone.
    pub(crate) fn time_passed(&mut self, now: Duration) -> Vec<Sent> {
        self.handle(None, now);
        self.settle(now)
    }

    /// A model has been evaluated: the result is stored first.
    pub(crate) fn evaluated(
        &mut self,
        evaluation: Evaluation,
        confusion: Option<Arc<ConfusionMatrix>>,
        now: Duration,
    ) -> Result<Vec<Sent>, StoreError> {
        self.lease.set_quality(evaluation.round, evaluation.quality)?;
        self.commands.push_back(Command::Evaluated(Box::new(evaluation), confusion));
        Ok(self.settle(now))
    }

    /// A model has no finite loss.
    pub(crate) fn not_evaluated(&mut self, round: u64, now: Duration) -> Vec<Sent> {
        self.commands.push_back(Command::NotEvaluated(round));
        self.settle(now)
    }

    fn leave(&mut self, id: ConnectionId, departure: Departure) {
        let Some(Connection { session, mut mail }) = self.connections.remove(&id) else { return };
        let Some((connection, participation)) = session.leave() else { return };
        let participation = mail.take_participation().unwrap_or(participation);
        self.commands.push_back(Command::Leave(Leave { connection, departure, participation }));
    }

    /// Handles commands and delivers notices until there are none.
    fn settle(&mut self, now: Duration) -> Vec<Sent> {
        loop {
            if let Some(command) = self.commands.pop_front() {
                self.handle(Some(command), now);
            } else if let Some(id) = self.mailed.pop_front() {
                while let Some(notice) = self.connections.get_mut(&id).and_then(|c| c.mail.take()) {
                    self.feed(id, Input::Notice(notice), now);
                }
            } else {
                return std::mem::take(&mut self.outbox);
            }
        }
    }

    /// Gives the core a command, or the time.
    fn handle(&mut self, command: Option<Command>, now: Duration) {
        if let Some(Command::Writer(event)) = &command
            && let Some(model) = made(event)
        {
            self.rng = self.seeds.rng(Purpose::After(model.record.round));
        }
        let actions = self.core.handle(command, Time(now), &mut self.rng);
        for action in actions {
            match action {
                Action::Write(job) => self.work(*job, now),
                Action::Notify(id, notice) => {
                    if let Some(connection) = self.connections.get_mut(&id) {
                        connection.mail.put(notice);
                        self.mailed.push_back(id);
                    }
                }
                Action::Evaluate(round, parameters) => {
                    self.to_evaluate.push_back((round, parameters));
                }
                Action::ServeControl(_, file) => {
                    self.control = variate(&self.settings, &file).ok();
                }
                Action::Serve(..)
                | Action::ServeStep(..)
                | Action::Publish(_)
                | Action::Reply(..) => {}
            }
        }
    }

    fn work(&mut self, job: WriterJob, now: Duration) {
        for event in self.writer.work(job, START + now.as_secs(), &mut self.rng) {
            if let Some(model) = made(&event) {
                let record = model.record.clone();
                self.models.push_back((record.sha256, Arc::clone(&model.parameters)));
                self.completed.push_back(Completed { record, at: now });
                while self.models.len() > MODELS {
                    self.models.pop_front();
                }
            }
            self.commands.push_back(Command::Writer(Box::new(event)));
        }
    }

    fn feed(&mut self, id: ConnectionId, input: Input, now: Duration) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let view = Arc::clone(self.core.view());
            let Some(connection) = self.connections.get_mut(&id) else { return };
            connection.session.refresh(&view);
            for output in connection.session.handle(input, Time(now)) {
                match output {
                    Output::Send(message) => self.outbox.push(Sent::Message(id, Box::new(message))),
                    Output::Tell(command) => self.commands.push_back(command),
                    Output::Admit(check_in) => {
                        inputs.push_back(match check_in.check_capabilities(&self.settings) {
                            Ok(()) => Input::Admitted(Box::new(Admitted {
                                connection: id,
                                subject: check_in.subject,
                                settings: Arc::clone(&self.settings),
                                metrics: Arc::new(NoMetrics),
                                view: Arc::clone(&view),
                                now: Time(now),
                            })),
                            Err(refusal) => {
                                self.outbox.push(Sent::Message(
                                    id,
                                    Box::new(ServerMessage::Refusal(refusal)),
                                ));
                                self.outbox.push(Sent::Closed(id));
                                self.connections.remove(&id);
                                return;
                            }
                        });
                    }
                    Output::Check(bytes, codec) => {
                        inputs.push_back(Input::Checked(CheckedUpdate::parse(bytes, &codec)));
                    }
                    Output::End(refusal) => {
                        self.leave(id, Departure::after(&refusal));
                        self.outbox
                            .push(Sent::Message(id, Box::new(ServerMessage::Refusal(refusal))));
                        self.outbox.push(Sent::Closed(id));
                        return;
                    }
                }
            }
            let connection = self.connections.get(&id);
            if connection.is_some_and(|of| of.session.wants_room().is_some()) {
                inputs.push_back(Input::Room(Room::unlimited()));
            }
        }
    }
}
