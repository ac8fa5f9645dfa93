//! What the coordinator decides, without I/O: `(command, now) -> acts`.
//!
//! It reads no clock and touches no disk; folding, publishing and evaluating
//! come out as [`Act`]s. Sessions hear of their orders through channels that
//! never block. A simulation drives it with a clock of its own.

mod contested;
mod operating;
mod outcomes;

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fedra_protocol::{
    Evaluation, ModelRef, RoundId, RoundPhase, RoundPrivacy, Sha256Hash, StandbyCause, SubjectId,
    UpdateFault, UpdateVerdict,
};
use rand::{Rng, RngExt};
use tokio::sync::{oneshot, watch};

use contested::Contested;

use super::archive::Archive;
use super::failure::InvitationFailure;
use super::health::{Assessment, Attempts};
use super::members::{Change, Members};
use super::{Command, Invitation, OperateError, Order, Report};
use crate::folding::{FoldingError, GlobalModel, Job, Prepared, RoundFigures};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::round::{
    Budget, ClientId, Effect, Event, Operation, Progress, Rounds, Stage, Standing, Tally, Time,
};
use crate::storage::{Debit, Quality, RoundRecord};
use crate::task::{HISTORY, Spent, Task, TaskView, model_ref};

/// Changes that are only counts are published at most this often, and less often
/// the more clients there are to hear of them.
const PUBLISH_EVERY: Duration = Duration::from_millis(200);
const CLIENTS_AT_ONCE: usize = 200;
const PUBLISH_AT_LEAST_EVERY: Duration = Duration::from_secs(10);

/// Something for the threads that work for a task.
pub(crate) enum Act {
    /// For the folding thread.
    Fold(Box<Job>),
    /// Serve this model: it is durable.
    Publish(Sha256Hash, Bytes),
    /// Have the model of a round evaluated.
    Evaluate(u64, Arc<Vec<f32>>),
}

/// A wish of the operator that is being made durable.
type Wish<T> = Option<oneshot::Sender<Result<T, OperateError>>>;

/// The state of one task.
pub(crate) struct Core {
    task: Arc<Task>,
    metrics: Arc<Metrics>,
    view: watch::Sender<Arc<TaskView>>,
    /// Always there, but for the moment in which a step consumes it.
    rounds: Option<Rounds>,
    members: Members,
    archive: Archive,
    contested: Contested,
    attempts: Attempts,
    /// As it was published last.
    assessment: Option<Assessment>,
    /// Under a privacy policy.
    ledger: Option<Ledger>,
    model: ModelRef,
    /// What the round under way has of its own, under a privacy policy.
    round_privacy: Option<RoundPrivacy>,
    spent: Option<Spent>,
    evaluation: Option<Evaluation>,
    history: Arc<VecDeque<RoundRecord>>,
    /// When the current attempt opened.
    opened: Time,
    /// The phase the task is in, and since when.
    phase: (RoundPhase, Time),
    /// Bytes that the round being finalised has taken.
    traffic: (u64, u64),
    /// A durable model that is not announced yet.
    ready: Option<GlobalModel>,
    /// When a change of counts is to be published.
    publish_at: Option<Time>,
    /// Clients that were away when the last round opened.
    were_absent: BTreeSet<ClientId>,
    operation: Wish<Standing>,
    roll_back: Wish<u64>,
    /// No round begins any more, whatever an operator says.
    is_draining: bool,
    drained: Option<oneshot::Sender<()>>,
    acts: Vec<Act>,
}

