//! Core of a task, without I/O: `(command, now) -> actions`.
//!
//! It owns the rounds, the clients, the privacy ledger and what is published of
//! them. It reads no clock and touches no disk: writing, serving, evaluating and
//! notifying sessions come out as [`Action`]s.

mod contested;
mod gate;
mod groups;
mod operating;
mod outcomes;
mod rounds;

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use fedra_learning::metrics::ConfusionMatrix;
use fedra_protocol::{
    DrawnModel, Evaluation, ModelRef, ModelStep, Quality, RoundId, RoundPhase, RoundPrivacy,
    StandbyCause, SubjectId, UpdateFault, UpdateVerdict,
};
use rand::Rng;

use contested::Contested;
use groups::{Group, Waiting};

use super::archive::Archive;
use super::clients::{Change, Clients};
use super::health::{Assessment, Attempts};
use super::ledger::Ledger;
use crate::messages::{Action, Command, Invitation, Order, Reply, Report, RequestId};
use crate::round::{ClientId, Effect, Event, Operation, Progress, Rounds, Stage, Time};
use crate::settings::TaskSettings;
use crate::status::{
    Counters, Health, InvitationFailure, Spent, TaskMetrics, TaskView, control_ref, steps_to_newest,
};
use crate::storage::{RoundRecord, refused_rounds};
use crate::writer::{GlobalModel, WriterEvent, WriterJob};

/// Changes that are only counts are published at most this often, and less often
/// the more clients there are to hear of them.
const PUBLISH_EVERY: Duration = Duration::from_millis(200);
const CLIENTS_AT_ONCE: usize = 200;
const PUBLISH_AT_LEAST_EVERY: Duration = Duration::from_secs(10);

/// State of one task.
pub struct TaskCore {
    settings: Arc<TaskSettings>,
    metrics: Arc<dyn TaskMetrics>,
    counters: Arc<Counters>,
    /// View that was published last.
    view: Arc<TaskView>,
    rounds: Rounds,
    clients: Clients,
    archive: Archive,
    contested: Contested,
    attempts: Attempts,
    /// Assessment that was published last.
    assessment: Option<Assessment>,
    /// Under a privacy policy.
    ledger: Option<Ledger>,
    model: ModelRef,
    /// Steps to that model, as clients are told of them.
    steps: Vec<ModelStep>,
    /// The initial model, if clients can draw it.
    drawn: Option<Box<DrawnModel>>,
    /// The server's control variate beside that model, if there is one.
    control: Option<ModelRef>,
    /// Numbers of the round under way, under a privacy policy.
    round_privacy: Option<RoundPrivacy>,
    /// Keys of clients that wait for a masking group.
    waiting: Waiting,
    /// The masking group at work.
    group: Option<Group>,
    spent: Option<Spent>,
    evaluation: Option<Evaluation>,
    /// Of the model that the evaluation is of.
    confusion: Option<Arc<ConfusionMatrix>>,
    /// Newest evaluation by the clients.
    client_evaluation: Option<Evaluation>,
    history: Arc<VecDeque<RoundRecord>>,
    /// Time at which the current attempt opened.
    opened: Time,
    /// The phase the task is in, and since when.
    phase: (RoundPhase, Time),
    /// Bytes that the round being finalised has taken.
    traffic: (u64, u64),
    /// A durable model that is not announced yet. Before a gate it waits for its evaluation.
    ready: Option<GlobalModel>,
    /// Problem with the roll-back of a model that the gate has refused.
    stuck: Option<String>,
    /// Time at which a change of counts is to be published.
    publish_at: Option<Time>,
    /// Clients that were away when the last round opened.
    were_absent: BTreeSet<ClientId>,
    /// Operators' requests that are being made durable.
    operation: Option<RequestId>,
    roll_back: Option<RequestId>,
    /// No round begins any more, regardless of operators.
    is_draining: bool,
    drained: Option<RequestId>,
    actions: Vec<Action>,
}

