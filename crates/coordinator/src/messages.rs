//! Messages between a task's core and what surrounds it: commands into the core,
//! actions out of it, notices to sessions. Plain data.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fedra_aggregation::accumulator::Request;
use fedra_learning::metrics::ConfusionMatrix;
use fedra_protocol::{
    Availability, DeclineCause, DrawnModel, Evaluation, MaskingGroup, ModelRef, ModelStep, Refusal,
    RefusalCode, RoundId, RoundPrivacy, Sha256Hash, StandbyCause, SubjectId, UpdateFault,
    UpdateVerdict,
};
use thiserror::Error;

use crate::participation::Participation;
use crate::round::{ClientId, Operation, Stage, Standing, Time};
use crate::status::TaskView;
use crate::storage::StoreError;
use crate::writer::{Contribution, RollBackError, WriterEvent, WriterJob};

/// Number of a connection, unique within a run of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// Number of an operator's request, to which [`Action::Reply`] refers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Input of a task's core, from a session, the writer, the evaluator or an operator.
#[derive(Debug)]
pub enum Command {
    /// A connection has checked in.
    Join(Join),
    /// A connection is gone.
    Leave(Leave),
    /// A client paused or resumed.
    Availability(ClientId, Availability),
    /// A client gives a round up, with the cause if it may be known.
    Decline(ClientId, RoundId, Option<DeclineCause>),
    /// A client's message did not pass the checks of its session.
    Refuse(ClientId, RoundId, UpdateFault),
    /// A client's message passed them.
    Report(Report),
    /// The writer has done a job.
    Writer(Box<WriterEvent>),
    /// A model has been evaluated, with a matrix if models of the task have one.
    Evaluated(Box<Evaluation>, Option<Arc<ConfusionMatrix>>),
    /// The model of a round could not be evaluated.
    NotEvaluated(u64),
    /// The operator pauses, resumes or stops the task; the reply comes when the
    /// decision is durable.
    Operate(Operation, RequestId),
    /// The operator goes back to the model of a round; the reply names the new round
    /// that has it.
    RollBack(u64, RequestId),
    /// The server is about to stop: no attempt begins any more. The reply comes when
    /// none is under way.
    Drain(RequestId),
}

/// Check-in of a connection. The answer is [`Notice::Joined`].
#[derive(Debug, Clone, Copy)]
pub struct Join {
    /// The connection.
    pub connection: ConnectionId,
    /// The subject that it stands for.
    pub subject: Option<SubjectId>,
    /// Availability: the client may be invited, or only observes for now.
    pub availability: Availability,
}

/// End of a connection.
#[derive(Debug)]
pub struct Leave {
    /// The connection.
    pub connection: ConnectionId,
    /// Way in which the session ended.
    pub departure: Departure,
    /// State for the client's next connection.
    pub participation: Participation,
}

/// End of a connection as seen by the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// The client closed it on purpose and does not mean to come back at once.
    Closed,
    /// It broke: the client may come back.
    Lost,
}

/// Complete and sound contribution of a client. The answer is [`Notice::Verdict`].
#[derive(Debug)]
pub struct Report {
    /// The client.
    pub client: ClientId,
    /// The round of its invitation.
    pub round: RoundId,
    /// Stage that the client was asked for.
    pub stage: Stage,
    /// Weight in the mean.
    pub weight: u64,
    /// The contribution itself.
    pub contribution: Contribution,
}

/// Output of a task's core, to be carried out in this order.
#[derive(Debug)]
pub enum Action {
    /// Give the writer a job.
    Write(Box<WriterJob>),
    /// Tell a connection's session.
    Notify(ConnectionId, Notice),
    /// Publish the state of the task.
    Publish(Arc<TaskView>),
    /// Serve this model: it is durable.
    Serve(Sha256Hash, Bytes),
    /// Serve this step to the model that is served next: it is durable.
    ServeStep(Sha256Hash, Bytes),
    /// Serve this control variate: it is durable.
    ServeControl(Sha256Hash, Bytes),
    /// Evaluate the model of a round.
    Evaluate(u64, Arc<Vec<f32>>),
    /// Answer an operator's request.
    Reply(RequestId, Reply),
}

/// Message of a task's core to the session of a connection.
#[derive(Debug)]
pub enum Notice {
    /// The connection stands for this client, which goes on from here.
    Joined(ClientId, Box<Participation>),
    /// The session ends: another connection has taken its place.
    Replaced,
    /// The session ends: connections of its subject replace each other too often. It
    /// may come back after this time.
    Contested(Duration),
    /// The report for a round has this verdict.
    Verdict(RoundId, UpdateVerdict),
    /// The client's newest order. Only the newest counts.
    Order(Order),
}