impl Core {
    /// Goes on from what the view shows, with nobody connected.
    pub(crate) fn new(
        task: Arc<Task>,
        metrics: Arc<Metrics>,
        view: watch::Sender<Arc<TaskView>>,
        rounds: Rounds,
        ledger: Option<Ledger>,
        now: Time,
    ) -> Self {
        let TaskView { model, evaluation, privacy, history, progress, .. } =
            (**view.borrow()).clone();
        let mut core = Self {
            task,
            metrics,
            view,
            rounds: Some(rounds),
            members: Members::default(),
            archive: Archive::default(),
            contested: Contested::default(),
            attempts: Attempts::default(),
            assessment: None,
            ledger,
            model,
            round_privacy: None,
            spent: privacy,
            evaluation,
            history,
            opened: now,
            phase: (progress.phase, now),
            traffic: (0, 0),
            ready: None,
            publish_at: None,
            were_absent: BTreeSet::new(),
            operation: None,
            roll_back: None,
            is_draining: false,
            drained: None,
            acts: Vec::new(),
        };
        core.publish(now);
        core
    }

    /// When [`Core::take`] is to be called though nobody has anything to say.
    pub(crate) fn wake_at(&self) -> Option<Time> {
        let times = [self.rounds().wake_at(), self.publish_at, self.members.wake_at()];
        times.into_iter().flatten().min()
    }

    /// Takes a command, or the time alone. `now` never goes back.
    pub(crate) fn take(
        &mut self,
        command: Option<Command>,
        now: Time,
        rng: &mut dyn Rng,
    ) -> Vec<Act> {
        let mut step = Step { core: self, now, rng, leaving: None, detail: None };
        match command {
            Some(command) => step.take(command),
            None => step.step(Event::TimePassed),
        }
        self.members.drop_slow_uploads(now);
        self.note_phase(now);
        self.publish(now);
        if self.is_at_rest()
            && let Some(drained) = self.drained.take()
        {
            // A server that is stopped twice no longer listens to the first.
            let _ = drained.send(());
        }
        mem::take(&mut self.acts)
    }

    /// The state of the rounds, for a simulation to look at.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn progress(&self) -> Progress {
        self.rounds().progress()
    }

    fn rounds(&self) -> &Rounds {
        self.rounds.as_ref().expect("every step puts it back")
    }

    /// Whether no attempt is under way.
    fn is_at_rest(&self) -> bool {
        let phase = self.rounds().progress().phase;
        matches!(phase, RoundPhase::Selecting | RoundPhase::Paused | RoundPhase::Finished)
    }

    /// The phase's time goes into its histogram when the next one begins.
    fn note_phase(&mut self, now: Time) {
        let Progress { phase, .. } = self.rounds().progress();
        let (known, since) = self.phase;
        if phase != known {
            self.task.metrics.phase(known, since.until(now));
            self.phase = (phase, now);
        }
    }

    /// Publishes a change of phase, health, model or evaluation at once, and a change of
    /// counts after a short while together with what else has changed by then.
    fn publish(&mut self, now: Time) {
        let progress = self.rounds().progress();
        let assessment = self.assess(&progress, now);
        let old = self.view.borrow().clone();
        let same_stage = (progress.round, progress.phase)
            == (old.progress.round, old.progress.phase)
            && self.model == old.model
            && self.spent == old.privacy
            && self.assessment.is_some_and(|known| known.is_like(&assessment))
            && Arc::ptr_eq(&self.history, &old.history);
        if same_stage {
            if progress == old.progress && self.assessment == Some(assessment) {
                self.publish_at = None;
                return;
            }
            let due = *self.publish_at.get_or_insert(now + publish_every(progress.clients));
            if now < due {
                return;
            }
        }
        self.publish_at = None;
        self.assessment = Some(assessment);
        let health = self.attempts.health(assessment);
        self.task.metrics.progress(&progress);
        self.task.metrics.failing_attempts(health.attempts);
        self.view.send_replace(Arc::new(TaskView {
            progress,
            health,
            model: self.model.clone(),
            evaluation: self.evaluation,
            privacy: self.spent,
            history: Arc::clone(&self.history),
        }));
    }
}

fn publish_every(clients: usize) -> Duration {
    let crowds = u32::try_from(clients / CLIENTS_AT_ONCE).unwrap_or(u32::MAX).max(1);
    PUBLISH_EVERY.saturating_mul(crowds).min(PUBLISH_AT_LEAST_EVERY)
}