/// Parts that a task's core starts with.
pub(super) struct Parts {
    pub(super) settings: Arc<TaskSettings>,
    pub(super) metrics: Arc<dyn TaskMetrics>,
    pub(super) counters: Arc<Counters>,
    pub(super) rounds: Rounds,
    pub(super) ledger: Option<Ledger>,
    /// Completed rounds, at least the initial model.
    pub(super) history: VecDeque<RoundRecord>,
    pub(super) model: ModelRef,
    /// The initial model, if clients can draw it.
    pub(super) drawn: Option<Box<DrawnModel>>,
    /// A durable model that its gate has not judged.
    pub(super) ready: Option<GlobalModel>,
    pub(super) spent: Option<Spent>,
}

impl TaskCore {
    /// Goes on with no client connected.
    pub(super) fn new(parts: Parts, now: Time) -> Self {
        let Parts { settings, metrics, counters, rounds, ledger, history, model, .. } = parts;
        let Parts { drawn, ready, spent, .. } = parts;
        let control = history.back().and_then(control_ref);
        let history = Arc::new(history);
        let steps = steps_to_newest(&settings, &history);
        let refused = refused_rounds(&*history);
        let passed = |record: &RoundRecord| !refused.contains(&record.round);
        let evaluation = last_evaluation(&history, |of| of.quality.filter(|_| passed(of)));
        let client_evaluation =
            last_evaluation(&history, |of| of.client_quality.filter(|_| passed(of)));
        let progress = rounds.progress();
        let view = TaskView {
            progress,
            standing: rounds.standing(),
            health: Health::default(),
            model: model.clone(),
            evaluation,
            confusion: None,
            client_evaluation,
            privacy: spent,
            history: Arc::clone(&history),
        };
        let mut core = Self {
            settings,
            metrics,
            counters,
            view: Arc::new(view),
            rounds,
            clients: Clients::default(),
            archive: Archive::default(),
            contested: Contested::default(),
            attempts: Attempts::default(),
            assessment: None,
            ledger,
            model,
            steps,
            drawn,
            control,
            round_privacy: None,
            waiting: Waiting::default(),
            group: None,
            spent,
            evaluation,
            confusion: None,
            client_evaluation,
            history,
            opened: now,
            phase: (progress.phase, now),
            traffic: (0, 0),
            ready,
            stuck: None,
            publish_at: None,
            were_absent: BTreeSet::new(),
            operation: None,
            roll_back: None,
            is_draining: false,
            drained: None,
            actions: Vec::new(),
        };
        core.publish(now);
        // The view is there from the start.
        core.actions.clear();
        core.actions.extend(core.on_unjudged());
        core
    }

    /// The view as it was published last.
    #[must_use]
    pub fn view(&self) -> &Arc<TaskView> {
        &self.view
    }

    /// Time at which [`TaskCore::handle`] is to be called without a command.
    #[must_use]
    pub fn wake_at(&self) -> Option<Time> {
        let at_once = (!self.actions.is_empty()).then(Time::default);
        let times = [at_once, self.rounds.wake_at(), self.publish_at, self.clients.wake_at()];
        times.into_iter().flatten().min()
    }

    /// Handles a command, or the time alone. `now` never goes back.
    pub fn handle(
        &mut self,
        command: Option<Command>,
        now: Time,
        rng: &mut dyn Rng,
    ) -> Vec<Action> {
        let mut step = Step { core: self, now, rng, leaving: None, detail: None };
        match command {
            Some(command) => step.handle(command),
            None => step.step(Event::TimePassed),
        }
        self.clients.drop_slow_uploads(now);
        self.note_phase(now);
        self.publish(now);
        if self.is_at_rest()
            && let Some(request) = self.drained.take()
        {
            self.actions.push(Action::Reply(request, Reply::Drained));
        }
        self.deliver();
        mem::take(&mut self.actions)
    }