impl Departure {
    /// Departure of a connection that the server ends with this refusal.
    #[must_use]
    pub fn after(refusal: &Refusal) -> Self {
        match refusal.code {
            // The client may only have lost its network, or have come back already.
            RefusalCode::Timeout | RefusalCode::Overloaded | RefusalCode::Replaced => Self::Lost,
            _ => Self::Closed,
        }
    }
}

/// Notices for one session that it has not handled yet: at most one of a kind, because
/// only the newest order counts and a session has one report at a time.
#[derive(Debug, Default)]
pub struct Mail {
    joined: Option<(ClientId, Box<Participation>)>,
    /// Notice that ends the session.
    end: Option<Notice>,
    verdict: Option<(RoundId, UpdateVerdict)>,
    order: Option<Order>,
}

impl Mail {
    /// Adds a notice.
    pub fn put(&mut self, notice: Notice) {
        match notice {
            Notice::Joined(client, participation) => self.joined = Some((client, participation)),
            Notice::Verdict(round, verdict) => self.verdict = Some((round, verdict)),
            Notice::Order(order) => self.order = Some(order),
            end @ (Notice::Replaced | Notice::Contested(_)) => self.end = Some(end),
        }
    }

    /// Takes the next notice: a participation before what happens in it, and a verdict
    /// before the order that may be its consequence.
    pub fn take(&mut self) -> Option<Notice> {
        let joined = self.joined.take().map(|(client, part)| Notice::Joined(client, part));
        joined
            .or_else(|| self.end.take())
            .or_else(|| self.verdict.take().map(|(round, verdict)| Notice::Verdict(round, verdict)))
            .or_else(|| self.order.take().map(Notice::Order))
    }

    /// Takes the notice that ends the session.
    pub fn take_end(&mut self) -> Option<Notice> {
        self.end.take()
    }

    /// Takes the participation that the session has not handled, which goes back with
    /// [`Leave`].
    pub fn take_participation(&mut self) -> Option<Participation> {
        self.joined.take().map(|(_, participation)| *participation)
    }
}

/// Order to a client.
#[derive(Debug, Clone)]
pub enum Order {
    /// Nothing to do, or nothing more.
    Rest,
    /// Take part in a round.
    Invited(Box<Invitation>),
    /// Nothing until this time, because of how the last invitation came to nothing.
    StandBy(StandbyCause, Time),
    /// Answer a request of secure aggregation.
    Asked {
        /// The round of its invitation.
        round: RoundId,
        /// The masking group that the client is in, in buffered rounds.
        group: Option<MaskingGroup>,
        /// The request.
        request: Arc<Request>,
        /// Deadline of the answer.
        deadline: Time,
    },
    /// The client's contribution to a round is left out of it.
    LeftOut(RoundId, UpdateFault),
    /// Disconnect and come back after this time: enough others wait.
    Away(Duration),
}

/// Invitation into a round, until it is withdrawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Invitation {
    /// The round.
    pub round: RoundId,
    /// The model that local training starts from.
    pub model: ModelRef,
    /// Steps to that model, oldest first.
    pub steps: Vec<ModelStep>,
    /// The initial model, if the steps begin at it.
    pub drawn: Option<Box<DrawnModel>>,
    /// The server's control variate, if clients train with it and it is not zero.
    pub control: Option<Box<ModelRef>>,
    /// Deadline of the report.
    pub deadline: Time,
    /// Newer models that there may be when the update arrives.
    pub max_staleness: u32,
    /// Numbers of the round, under a privacy policy.
    pub privacy: Option<RoundPrivacy>,
}

/// Answer to an operator's request.
#[derive(Debug)]
pub enum Reply {
    /// To [`Command::Operate`].
    Operated(Result<Standing, OperateError>),
    /// To [`Command::RollBack`].
    RolledBack(Result<u64, OperateError>),
    /// To [`Command::Drain`].
    Drained,
}

/// Reason why an operator's request was not carried out.
#[derive(Debug, Error)]
pub enum OperateError {
    /// It makes no sense in the state that the task is in.
    #[error("the task is {0}")]
    WrongState(Standing),
    /// The task has had its last round.
    #[error("the task is finished: it has had its last round")]
    Finished,
    /// Another request is being carried out.
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
