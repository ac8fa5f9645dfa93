//! The one owner of a task's rounds: takes commands, asks the pure machine what
//! they mean, and does what it says.
//!
//! Everything else sends it [`Command`]s. It never waits for a client, a disk
//! or a computation: folding, storing and evaluation happen on their own
//! threads and report back as commands. What it decides is in [`Core`], which
//! does no I/O.

mod archive;
mod core;
mod failure;
mod health;
mod members;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fedra_protocol::{
    Availability, DeclineCause, ModelRef, RoundId, RoundPrivacy, StandbyCause, SubjectId,
    UpdateFault, UpdateVerdict,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::evaluation::{self, Evaluator};
use crate::folding::{
    Contribution, Folding, FoldingError, GlobalModel, Job, Prepared, Request, RollBackError,
};
use crate::models::Models;
use crate::round::{ClientId, Operation, Stage, Standing, Time};
use crate::session::Seat;
use crate::storage::{Debit, Quality, StoreError};
use crate::task::Task;

pub(crate) use self::core::{Act, Core, misplaced};
pub use self::failure::{FailureCause, InvitationFailure};
pub(crate) use self::health::{Health, HealthState};

/// What a session, a folding thread, the evaluator or an operator has to say.
pub(crate) enum Command {
    /// A connection has checked in.
    Join(Join),
    /// A connection is gone.
    Leave(Leave),
    /// A client paused or resumed.
    Availability(ClientId, Availability),
    /// A client gives a round up, with the cause if it may be known.
    Decline(ClientId, RoundId, Option<DeclineCause>),
    /// What a client sent did not pass the checks.
    Refuse(ClientId, RoundId, UpdateFault),
    /// What a client sent did, but turned out to be worthless.
    Strike(ClientId, RoundId, UpdateFault),
    /// What a client sent did.
    Report(Report),
    /// The folding thread has prepared a stage.
    Prepared(RoundId, Stage, Result<Prepared, FoldingError>),
    /// The folding thread is done with a round; the debit that it has made for it
    /// stands, whatever the outcome.
    Finalized(RoundId, Option<Debit>, Result<GlobalModel, FoldingError>),
    /// A model has been evaluated.
    Evaluated(u64, Quality),
    /// The operator wants something; the answer comes when it is durable.
    Operate(Operation, oneshot::Sender<Result<Standing, OperateError>>),
    /// The operator's decision is durable, or could not be made so.
    Decided(Operation, Result<(), StoreError>),
    /// The operator goes back to the model of a round; the answer is the new
    /// round that has it.
    RollBack(u64, oneshot::Sender<Result<u64, OperateError>>),
    /// The roll-back is durable, or was not made.
    RolledBack(Result<GlobalModel, RollBackError>),
    /// The server is about to stop: begin nothing new, and say when nothing is
    /// under way.
    Drain(oneshot::Sender<()>),
}

/// A connection, unique within a run of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnectionId(u64);

impl ConnectionId {
    /// A new one.
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The way to a connection's session.
pub(crate) struct Link {
    pub connection: ConnectionId,
    /// What the client is to do. Only the newest order counts.
    pub order: watch::Sender<Order>,
    /// Ends the session at once, whatever it waits for.
    pub cut: CancellationToken,
}

/// A check-in.
pub(crate) struct Join {
    pub subject: Option<SubjectId>,
    /// Whether the client may be invited, or only observes for now.
    pub availability: Availability,
    pub link: Link,
    pub answer: oneshot::Sender<Joined>,
}

/// Who a connection stands for, and where it goes on from.
pub(crate) struct Joined {
    pub client: ClientId,
    pub seat: Seat,
}

/// The end of a connection.
pub(crate) struct Leave {
    pub connection: ConnectionId,
    pub departure: Departure,
    /// For the client's next connection.
    pub seat: Seat,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Departure {
    /// In words: the client does not mean to come back at once.
    Closed,
    /// Without a word: it may.
    Lost,
}

/// Something complete and sound from a client, and where the verdict is to go.
pub(crate) struct Report {
    pub client: ClientId,
    pub round: RoundId,
    pub stage: Stage,
    pub weight: u64,
    pub contribution: Contribution,
    pub verdict: oneshot::Sender<UpdateVerdict>,
}

/// What a session's client is to do. Only the newest order counts.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    /// Nothing, or nothing more.
    Rest,
    /// Take part in a round.
    Invited(Invitation),
    /// Nothing until this time, because of how the last invitation came to nothing.
    StandBy(StandbyCause, Time),
    /// Answer a request of secure aggregation.
    Asked { round: RoundId, request: Arc<Request>, deadline: Time },
    /// What the client sent for a round is left out of it.
    Struck(RoundId, UpdateFault),
    /// Go, and come back after a while: there are enough others, or another
    /// connection of the same subject stays.
    Away(Duration),
}

/// An invitation into a round, until it is withdrawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Invitation {
    pub round: RoundId,
    pub model: ModelRef,
    pub deadline: Time,
    /// Newer models that there may be when the update arrives.
    pub max_staleness: u32,
    pub privacy: Option<RoundPrivacy>,
}

/// Why an operator's wish was not carried out.
#[derive(Debug, Error)]
pub(crate) enum OperateError {
    /// It makes no sense in the state that the task is in.
    #[error("the task is {0}")]
    WrongState(Standing),
    /// The task has had its last round.
    #[error("the task is finished: it has had its last round")]
    Finished,
    /// Another wish is being carried out.
    #[error("another operation on this task is under way; try again")]
    Busy,
    /// The earlier model cannot be had.
    #[error(transparent)]
    RollBack(#[from] RollBackError),
    /// It could not be made durable, so it does not hold.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Only when the server stops.
    #[error("the server is going away")]
    GoingAway,
}

/// A task's core with the threads that work for it.
pub(crate) struct Coordinator {
    pub core: Core,
    pub task: Arc<Task>,
    pub folding: Folding,
    pub evaluator: Arc<Evaluator>,
    pub models: Arc<Models>,
}

impl Coordinator {
    /// Runs until `shutdown`, or until nobody can send a command.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        shutdown: CancellationToken,
    ) {
        let mut rng = StdRng::seed_from_u64(rand::random());
        loop {
            let wake = self.core.wake_at().map(|time| self.task.instant(time));
            let timer = async {
                match wake {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let command = tokio::select! {
                () = shutdown.cancelled() => return,
                command = commands.recv() => match command {
                    Some(command) => Some(command),
                    None => return,
                },
                () = timer => None,
            };
            let acts = self.core.take(command, self.task.now(), &mut rng);
            acts.into_iter().for_each(|act| self.carry_out(act));
        }
    }

    fn carry_out(&self, act: Act) {
        let task = &self.task.config.id;
        match act {
            Act::Fold(job) => self.fold(*job),
            Act::Publish(sha256, file) => self.models.publish(task, sha256, file),
            Act::Evaluate(round, parameters) => {
                evaluation::submit(&self.evaluator, &self.task, round, parameters);
            }
        }
    }

    fn fold(&self, job: Job) {
        self.folding.send(job);
    }
}