    /// Progress of the rounds, which the view shows a little later.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.rounds.progress()
    }

    /// Passes on what the clients' sessions are to be told.
    fn deliver(&mut self) {
        let notices = self.clients.take_notices();
        self.actions.extend(notices.into_iter().map(|(to, notice)| Action::Notify(to, notice)));
    }

    /// True if no attempt is under way.
    fn is_at_rest(&self) -> bool {
        let phase = self.rounds.progress().phase;
        matches!(phase, RoundPhase::Selecting | RoundPhase::Paused | RoundPhase::Finished)
    }

    /// The phase's time goes into its histogram when the next one begins.
    fn note_phase(&mut self, now: Time) {
        let Progress { phase, .. } = self.rounds.progress();
        let (known, since) = self.phase;
        if phase != known {
            self.metrics.phase(known, since.until(now));
            self.phase = (phase, now);
        }
    }

    /// Publishes a change of phase, standing, health, model or evaluation at once, and a
    /// change of counts after a short while together with what else has changed by then.
    fn publish(&mut self, now: Time) {
        let (progress, standing) = (self.rounds.progress(), self.rounds.standing());
        let assessment = self.assess(&progress, now);
        let old = Arc::clone(&self.view);
        let same_stage = (progress.round, progress.phase)
            == (old.progress.round, old.progress.phase)
            && standing == old.standing
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
        let health = self.with_gate(self.attempts.health(assessment));
        self.metrics.progress(&progress, health.attempts);
        self.view = Arc::new(TaskView {
            progress,
            standing,
            health,
            model: self.model.clone(),
            evaluation: self.evaluation,
            confusion: self.confusion.clone(),
            client_evaluation: self.client_evaluation,
            privacy: self.spent,
            history: Arc::clone(&self.history),
        });
        self.actions.push(Action::Publish(Arc::clone(&self.view)));
    }
}

fn last_evaluation(
    history: &VecDeque<RoundRecord>,
    quality: impl Fn(&RoundRecord) -> Option<Quality>,
) -> Option<Evaluation> {
    let evaluation =
        |record: &RoundRecord| Some(Evaluation { round: record.round, quality: quality(record)? });
    history.iter().rev().find_map(evaluation)
}

fn publish_every(clients: usize) -> Duration {
    let crowds = u32::try_from(clients / CLIENTS_AT_ONCE).unwrap_or(u32::MAX).max(1);
    PUBLISH_EVERY.saturating_mul(crowds).min(PUBLISH_AT_LEAST_EVERY)
}

/// One command's way through the core.
struct Step<'a> {
    core: &'a mut TaskCore,
    now: Time,
    rng: &'a mut dyn Rng,
    /// The subject of a client that is being forgotten.
    leaving: Option<SubjectId>,
    /// Cause that the command gives of a failure that the rounds may find in it.
    detail: Option<InvitationFailure>,
}