/// One command's way through the core.
struct Step<'a> {
    core: &'a mut Core,
    now: Time,
    rng: &'a mut dyn Rng,
    /// The subject of a client that is being forgotten.
    leaving: Option<SubjectId>,
    /// Cause that the command gives of a failure that the rounds may find in it.
    detail: Option<InvitationFailure>,
}

impl Step<'_> {
    fn take(&mut self, command: Command) {
        match command {
            Command::Join(join) => {
                if self.turn_away(&join) {
                    return;
                }
                let change = self.core.members.join(join);
                self.follow(change);
            }
            Command::Leave(leave) => {
                let change = self.core.members.leave(leave);
                self.follow(change);
                if self.core.members.are_too_many_absent() {
                    let busy = self.core.rounds().members().into_iter().collect();
                    let change = self.core.members.forget_one_of_many(&busy);
                    self.follow(change);
                }
            }
            Command::Availability(client, availability) => {
                self.step(Event::AvailabilityChanged(client, availability));
            }
            Command::Decline(client, round, cause) => {
                self.detail = Some(InvitationFailure::Declined(cause));
                self.step(Event::Declined(client, round));
            }
            Command::Refuse(client, round, fault) => {
                self.detail = Some(InvitationFailure::Rejected(fault));
                self.step(Event::Refused(client, round));
            }
            Command::Strike(client, round, fault) => {
                self.detail = Some(InvitationFailure::Rejected(fault));
                self.step(Event::Refused(client, round));
                self.core.members.notify(client, Order::Struck(round, fault));
            }
            Command::Report(report) => self.report(report),
            Command::Prepared(round, stage, Ok(prepared)) => {
                self.prepared(round, stage, prepared);
            }
            Command::Prepared(round, stage, Err(error)) => {
                let task = &self.core.task.config.id;
                tracing::warn!(%task, %round, ?stage, %error, "the round cannot go on");
                self.step(Event::NotPrepared(round, stage));
            }
            Command::Finalized(round, debit, done) => {
                if let Some(debit) = debit {
                    self.debited(&debit);
                }
                self.finalized(round, done);
            }
            Command::Evaluated(round, quality) => self.evaluated(round, quality),
            Command::Operate(operation, answer) => self.operate(operation, answer),
            Command::Decided(operation, done) => self.decided(operation, done.map_err(Into::into)),
            Command::RollBack(to, answer) => self.roll_back(to, answer),
            Command::RolledBack(done) => self.rolled_back(done),
            Command::Drain(drained) => {
                self.core.is_draining = true;
                self.core.drained = Some(drained);
                // Not the operator's decision: it does not outlive the process.
                self.step(Event::Operated(Operation::Pause));
            }
        }
    }

    /// Tells the rounds who has come or gone.
    fn follow(&mut self, change: Option<Change>) {
        let Some(change) = change else { return };
        match change {
            Change::Joined(client, availability) => {
                let subject = self.core.members.subject(client);
                let record = subject.map(|subject| self.core.archive.take(&subject));
                let record = record.unwrap_or_default();
                self.joined(client, Event::Joined { client, availability, record });
            }
            Change::Returned(client, availability) => {
                self.joined(client, Event::Returned(client, availability));
            }
            Change::Lost(client) => self.step(Event::Lost(client)),
            Change::Left(client, subject) => {
                self.leaving = subject;
                self.step(Event::Left(client));
                self.leaving = None;
            }
        }
    }

    fn joined(&mut self, client: ClientId, event: Event) {
        self.step(event);
        let spent = |subject| self.core.ledger.as_ref().is_some_and(|l| l.is_spent(&subject));
        if self.core.members.subject(client).is_some_and(spent) {
            self.step(Event::ParticipationsSpent(client));
        }
    }

    fn report(&mut self, report: Report) {
        let Report { client, round, stage, weight, .. } = report;
        let event = Event::Reported { client, round, stage, weight };
        let mut report = Some(report);
        self.step_with(event, &mut report);
    }

    fn prepared(&mut self, round: RoundId, stage: Stage, prepared: Prepared) {
        if let Some(debit) = &prepared.debit {
            self.debited(debit);
        }
        self.step(Event::Prepared(round, stage));
        let progress = self.core.rounds().progress();
        let Some(deadline) = progress.deadline.filter(|_| progress.round == round) else { return };
        let deadline_ms = self.now.until(deadline).as_millis() as u64;
        let task = &self.core.task.config.id;
        tracing::info!(
            target: "fedra::events", event = "round-advanced",
            %task, %round, ?stage, deadline_ms, "round advanced"
        );
        for (client, request) in prepared.requests.requests {
            let order = Order::Asked { round, request: Arc::new(request), deadline };
            self.core.members.notify(client, order);
        }
    }

    fn finalized(&mut self, round: RoundId, done: Result<GlobalModel, FoldingError>) {
        match done {
            Ok(model) => {
                self.core.ready = Some(model);
                self.step(Event::Stored(round));
            }
            Err(error) => {
                let task = &self.core.task.config.id;
                tracing::error!(%task, %round, %error, "the round's model was not stored");
                self.core.task.traffic.give_back(self.core.traffic);
                self.step(match error {
                    FoldingError::NotFinite(_) => Event::NotFinite(round),
                    _ => Event::NotStored(round),
                });
            }
        }
    }

    /// A debit is durable: what it leaves of the budget is known from here on.
    fn debited(&mut self, debit: &Debit) {
        let core = &mut *self.core;
        let Some(ledger) = &mut core.ledger else { return };
        ledger.record(debit);
        if let Some(spent) = &mut core.spent {
            *spent = Spent {
                epsilon: ledger.spent_epsilon(),
                participations: ledger.most_participations(),
                debits: ledger.debits(),
                subjects: ledger.subjects(),
                ..*spent
            };
            core.task.metrics.privacy_epsilon.set(spent.epsilon);
        }
        let budget = ledger.budget();
        let done = debit.subjects.iter().filter(|subject| ledger.is_spent(subject));
        let done: Vec<ClientId> = done.filter_map(|s| core.members.of_subject(s)).collect();
        for client in done {
            self.step(Event::ParticipationsSpent(client));
        }
        if budget == Budget::Spent {
            let task = &self.core.task.config.id;
            tracing::info!(%task, "the privacy budget has no room for another round");
            self.step(Event::BudgetSpent);
        }
    }

    fn step(&mut self, event: Event) {
        self.step_with(event, &mut None);
    }

    fn step_with(&mut self, event: Event, report: &mut Option<Report>) {
        let rounds = self.core.rounds.take().expect("every step puts it back");
        let (rounds, effects) = rounds.step(event, self.now, self.rng);
        self.core.rounds = Some(rounds);
        for effect in effects {
            self.execute(effect, report);
        }
    }

    fn execute(&mut self, effect: Effect, report: &mut Option<Report>) {
        match effect {
            Effect::Open(round) => self.open(round),
            Effect::Invite(client, round, deadline) => {
                let max_staleness = self.core.task.config.plan.mode.max_staleness();
                self.invite(client, round, deadline, max_staleness);
            }
            Effect::InviteOnTrial(client, round, deadline) => {
                // The client goes on whatever rounds there are meanwhile.
                self.invite(client, round, deadline, u32::MAX);
            }
            Effect::StandBy(client, cause, until) => self.stand_by(client, cause, until),
            Effect::Remember(client, record) => {
                let subject = self.core.members.subject(client).or(self.leaving);
                if let Some(subject) = subject {
                    self.core.archive.put(subject, record);
                }
            }
            Effect::Advance(round, stage) => {
                let subjects = self.asked();
                self.fold(Job::Advance(round, stage, subjects));
            }
            Effect::Failed(client, cause) => self.failed(client, cause),
            Effect::Dismiss(client, _) => self.core.members.notify(client, Order::Rest),
            Effect::SendAway(client, retry_after) => {
                self.core.members.dismiss(client, Order::Away(retry_after));
            }
            Effect::Answer { round, verdict, staleness, .. } => {
                if let UpdateVerdict::Rejected(fault) = verdict {
                    self.detail = Some(InvitationFailure::Rejected(fault));
                }
                if let Some(report) = report.take() {
                    self.answer(round, report, verdict, staleness);
                }
            }
            Effect::Finalize(round, tally) => self.finalize(round, tally),
            Effect::Renumber { from, to } => {
                if from.round == to.round {
                    self.renew(from);
                }
                self.fold(Job::Renumber { from, to });
            }
            Effect::Complete(round) => self.complete(round),
            Effect::Abandon(round, reason) => self.abandon(round, reason),
        }
    }

    fn invite(&mut self, client: ClientId, round: RoundId, deadline: Time, max_staleness: u32) {
        let (model, privacy) = (self.core.model.clone(), self.core.round_privacy);
        let invitation = Invitation { round, model, deadline, max_staleness, privacy };
        self.core.task.metrics.invitations.increment(1);
        self.core.attempts.invite(client);
        self.core.members.notify(client, Order::Invited(invitation));
    }

    /// Leaves a client out of rounds for a while.
    fn stand_by(&mut self, client: ClientId, cause: StandbyCause, until: Time) {
        let task = &self.core.task.config.id;
        let subject = self.core.members.subject(client).map(|subject| subject.to_string());
        let seconds = self.now.until(until).as_secs();
        tracing::info!(%task, client = client.0, subject, ?cause, seconds, "client left out");
        self.core.members.notify(client, Order::StandBy(cause, until));
    }

    /// The subjects of a stage's clients.
    fn asked(&self) -> Vec<SubjectId> {
        let members = self.core.rounds().members();
        members.into_iter().filter_map(|client| self.core.members.subject(client)).collect()
    }

    fn fold(&mut self, job: Job) {
        self.core.acts.push(Act::Fold(Box::new(job)));
    }

    fn open(&mut self, round: RoundId) {
        let Progress { cohort, deadline, .. } = self.core.rounds().progress();
        let deadline_ms = deadline.map(|deadline| self.now.until(deadline).as_millis() as u64);
        let task = &self.core.task.config.id;
        tracing::info!(
            target: "fedra::events", event = "round-opened",
            %task, %round, cohort, deadline_ms, "round opened"
        );
        self.core.opened = self.now;
        let members = self.core.rounds().members();
        self.core.attempts.open(members);
        let spent = self.core.spent;
        self.core.round_privacy = spent.map(|Spent { clipping_norm, .. }| RoundPrivacy {
            clipping_norm,
            rotation: self.rng.random(),
        });
        let privacy = self.core.round_privacy;
        self.fold(Job::Open(round, privacy));
        let absent = self.core.members.absent();
        let were_absent = mem::replace(&mut self.core.were_absent, absent.clone());
        // In buffered rounds many may open while a client is away for a moment.
        let busy: BTreeSet<_> = self.core.rounds().members().into_iter().collect();
        let gone = |client: &ClientId| absent.contains(client) && !busy.contains(client);
        for client in were_absent.into_iter().filter(gone) {
            let change = self.core.members.forget(client);
            self.follow(change);
        }
    }

    /// A session that is gone needs no answer, but what it sent counts.
    fn answer(&mut self, round: RoundId, report: Report, verdict: UpdateVerdict, staleness: u32) {
        let Report { client, stage, contribution, verdict: answer, .. } = report;
        if verdict == UpdateVerdict::Accepted {
            let subject = self.core.members.subject(client);
            if matches!(stage, Stage::Update | Stage::MaskedInput) {
                let task = &self.core.task.config.id;
                let subject = subject.map(|subject| subject.to_string());
                tracing::debug!(
                    target: "fedra::events", event = "update-accepted",
                    %task, %round, client = client.0, subject, "update accepted"
                );
            }
            self.fold(Job::Take { client, subject, contribution, staleness });
        }
        // A session that is gone needs no answer.
        let _ = answer.send(verdict);
    }

    fn finalize(&mut self, round: RoundId, tally: Tally) {
        self.core.attempts.close(round);
        let Tally { cohort, reported, weight } = tally;
        self.core.traffic = self.core.task.traffic.take();
        let figures = RoundFigures {
            round: round.round,
            attempt: round.attempt,
            cohort: cohort as u32,
            reports: reported as u32,
            weight,
            elapsed: self.core.opened.until(self.now),
            traffic: self.core.traffic,
        };
        self.fold(Job::Finalize(figures));
    }

    /// The model is durable: from here on it may be seen.
    fn complete(&mut self, round: RoundId) {
        let Some(model) = self.core.ready.take() else { return };
        let record = &model.record;
        let failed = self.core.attempts.complete(round);
        tracing::info!(
            target: "fedra::events",
            event = "round-completed",
            task = %self.core.task.config.id,
            %round,
            reports = record.reports,
            cohort = record.cohort,
            weight = record.weight,
            seconds = record.seconds,
            bytes_up = record.bytes_up,
            bytes_down = record.bytes_down,
            model = %record.sha256,
            failed,
            "round completed"
        );
        let took = Duration::try_from_secs_f64(record.seconds).unwrap_or_default();
        self.core.task.metrics.completed(record.round, took);
        self.core.acts.push(Act::Evaluate(record.round, Arc::clone(&model.parameters)));
        self.announce(model);
    }

    /// Makes a durable model the newest.
    fn announce(&mut self, model: GlobalModel) {
        let GlobalModel { record, file, .. } = model;
        let core = &mut *self.core;
        core.task.metrics.resumed(record.round);
        core.model = model_ref(&record);
        if let (Some(spent), Some(clipping_norm)) = (&mut core.spent, record.clipping_norm) {
            spent.clipping_norm = clipping_norm;
        }
        core.acts.push(Act::Publish(record.sha256, file));
        let history = Arc::make_mut(&mut core.history);
        history.push_back(record);
        while history.len() > HISTORY {
            history.pop_front();
        }
    }

    fn evaluated(&mut self, round: u64, quality: Quality) {
        let Quality { accuracy, loss } = quality;
        let core = &mut *self.core;
        let task = &core.task.config.id;
        tracing::info!(%task, round, accuracy, loss, "model evaluated");
        let history = Arc::make_mut(&mut core.history);
        if let Some(record) = history.iter_mut().rev().find(|record| record.round == round) {
            record.quality = Some(quality);
        }
        if core.evaluation.is_none_or(|evaluation| evaluation.round <= round) {
            let evaluation = Evaluation { round, accuracy, loss };
            core.evaluation = Some(evaluation);
            core.task.metrics.evaluated(&evaluation);
        }
    }
}

/// What a session says to an update for a round that it is not invited to.
pub(crate) fn misplaced(progress: &Progress, round: RoundId) -> UpdateVerdict {
    let current = progress.round;
    match round.cmp(&current) {
        std::cmp::Ordering::Less => UpdateVerdict::Discarded(UpdateFault::RoundOver),
        std::cmp::Ordering::Equal if progress.phase == RoundPhase::Finished => {
            UpdateVerdict::Discarded(UpdateFault::RoundOver)
        }
        std::cmp::Ordering::Equal
            if !matches!(progress.phase, RoundPhase::Selecting | RoundPhase::Paused) =>
        {
            UpdateVerdict::Rejected(UpdateFault::NotInCohort)
        }
        _ => UpdateVerdict::Rejected(UpdateFault::UnknownRound),
    }
}
