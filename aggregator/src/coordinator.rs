//! The one owner of a task's rounds: takes commands, asks the pure machine what
//! they mean, and does what it says.
//!
//! Everything else sends it [`Command`]s. It never waits for a client, a disk
//! or a computation: folding, storing and evaluation happen on their own
//! threads and report back as commands.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fedra_protocol::{
    Availability, Evaluation, ModelRef, RoundId, RoundPhase, RoundPrivacy, SubjectId, UpdateFault,
    UpdateVerdict,
};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::evaluation::{Evaluator, Job};
use crate::folding::{
    Contribution, Folding, FoldingError, GlobalModel, Prepared, Request, RoundFigures,
};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::models::Models;
use crate::round::{AbandonReason, Budget, ClientId, Effect, Event, Progress, Rounds, Stage, Time};
use crate::storage::{Debit, Quality};
use crate::task::{HISTORY, Spent, Task, TaskView, model_ref};

/// Changes that are only counts are published at most this often.
const PUBLISH_EVERY: Duration = Duration::from_millis(200);

/// What a session, a folding thread or the evaluator has to say.
pub(crate) enum Command {
    /// A client checked in; it hears what to do through the channel.
    Join(ClientId, Option<SubjectId>, watch::Sender<Order>),
    /// Its connection is gone.
    Leave(ClientId),
    /// It paused or resumed.
    Availability(ClientId, Availability),
    /// It gives a round up.
    Decline(ClientId, RoundId),
    /// What it sent did not pass the checks.
    Refuse(ClientId, RoundId),
    /// What it sent did, but turned out to be worthless.
    Strike(ClientId, RoundId, UpdateFault),
    /// What it sent did.
    Report(Report),
    /// The folding thread has prepared a stage.
    Prepared(RoundId, Stage, Result<Prepared, FoldingError>),
    /// The folding thread is done with a round.
    Finalized(RoundId, Result<GlobalModel, FoldingError>),
    /// A model has been evaluated.
    Evaluated(u64, Quality),
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
    /// Answer a request of secure aggregation.
    Asked { round: RoundId, request: Arc<Request>, deadline: Instant },
    /// What the client sent for a round is left out of it.
    Struck(RoundId, UpdateFault),
    /// Go: another connection stands for the same subject.
    Replaced,
}

/// An invitation into a round, until it is withdrawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Invitation {
    pub round: RoundId,
    pub model: ModelRef,
    pub deadline: Instant,
    pub privacy: Option<RoundPrivacy>,
}

/// What the coordinator of one task works with.
pub(crate) struct Coordinator {
    pub task: Arc<Task>,
    /// Always there, but for the moment in which a step consumes it.
    pub rounds: Option<Rounds>,
    pub view: watch::Sender<Arc<TaskView>>,
    pub folding: Folding,
    pub evaluator: Arc<Evaluator>,
    pub models: Arc<Models>,
    pub metrics: Arc<Metrics>,
    pub rng: StdRng,
    /// Under a privacy policy.
    pub ledger: Option<Ledger>,
}

/// What changes while it runs.
struct State {
    start: Instant,
    sessions: HashMap<ClientId, Member>,
    /// The one client that stands for a subject now.
    live: HashMap<SubjectId, ClientId>,
    model: ModelRef,
    /// What the round under way has of its own, under a privacy policy.
    round_privacy: Option<RoundPrivacy>,
    spent: Option<Spent>,
    evaluation: Option<Evaluation>,
    history: Arc<VecDeque<crate::storage::RoundRecord>>,
    /// When the current attempt opened.
    opened: Instant,
    /// Bytes that the round being finalised has taken.
    traffic: (u64, u64),
    /// A durable model that is not announced yet.
    ready: Option<GlobalModel>,
    /// When a change of counts is to be published.
    publish_at: Option<Instant>,
}

/// A checked-in client.
struct Member {
    orders: watch::Sender<Order>,
    subject: Option<SubjectId>,
}