impl Step<'_> {
    fn handle(&mut self, command: Command) {
        match command {
            Command::Join(join) => {
                if self.turn_away(&join) {
                    return;
                }
                let change = self.core.clients.join(join);
                self.follow(change);
            }
            Command::Leave(leave) => {
                let change = self.core.clients.leave(leave);
                self.follow(change);
                if self.core.clients.are_too_many_absent() {
                    let busy = self.core.rounds.members().into_iter().collect();
                    let change = self.core.clients.forget_one_of_many(&busy);
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
            Command::Report(report) => self.report(report),
            Command::Writer(event) => self.written(*event),
            Command::Evaluated(evaluation, confusion) => self.evaluated(*evaluation, confusion),
            Command::NotEvaluated(round) => self.not_evaluated(round),
            Command::Operate(operation, request) => self.operate(operation, request),
            Command::RollBack(to, request) => self.roll_back(to, request),
            Command::Drain(request) => {
                self.core.is_draining = true;
                self.core.drained = Some(request);
                // Not the operator's decision: it does not outlive the process.
                self.step(Event::Operated(Operation::Pause));
            }
        }
    }

    /// The writer has done a job.
    fn written(&mut self, event: WriterEvent) {
        match event {
            WriterEvent::LeftOut(client, round, fault) => {
                self.detail = Some(InvitationFailure::Rejected(fault));
                self.step(Event::Refused(client, round));
                self.core.clients.notify(client, Order::LeftOut(round, fault));
            }
            WriterEvent::Excluded(client, round) => {
                let invitation = self.core.rounds.invitation(client, round);
                self.step(Event::Excluded(client, invitation));
                let order = Order::LeftOut(invitation, UpdateFault::NotInCohort);
                self.core.clients.notify(client, order);
            }
            WriterEvent::Prepared(round, stage, Ok(prepared)) => {
                self.prepared(round, stage, prepared);
            }
            WriterEvent::Prepared(round, stage, Err(error)) => {
                let task = &self.core.settings.id;
                tracing::warn!(%task, %round, ?stage, %error, "the round cannot go on");
                self.step(Event::NotPrepared(round, stage));
            }
            WriterEvent::Finalized(round, debit, done) => {
                if let Some(debit) = debit {
                    self.debited(&debit, round.round + u64::from(done.is_ok()));
                }
                self.finalized(round, done);
            }
            WriterEvent::Decided(operation, done) => {
                self.decided(operation, done.map_err(Into::into));
            }
            WriterEvent::RolledBack(done) => self.rolled_back(done),
            WriterEvent::Refused(refusal, done) => self.refused(&refusal, done),
        }
    }

    fn reply(&mut self, request: RequestId, reply: Reply) {
        self.core.actions.push(Action::Reply(request, reply));
    }

    /// Tells the rounds who has come or gone.
    fn follow(&mut self, change: Option<Change>) {
        let Some(change) = change else { return };
        match change {
            Change::Joined(client, availability) => {
                let subject = self.core.clients.subject(client);
                let record = subject.map(|subject| self.core.archive.take(&subject));
                let record = record.unwrap_or_default();
                let ledger = self.core.ledger.as_ref();
                let next = self.core.rounds.progress().round.round;
                let counted =
                    ledger.zip(subject).map(|(ledger, own)| ledger.eligibility(&own, next));
                let eligibility = counted.unwrap_or_default();
                self.step(Event::Joined { client, availability, eligibility, record });
            }
            Change::Returned(client, availability) => {
                self.step(Event::Returned(client, availability));
            }
            Change::Lost(client) => self.step(Event::Lost(client)),
            Change::Left(client, subject) => {
                self.leaving = subject;
                self.step(Event::Left(client));
                self.leaving = None;
            }
        }
    }

    /// Has the rounds judge a report, and passes an accepted one on to the writer.
    fn report(&mut self, report: Report) {
        let Report { client, round, stage, weight, contribution } = report;
        let event = Event::Reported { client, round, stage, weight };
        let mut contribution = Some(contribution);
        for effect in self.advance(event) {
            let Effect::Answer { round, verdict, staleness, .. } = effect else {
                self.execute(effect);
                continue;
            };
            if let UpdateVerdict::Rejected(fault) = verdict {
                self.detail = Some(InvitationFailure::Rejected(fault));
            }
            if verdict == UpdateVerdict::Accepted
                && let Some(contribution) = contribution.take()
            {
                let subject = self.core.clients.subject(client);
                if matches!(stage, Stage::Update | Stage::MaskedInput) {
                    let task = &self.core.settings.id;
                    let subject = subject.map(|subject| subject.to_string());
                    tracing::debug!(
                        target: "fedra::events", event = "update-accepted",
                        %task, %round, client = client.0, subject, "update accepted"
                    );
                }
                if stage == Stage::Keys && self.core.settings.plan.forms_groups() {
                    self.core.waiting.insert(client, (round, contribution));
                } else {
                    self.write(WriterJob::Fold { client, subject, round, contribution, staleness });
                }
            }
            self.core.clients.judge(client, round, stage, verdict);
        }
    }

    fn step(&mut self, event: Event) {
        for effect in self.advance(event) {
            self.execute(effect);
        }
    }

    fn advance(&mut self, event: Event) -> Vec<Effect> {
        self.core.rounds.step(event, self.now, self.rng)
    }

    fn execute(&mut self, effect: Effect) {
        match effect {
            Effect::Open(round) => self.open(round),
            Effect::Invite(client, round, deadline) => {
                let max_staleness = self.core.settings.plan.mode.max_staleness();
                self.invite(client, round, deadline, max_staleness);
            }
            Effect::InviteOnTrial(client, round, deadline) => {
                // The client goes on even if the task is in a later round by then.
                self.invite(client, round, deadline, u32::MAX);
            }
            Effect::StandBy(client, cause, until) => self.stand_by(client, cause, until),
            Effect::Remember(client, record) => {
                let subject = self.core.clients.subject(client).or(self.leaving);
                if let Some(subject) = subject {
                    self.core.archive.put(subject, record);
                }
            }
            Effect::Advance(round, stage) => {
                if stage == Stage::Shares && self.core.settings.plan.forms_groups() {
                    self.form_group(round);
                }
                let subjects = self.asked();
                self.write(WriterJob::Advance(round, stage, subjects));
            }
            Effect::Failed(client, cause) => self.failed(client, cause),
            Effect::Dismiss(client, _) => self.core.clients.notify(client, Order::Rest),
            Effect::SendAway(client, retry_after) => {
                self.core.clients.dismiss(client, Order::Away(retry_after));
            }
            // Only reports are answered: see `report`.
            Effect::Answer { .. } => {}
            Effect::Finalize(round, counts) => self.finalize(round, counts),
            Effect::Renumber { from, to } => {
                if from.round == to.round {
                    self.renew(from);
                }
                self.write(WriterJob::Renumber { from, to });
            }
            Effect::Complete(_) => self.complete(),
            Effect::Abandon(round, reason) => self.abandon(round, reason),
        }
    }

    fn invite(&mut self, client: ClientId, round: RoundId, deadline: Time, max_staleness: u32) {
        let (model, steps) = (self.core.model.clone(), self.core.steps.clone());
        let first = steps.first().map_or(model.sha256, |step| step.base);
        let drawn = self.core.drawn.clone().filter(|drawn| drawn.sha256 == first);
        let trains = self.core.settings.evaluation(round.round).is_none();
        let has_variates = self.core.settings.training.algorithm().has_variates();
        let control = self.core.control.clone().filter(|_| trains && has_variates).map(Box::new);
        let privacy = self.core.round_privacy;
        let invitation =
            Invitation { round, model, steps, drawn, control, deadline, max_staleness, privacy };
        self.core.metrics.invited();
        self.core.attempts.invite(client);
        self.core.clients.notify(client, Order::Invited(Box::new(invitation)));
    }

    /// Leaves a client out of rounds for a while.
    fn stand_by(&mut self, client: ClientId, cause: StandbyCause, until: Time) {
        let task = &self.core.settings.id;
        let subject = self.core.clients.subject(client).map(|subject| subject.to_string());
        let seconds = self.now.until(until).as_secs();
        tracing::info!(%task, client = client.0, subject, ?cause, seconds, "client left out");
        self.core.clients.notify(client, Order::StandBy(cause, until));
    }

    /// The subjects of a stage's clients.
    fn asked(&self) -> Vec<SubjectId> {
        let asked = self.core.rounds.asked();
        asked.into_iter().filter_map(|client| self.core.clients.subject(client)).collect()
    }

    fn write(&mut self, job: WriterJob) {
        self.core.actions.push(Action::Write(Box::new(job)));
    }
}
