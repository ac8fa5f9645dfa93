//! Tasks that run: the handle that the rest of the server has, and the driver of a
//! task's core.

mod driver;
mod mailbox;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fedra_coordinator::messages::{Command, Join, OperateError, Reply, RequestId};
use fedra_coordinator::round::{Operation, Standing, Time};
use fedra_coordinator::settings::TaskSettings;
use fedra_coordinator::status::{Counters, TaskView};
use fedra_coordinator::storage::Lease;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

pub(crate) use self::driver::{TaskDriver, WriterThread, unix_seconds};
pub(crate) use self::mailbox::Mailbox;
use crate::config::AccessConfig;
use crate::evaluation::{self, Evaluator};
use crate::metrics::TaskMeters;
use crate::models::ModelFiles;

/// Longer than any process lives.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Message to the driver of a task.
pub(crate) enum Message {
    /// A command for the core.
    Command(Box<Command>),
    /// A check-in, and where its session finds its notices.
    Join(Join, Arc<Mailbox>),
    /// An operator's request, and where the reply goes.
    Request(Request, oneshot::Sender<Reply>),
}

/// Request of an operator, or of a server that stops.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Request {
    Operate(Operation),
    RollBack(u64),
    Drain,
}

impl Request {
    /// The command for the core, with the number of the reply.
    fn command(self, id: RequestId) -> Command {
        match self {
            Self::Operate(operation) => Command::Operate(operation, id),
            Self::RollBack(to) => Command::RollBack(to, id),
            Self::Drain => Command::Drain(id),
        }
    }
}

/// Handle of a task that runs.
pub(crate) struct Task {
    pub settings: Arc<TaskSettings>,
    /// File of the frozen tensors, if there are some.
    pub frozen: Option<Bytes>,
    /// Config of the task in a few lines, for a person.
    pub summary: String,
    /// True if the server evaluates its models on held-out examples.
    pub evaluated: bool,
    /// Conditions for taking part.
    pub access: AccessConfig,
    /// The right to write the task.
    pub lease: Lease,
    /// Messages to its driver.
    pub messages: mpsc::Sender<Message>,
    pub view: watch::Receiver<Arc<TaskView>>,
    pub counters: Arc<Counters>,
    pub metrics: Arc<TaskMeters>,
    /// Start of the task's time.
    pub epoch: Instant,
    /// The epoch by the calendar.
    pub epoch_date: SystemTime,
}

impl Task {
    /// The time, as the task's core and its sessions have it.
    pub(crate) fn now(&self) -> Time {
        Time(self.epoch.elapsed())
    }

    /// The same moment by the calendar.
    pub(crate) fn date(&self, time: Time) -> SystemTime {
        self.epoch_date + time.0
    }

    /// The same moment by the system's clock.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        // Saturates: a moment that far off never comes.
        self.epoch.checked_add(time.0).unwrap_or_else(|| self.epoch + FOREVER)
    }

    /// Pauses, resumes or stops the task; durable when it returns.
    pub(crate) async fn operate(&self, operation: Operation) -> Result<Standing, OperateError> {
        match self.request(Request::Operate(operation)).await? {
            Reply::Operated(done) => done,
            Reply::RolledBack(_) | Reply::Drained => Err(OperateError::GoingAway),
        }
    }

    /// Makes the model of an earlier round the newest, as a new round.
    pub(crate) async fn roll_back(&self, to: u64) -> Result<u64, OperateError> {
        match self.request(Request::RollBack(to)).await? {
            Reply::RolledBack(done) => done,
            Reply::Operated(_) | Reply::Drained => Err(OperateError::GoingAway),
        }
    }

    /// Begins nothing new; returns when nothing is under way.
    pub(crate) async fn drain(&self) -> Result<(), OperateError> {
        self.request(Request::Drain).await.map(drop)
    }

    async fn request(&self, request: Request) -> Result<Reply, OperateError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.messages.send(Message::Request(request, answer)).await;
        sent.map_err(|_| OperateError::GoingAway)?;
        answered.await.map_err(|_| OperateError::GoingAway)
    }

    /// The files of a model of the task: this one, and the one that never changes.
    pub(crate) fn files(&self, trained: Bytes) -> ModelFiles {
        ModelFiles { trained, frozen: self.frozen.clone() }
    }

    /// Has the model of a round evaluated; the result comes back as a command.
    pub(crate) fn evaluate(&self, evaluator: &Evaluator, round: u64, parameters: Arc<Vec<f32>>) {
        let messages = self.messages.clone();
        let is_ahead = round > self.view.borrow().model.round;
        evaluator.submit(evaluation::Job {
            lease: self.lease.clone(),
            round,
            parameters,
            frozen: self.frozen.clone(),
            is_awaited: is_ahead && self.settings.gate.is_some(),
            done: Box::new(move |evaluated| {
                let command = match evaluated {
                    Some((evaluation, confusion)) => {
                        Command::Evaluated(Box::new(evaluation), confusion)
                    }
                    None => Command::NotEvaluated(round),
                };
                // Fails only when the driver has ended.
                let _ = messages.blocking_send(Message::Command(Box::new(command)));
            }),
        });
    }

    /// Counts a message from a client.
    pub(crate) fn received(&self, bytes: usize) {
        self.counters.received(bytes);
        self.metrics.received.increment(bytes as u64);
    }

    /// Counts a message or a model for a client.
    pub(crate) fn sent(&self, bytes: usize) {
        self.counters.sent(bytes);
        self.metrics.sent.increment(bytes as u64);
    }
}