impl Coordinator {
    /// Runs until `shutdown`, or until nobody can send a command.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        shutdown: CancellationToken,
    ) {
        let view = self.view.borrow().clone();
        let mut state = State {
            start: Instant::now(),
            sessions: HashMap::new(),
            live: HashMap::new(),
            round_privacy: None,
            spent: view.privacy,
            model: view.model.clone(),
            evaluation: view.evaluation,
            history: Arc::clone(&view.history),
            opened: Instant::now(),
            traffic: (0, 0),
            ready: None,
            publish_at: None,
        };
        loop {
            let wake = self.rounds().wake_at().map(|time| state.start + time.0);
            let next = [wake, state.publish_at].into_iter().flatten().min();
            let timer = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                command = commands.recv() => match command {
                    Some(command) => self.take(command, &mut state),
                    None => return,
                },
                () = timer => self.step(Event::TimePassed, None, &mut state),
            }
            self.publish(&mut state);
        }
    }

    fn rounds(&self) -> &Rounds {
        self.rounds.as_ref().expect("every step puts it back")
    }

    fn take(&mut self, command: Command, state: &mut State) {
        match command {
            Command::Join(client, subject, orders) => {
                self.join(client, Member { orders, subject }, state);
            }
            Command::Leave(client) => self.leave(client, state),
            Command::Availability(client, availability) => {
                self.step(Event::AvailabilityChanged(client, availability), None, state);
            }
            Command::Decline(client, round) => {
                self.step(Event::Declined(client, round), None, state);
            }
            Command::Refuse(client, round) => {
                self.step(Event::Refused(client, round), None, state);
            }
            Command::Strike(client, round, fault) => {
                self.step(Event::Refused(client, round), None, state);
                notify(state, client, Order::Struck(round, fault));
            }
            Command::Report(report) => {
                let Report { client, round, stage, weight, .. } = report;
                self.step(Event::Reported { client, round, stage, weight }, Some(report), state);
            }
            Command::Prepared(round, stage, Ok(prepared)) => {
                self.prepared(round, stage, prepared, state);
            }
            Command::Prepared(round, stage, Err(error)) => {
                let task = &self.task.config.id;
                tracing::warn!(%task, %round, ?stage, %error, "the round cannot go on");
                self.step(Event::NotPrepared(round, stage), None, state);
            }
            Command::Finalized(round, Ok(mut model)) => {
                if let Some(debit) = model.debit.take() {
                    self.debited(&debit, state);
                }
                state.ready = Some(model);
                self.step(Event::Stored(round), None, state);
            }
            Command::Finalized(round, Err(error)) => {
                let task = &self.task.config.id;
                tracing::error!(%task, %round, %error, "the round's model was not stored");
                self.task.traffic.give_back(state.traffic);
                self.step(Event::NotStored(round), None, state);
            }
            Command::Evaluated(round, quality) => self.evaluated(round, quality, state),
        }
    }

    /// The later connection of a subject replaces the earlier: together they
    /// would count twice in a round.
    fn join(&mut self, client: ClientId, member: Member, state: &mut State) {
        let subject = member.subject;
        let earlier = subject.and_then(|subject| state.live.insert(subject, client));
        if let Some(earlier) = earlier {
            notify(state, earlier, Order::Replaced);
            self.leave(earlier, state);
        }
        state.sessions.insert(client, member);
        self.step(Event::Joined(client), None, state);
        let spent = |subject| self.ledger.as_ref().is_some_and(|l| l.is_spent(subject));
        if subject.as_ref().is_some_and(spent) {
            self.step(Event::ParticipationsSpent(client), None, state);
        }
    }

    fn leave(&mut self, client: ClientId, state: &mut State) {
        let Some(member) = state.sessions.remove(&client) else { return };
        if let Some(subject) = member.subject
            && state.live.get(&subject) == Some(&client)
        {
            state.live.remove(&subject);
        }
        self.step(Event::Left(client), None, state);
    }

    fn prepared(&mut self, round: RoundId, stage: Stage, prepared: Prepared, state: &mut State) {
        if let Some(debit) = &prepared.debit {
            self.debited(debit, state);
        }
        self.step(Event::Prepared(round, stage), None, state);
        let progress = self.rounds().progress();
        let Some(deadline) = progress.deadline.filter(|_| progress.round == round) else { return };
        let deadline = state.start + deadline.0;
        for (client, request) in prepared.requests.requests {
            notify(state, client, Order::Asked { round, request: Arc::new(request), deadline });
        }
    }

    /// A debit is durable: what it leaves of the budget is known from here on.
    fn debited(&mut self, debit: &Debit, state: &mut State) {
        let Some(ledger) = &mut self.ledger else { return };
        ledger.record(debit);
        if let Some(spent) = &mut state.spent {
            *spent = Spent {
                epsilon: ledger.spent_epsilon(),
                participations: ledger.most_participations(),
                debits: ledger.debits(),
                subjects: ledger.subjects(),
                ..*spent
            };
            self.task.metrics.privacy_epsilon.set(spent.epsilon);
        }
        let budget = ledger.budget();
        let done = debit.subjects.iter().filter(|subject| ledger.is_spent(subject));
        let done: Vec<ClientId> = done.filter_map(|s| state.live.get(s).copied()).collect();
        for client in done {
            self.step(Event::ParticipationsSpent(client), None, state);
        }
        if budget == Budget::Spent {
            let task = &self.task.config.id;
            tracing::info!(%task, "the privacy budget has no room for another round");
            self.step(Event::BudgetSpent, None, state);
        }
    }

    /// The subjects of a stage's clients.
    fn asked(&self, state: &State) -> Vec<SubjectId> {
        let subject = |client: ClientId| state.sessions.get(&client)?.subject;
        self.rounds().members().into_iter().filter_map(subject).collect()
    }

    fn step(&mut self, event: Event, mut report: Option<Report>, state: &mut State) {
        let now = Time(state.start.elapsed());
        let rounds = self.rounds.take().expect("every step puts it back");
        let (rounds, effects) = rounds.step(event, now, &mut self.rng);
        self.rounds = Some(rounds);
        for effect in effects {
            self.execute(effect, &mut report, state);
        }
    }

    fn execute(&mut self, effect: Effect, report: &mut Option<Report>, state: &mut State) {
        match effect {
            Effect::Open(round) => {
                state.opened = Instant::now();
                state.round_privacy = state.spent.map(|Spent { clipping_norm, .. }| RoundPrivacy {
                    clipping_norm,
                    rotation: self.rng.random(),
                });
                self.folding.open(round, state.round_privacy);
            }
            Effect::Invite(client, round, deadline) => {
                let deadline = state.start + deadline.0;
                let (model, privacy) = (state.model.clone(), state.round_privacy);
                let invitation = Invitation { round, model, deadline, privacy };
                notify(state, client, Order::Invited(invitation));
            }
            Effect::Advance(round, stage) => self.advance(round, stage, state),
            Effect::Dismiss(client, _) => notify(state, client, Order::Rest),
            Effect::Answer(_, _, verdict) => {
                let Some(report) = report.take() else { return };
                if verdict == UpdateVerdict::Accepted {
                    let subject = state.sessions.get(&report.client).and_then(|m| m.subject);
                    self.folding.take(report.client, subject, report.contribution);
                }
                // A session that is gone needs no answer.
                let _ = report.verdict.send(verdict);
            }
            Effect::Finalize(round) => self.finalize(round, state),
            Effect::Complete(round) => self.complete(round, state),
            Effect::Abandon(round, reason) => self.abandon(round, reason),
        }
    }

    fn advance(&self, round: RoundId, stage: Stage, state: &State) {
        let commands = self.task.commands.clone();
        self.folding.advance(round, stage, self.asked(state), move |prepared| {
            // Without a coordinator there is nobody left to tell.
            let _ = commands.blocking_send(Command::Prepared(round, stage, prepared));
        });
    }

    fn finalize(&mut self, round: RoundId, state: &mut State) {
        let Progress { cohort, reported, weight, .. } = self.rounds().progress();
        state.traffic = self.task.traffic.take();
        let figures = RoundFigures {
            round: round.round,
            attempt: round.attempt,
            cohort: cohort as u32,
            reports: reported as u32,
            weight,
            elapsed: state.opened.elapsed(),
            traffic: state.traffic,
        };
        let commands = self.task.commands.clone();
        self.folding.finalize(figures, move |made| {
            // Without a coordinator there is nobody left to tell.
            let _ = commands.blocking_send(Command::Finalized(round, made));
        });
    }

    /// The model is durable: from here on it may be seen.
    fn complete(&mut self, round: RoundId, state: &mut State) {
        let Some(model) = state.ready.take() else { return };
        let record = &model.record;
        tracing::info!(
            task = %self.task.config.id,
            round = record.round,
            attempt = record.attempt,
            reports = record.reports,
            cohort = record.cohort,
            weight = record.weight,
            seconds = record.seconds,
            bytes_up = record.bytes_up,
            bytes_down = record.bytes_down,
            model = %record.sha256,
            "round completed"
        );
        self.task.metrics.completed(round.round, state.opened.elapsed());
        let history = Arc::make_mut(&mut state.history);
        history.push_back(record.clone());
        while history.len() > HISTORY {
            history.pop_front();
        }
        state.model = model_ref(record);
        if let (Some(spent), Some(clipping_norm)) = (&mut state.spent, record.clipping_norm) {
            spent.clipping_norm = clipping_norm;
        }
        self.models.publish(&self.task.config.id, record.sha256, model.file.clone());
        submit(&self.evaluator, &self.task, record.round, model.parameters);
    }

    fn abandon(&self, round: RoundId, reason: AbandonReason) {
        let task = &self.task.config.id;
        tracing::warn!(%task, %round, reason = reason.as_str(), "round abandoned");
        self.metrics.abandoned(&self.task.metrics, reason);
    }

    fn evaluated(&self, round: u64, quality: Quality, state: &mut State) {
        let Quality { accuracy, loss } = quality;
        let task = &self.task.config.id;
        tracing::info!(%task, round, accuracy, loss, "model evaluated");
        let history = Arc::make_mut(&mut state.history);
        if let Some(record) = history.iter_mut().rev().find(|record| record.round == round) {
            record.quality = Some(quality);
        }
        if state.evaluation.is_none_or(|evaluation| evaluation.round <= round) {
            let evaluation = Evaluation { round, accuracy, loss };
            state.evaluation = Some(evaluation);
            self.task.metrics.evaluated(&evaluation);
        }
    }

    /// Publishes a change of phase, model or evaluation at once, and a change of
    /// counts after a short while together with what else has changed by then.
    fn publish(&self, state: &mut State) {
        let progress = self.rounds().progress();
        let old = self.view.borrow().clone();
        let same_stage = (progress.round, progress.phase)
            == (old.progress.round, old.progress.phase)
            && state.model == old.model
            && state.spent == old.privacy
            && Arc::ptr_eq(&state.history, &old.history);
        let now = Instant::now();
        if same_stage {
            if progress == old.progress {
                state.publish_at = None;
                return;
            }
            let due = *state.publish_at.get_or_insert(now + PUBLISH_EVERY);
            if now < due {
                return;
            }
        }
        state.publish_at = None;
        self.task.metrics.progress(&progress);
        self.view.send_replace(Arc::new(TaskView {
            progress,
            deadline: progress.deadline.map(|time| state.start + time.0),
            model: state.model.clone(),
            evaluation: state.evaluation,
            privacy: state.spent,
            history: Arc::clone(&state.history),
        }));
    }
}

