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
    Availability, Evaluation, ModelRef, RoundId, RoundPhase, UpdateFault, UpdateVerdict,
};
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::evaluation::{Evaluator, Job};
use crate::folding::{FinalizeError, Folding, GlobalModel, ReceivedUpdate, RoundFigures};
use crate::metrics::Metrics;
use crate::models::Models;
use crate::round::{AbandonReason, ClientId, Effect, Event, Progress, Rounds, Time};
use crate::storage::Quality;
use crate::task::{HISTORY, Task, TaskView, model_ref};

/// Changes that are only counts are published at most this often.
const PUBLISH_EVERY: Duration = Duration::from_millis(200);

/// What a session, a folding thread or the evaluator has to say.
pub(crate) enum Command {
    /// A client checked in; it hears of its invitations through the channel.
    Join(ClientId, watch::Sender<Option<Invitation>>),
    /// Its connection is gone.
    Leave(ClientId),
    /// It paused or resumed.
    Availability(ClientId, Availability),
    /// It gives a round up.
    Decline(ClientId, RoundId),
    /// Its update did not pass the checks.
    Refuse(ClientId, RoundId),
    /// Its update did.
    Report(Report),
    /// The folding thread is done with a round.
    Finalized(RoundId, Result<GlobalModel, FinalizeError>),
    /// A model has been evaluated.
    Evaluated(u64, Quality),
}

/// A complete and sound update, and where the verdict is to go.
pub(crate) struct Report {
    pub client: ClientId,
    pub round: RoundId,
    pub weight: u64,
    pub update: ReceivedUpdate,
    pub verdict: oneshot::Sender<UpdateVerdict>,
}

/// An invitation into a round, until it is withdrawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Invitation {
    pub round: RoundId,
    pub model: ModelRef,
    pub deadline: Instant,
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
}

/// What changes while it runs.
struct State {
    start: Instant,
    sessions: HashMap<ClientId, watch::Sender<Option<Invitation>>>,
    model: ModelRef,
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
            Command::Join(client, session) => {
                state.sessions.insert(client, session);
                self.step(Event::Joined(client), None, state);
            }
            Command::Leave(client) => {
                state.sessions.remove(&client);
                self.step(Event::Left(client), None, state);
            }
            Command::Availability(client, availability) => {
                self.step(Event::AvailabilityChanged(client, availability), None, state);
            }
            Command::Decline(client, round) => {
                self.step(Event::Declined(client, round), None, state);
            }
            Command::Refuse(client, round) => {
                self.step(Event::Refused(client, round), None, state);
            }
            Command::Report(report) => {
                let Report { client, round, weight, .. } = report;
                self.step(Event::Reported { client, round, weight }, Some(report), state);
            }
            Command::Finalized(round, Ok(model)) => {
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
            Effect::Open(_) => {
                state.opened = Instant::now();
                self.folding.open();
            }
            Effect::Invite(client, round, deadline) => {
                let deadline = state.start + deadline.0;
                let model = state.model.clone();
                notify(state, client, Some(Invitation { round, model, deadline }));
            }
            Effect::Dismiss(client, _) => notify(state, client, None),
            Effect::Answer(_, _, verdict) => {
                let Some(report) = report.take() else { return };
                if verdict == UpdateVerdict::Accepted {
                    self.folding.fold(report.update, report.weight);
                }
                // A session that is gone needs no answer.
                let _ = report.verdict.send(verdict);
            }
            Effect::Finalize(round) => self.finalize(round, state),
            Effect::Complete(round) => self.complete(round, state),
            Effect::Abandon(round, reason) => self.abandon(round, reason),
        }
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
        self.task.metrics.completed.increment(1);
        self.task.metrics.round.set(round.round as f64);
        self.task.metrics.round_seconds.record(state.opened.elapsed().as_secs_f64());
        let history = Arc::make_mut(&mut state.history);
        history.push_back(record.clone());
        while history.len() > HISTORY {
            history.pop_front();
        }
        state.model = model_ref(record);
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
            state.evaluation = Some(Evaluation { round, accuracy, loss });
            self.task.metrics.loss.set(loss);
            if let Some(accuracy) = accuracy {
                self.task.metrics.accuracy.set(accuracy);
            }
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
        self.task.metrics.clients.set(progress.clients as f64);
        self.view.send_replace(Arc::new(TaskView {
            progress,
            deadline: progress.deadline.map(|time| state.start + time.0),
            model: state.model.clone(),
            evaluation: state.evaluation,
            history: Arc::clone(&state.history),
        }));
    }
}

/// Tells a session its newest invitation, if the session is still there.
fn notify(state: &State, client: ClientId, invitation: Option<Invitation>) {
    if let Some(session) = state.sessions.get(&client) {
        session.send_replace(invitation);
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