/// Tells a session its newest order, if the session is still there.
fn notify(state: &State, client: ClientId, order: Order) {
    if let Some(member) = state.sessions.get(&client) {
        member.orders.send_replace(order);
    }
}

/// Has a model evaluated; the result comes back as a command.
pub(crate) fn submit(evaluator: &Evaluator, task: &Task, round: u64, parameters: Arc<Vec<f32>>) {
    let commands = task.commands.clone();
    evaluator.submit(Job {
        task: task.config.id.clone(),
        round,
        parameters,
        done: Box::new(move |quality| {
            // Without a coordinator there is nobody left to tell.
            let _ = commands.blocking_send(Command::Evaluated(round, quality));
        }),
    });
}

/// What a session says to an update for a round that it is not invited to.
pub(crate) fn misplaced(progress: &Progress, round: RoundId) -> UpdateVerdict {
    let current = progress.round;
    match round.cmp(&current) {
        std::cmp::Ordering::Less => UpdateVerdict::Discarded(UpdateFault::RoundOver),
        std::cmp::Ordering::Equal if progress.phase == RoundPhase::Finished => {
            UpdateVerdict::Discarded(UpdateFault::RoundOver)
        }
        std::cmp::Ordering::Equal if progress.phase != RoundPhase::Selecting => {
            UpdateVerdict::Rejected(UpdateFault::NotInCohort)
        }
        _ => UpdateVerdict::Rejected(UpdateFault::UnknownRound),
    }
}
