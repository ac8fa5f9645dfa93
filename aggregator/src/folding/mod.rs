//! The thread of a task that takes what clients send, and makes the new model.
//!
//! Jobs run in the order in which they come, so a round is finalised after
//! everything that was accepted into it. The thread is the only one that holds
//! the sum and writes rounds and privacy debits to the store; it decides nothing
//! about rounds.

mod noise;
mod secure;
mod sums;

use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use differential_privacy::{AdaptiveClipping, ClippingNorm};
use fedra_aggregation::{ApplyError, MAX_TOTAL_WEIGHT, ServerOptimizer};
use fedra_learning::safetensors::{self, ModelFileError};
use fedra_privacy::Privacy;
use fedra_protocol::{
    Mechanism, ModelSpec, RoundId, RoundPrivacy, Sha256Hash, SubjectId, TaskId, UpdateFault,
    UpdateRange,
};
use thiserror::Error;

use crate::coordinator::Command;
use crate::metrics::TaskMetrics;
use crate::round::{ClientId, Mode, Operation, RoundPlan, Stage};
use crate::storage::{Action, Debit, Decision, Keep, RoundRecord, Store, StoreError};
pub(crate) use noise::CentralNoise;
pub(crate) use secure::{Request, Requests};
pub(crate) use sums::{Contribution, Received};
use sums::{Mean, PrivateRound, RoundSum, SumError};

/// What is known of a round before its model is made.
#[derive(Debug, Clone)]
pub(crate) struct RoundFigures {
    pub round: u64,
    pub attempt: u32,
    pub cohort: u32,
    pub reports: u32,
    pub weight: u64,
    pub elapsed: Duration,
    pub traffic: (u64, u64),
}

/// A global model, durable.
#[derive(Debug, Clone)]
pub(crate) struct GlobalModel {
    pub record: RoundRecord,
    pub file: Bytes,
    pub parameters: Arc<Vec<f32>>,
}

/// A stage that may begin.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub requests: Requests,
    /// The debit that pays for the answers, if it was made now.
    pub debit: Option<Debit>,
}

/// Why a stage or a round's model was not made.
#[derive(Debug, Error)]
pub(crate) enum FoldingError {
    #[error(transparent)]
    Sum(#[from] SumError),
    #[error(transparent)]
    Secure(#[from] secure::SecureError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The step along the mean update leaves the range of float32.
    #[error(
        "the new model would have a value that is not finite ({0}); a smaller \
         server_learning_rate or training.learning_rate may help"
    )]
    NotFinite(ModelFileError),
    #[error(transparent)]
    File(ModelFileError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ModelFileError> for FoldingError {
    fn from(error: ModelFileError) -> Self {
        match error {
            ModelFileError::NotFinite { .. } => Self::NotFinite(error),
            other => Self::File(other),
        }
    }
}

/// Why there was no way back to an earlier model.
#[derive(Debug, Error)]
pub(crate) enum RollBackError {
    #[error(transparent)]
    File(#[from] ModelFileError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Work for the thread, done in the order in which it comes.
pub(crate) enum Job {
    /// Start the sum of a new attempt.
    Open(RoundId, Option<RoundPrivacy>),
    /// Take what a client has sent, after it was accepted.
    Take {
        client: ClientId,
        subject: Option<SubjectId>,
        contribution: Contribution,
        /// Models made since the one that it started from.
        staleness: u32,
    },
    /// The attempt under way has another name.
    Renumber { from: RoundId, to: RoundId },
    /// Prepare a stage that asks these subjects for something. A debit that is
    /// due is durable by the answer.
    Advance(RoundId, Stage, Vec<SubjectId>),
    /// Make the new model and store it.
    Finalize(RoundFigures),
    /// Make the operator's decision durable.
    Decide(Operation),
    /// Go back to the model of this round, as a new round.
    RollBack(u64),
}

/// Sends jobs to the thread, which ends when this is dropped.
pub(crate) struct Folding {
    jobs: mpsc::Sender<Job>,
}

impl Folding {
    /// Starts the thread at the given model. `tell` hears what came of the jobs.
    pub(crate) fn start(
        mut worker: Worker,
        tell: impl Fn(Command) + Send + 'static,
    ) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (jobs, inbox) = mpsc::channel();
        let name = format!("fold-{}", worker.task);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            for job in inbox {
                worker.work(job).into_iter().for_each(&tell);
            }
        })?;
        Ok((Self { jobs }, thread))
    }

    pub(crate) fn send(&self, job: Job) {
        if self.jobs.send(job).is_err() {
            tracing::error!("the folding thread is gone");
        }
    }
}

/// What the thread works with.
pub(crate) struct Worker {
    pub task: TaskId,
    pub spec: ModelSpec,
    pub update_range: UpdateRange,
    pub mode: Mode,
    /// Parts of an example that the weights of buffered rounds are counted in: see
    /// [`weight_steps`].
    pub weight_steps: u64,
    pub optimizer: ServerOptimizer,
    pub parameters: Arc<Vec<f32>>,
    pub keep: Keep,
    pub privacy: Option<Arc<Privacy>>,
    /// The server's own noise, for a central policy.
    pub noise: Option<CentralNoise>,
    pub store: Arc<dyn Store>,
    pub metrics: TaskMetrics,
    pub attempt: Option<Attempt>,
}

/// An attempt that is under way.
pub(crate) struct Attempt {
    round: RoundId,
    sum: Result<RoundSum, SumError>,
    clipping_norm: Option<f64>,
    /// Who has contributed, under a privacy policy.
    subjects: BTreeSet<SubjectId>,
    /// Of buffered rounds: the weight of what is in the sum, and what it would
    /// be if nothing were stale, both in parts of [`Worker::weight_steps`].
    discounted: u64,
    undiscounted: u64,
}

/// Parts of an example to which a discounted weight is rounded: sixteenths, or as many
/// as the largest weights of a whole round leave room for in a sum.
pub(crate) fn weight_steps(plan: &RoundPlan) -> u64 {
    let largest = plan.max_weight.saturating_mul(plan.most_reports() as u64);
    (MAX_TOTAL_WEIGHT / largest.max(1)).clamp(1, 16)
}

impl Worker {
    /// Does a job; what comes of it is for the coordinator.
    pub(crate) fn work(&mut self, job: Job) -> Vec<Command> {
        match job {
            Job::Open(round, privacy) => {
                self.attempt = Some(self.open(round, privacy));
                Vec::new()
            }
            Job::Take { client, subject, contribution, staleness } => {
                self.take(client, subject, contribution, staleness).into_iter().collect()
            }
            Job::Renumber { from, to } => {
                if let Some(attempt) = self.attempt.as_mut().filter(|a| a.round == from) {
                    attempt.round = to;
                }
                Vec::new()
            }
            Job::Advance(round, stage, subjects) => {
                let result = self.advance(stage, subjects);
                let excluded = result.as_ref().map_or(&[][..], |p| &p.requests.excluded);
                // Too few of their neighbours are left.
                let fault = UpdateFault::NotInCohort;
                let strike = |client: &ClientId| Command::Strike(*client, round, fault);
                let mut commands: Vec<_> = excluded.iter().map(strike).collect();
                commands.push(Command::Prepared(round, stage, result));
                commands
            }
            Job::Finalize(figures) => {
                let round = RoundId { round: figures.round, attempt: figures.attempt };
                let (debit, model) = self.finalize(&figures);
                vec![Command::Finalized(round, debit, model)]
            }
            Job::Decide(operation) => {
                let action = match operation {
                    Operation::Pause => Action::Pause,
                    Operation::Resume => Action::Resume,
                    Operation::Stop => Action::Stop,
                };
                let decision = Decision { unix_seconds: unix_seconds(), action };
                vec![Command::Decided(operation, self.store.decide(&self.task, &decision))]
            }
            Job::RollBack(to) => vec![Command::RolledBack(self.roll_back(to))],
        }
    }

    fn open(&self, round: RoundId, numbers: Option<RoundPrivacy>) -> Attempt {
        let parameters = self.parameters.len();
        let clipping_norm = numbers.map(|numbers| numbers.clipping_norm);
        let sum = match (&self.privacy, numbers) {
            (Some(privacy), Some(numbers)) => {
                let (task, privacy) = (self.task.clone(), Arc::clone(privacy));
                RoundSum::private(PrivateRound { task, round, privacy, numbers })
            }
            _ => Ok(RoundSum::plain(parameters, self.update_range)),
        };
        let (subjects, discounted, undiscounted) = (BTreeSet::new(), 0, 0);
        Attempt { round, sum, clipping_norm, subjects, discounted, undiscounted }
    }

    fn take(
        &mut self,
        client: ClientId,
        subject: Option<SubjectId>,
        contribution: Contribution,
        staleness: u32,
    ) -> Option<Command> {
        let attempt = self.attempt.as_mut()?;
        let start = Instant::now();
        let (bytes, fault) = (contribution.bytes(), contribution.fault());
        let (contribution, weights) = match contribution {
            Contribution::Update(update, weight) if self.mode != Mode::Synchronous => {
                let whole = weight.saturating_mul(self.weight_steps);
                let part = (whole as f64 * self.mode.discount(staleness)).round().max(1.0) as u64;
                (Contribution::Update(update, part), (part, whole))
            }
            other => (other, (0, 0)),
        };
        let sum = attempt.sum.as_mut().ok()?;
        if let Err(error) = sum.take(client, contribution) {
            let (task, round) = (&self.task, attempt.round);
            tracing::warn!(%task, %round, client = client.0, %error, "a contribution was left out");
            return Some(Command::Strike(client, round, fault));
        }
        attempt.subjects.extend(subject.filter(|_| self.privacy.is_some()));
        attempt.discounted += weights.0;
        attempt.undiscounted += weights.1;
        if bytes > 0 {
            self.metrics.folded(bytes, start.elapsed());
        }
        None
    }

    fn advance(
        &mut self,
        stage: Stage,
        subjects: Vec<SubjectId>,
    ) -> Result<Prepared, FoldingError> {
        let attempt = self.attempt.as_mut().ok_or(SumError::Empty)?;
        let sum = attempt
            .sum
            .as_mut()
            .map_err(|error| FoldingError::Sum(std::mem::replace(error, SumError::Empty)))?;
        let requests = sum.advance(stage)?;
        let round = attempt.round;
        // From the answers to these two on, something is released to the server.
        let due = matches!(stage, Stage::Update | Stage::MaskedInput);
        let debit = due.then(|| self.debit(round, subjects)).transpose()?.flatten();
        Ok(Prepared { requests, debit })
    }

    /// Makes the attempt's debit durable, if the task has a privacy policy.
    fn debit(&self, round: RoundId, subjects: Vec<SubjectId>) -> Result<Option<Debit>, StoreError> {
        let Some(privacy) = &self.privacy else { return Ok(None) };
        let debit = Debit {
            round: round.round,
            attempt: round.attempt,
            unix_seconds: unix_seconds(),
            rho: privacy.cost(1).value(),
            subjects,
        };
        self.store.debit(&self.task, &debit)?;
        tracing::info!(task = %self.task, %round, subjects = debit.subjects.len(), "privacy debited");
        Ok(Some(debit))
    }

    /// Pays for the model, if that is due now, and makes it. What is paid is paid,
    /// whatever becomes of the model.
    fn finalize(
        &mut self,
        figures: &RoundFigures,
    ) -> (Option<Debit>, Result<GlobalModel, FoldingError>) {
        let Some(attempt) = self.attempt.take() else {
            return (None, Err(SumError::Empty.into()));
        };
        let subjects = attempt.subjects.iter().copied().collect();
        let paid = match self.releases_at_the_end() {
            true => self.debit(attempt.round, subjects),
            false => Ok(None),
        };
        match paid {
            Ok(debit) => (debit, self.make_model(attempt, figures)),
            Err(error) => (None, Err(error.into())),
        }
    }

    /// Durable when it returns.
    fn make_model(
        &mut self,
        mut attempt: Attempt,
        figures: &RoundFigures,
    ) -> Result<GlobalModel, FoldingError> {
        let start = Instant::now();
        let Mean { mut delta, within_clip } = attempt.sum?.mean(self.noise.as_ref())?;
        if attempt.undiscounted > 0 {
            // Stale updates count less, and the others no more for it.
            let share = attempt.discounted as f64 / attempt.undiscounted as f64;
            delta.iter_mut().for_each(|value| *value *= share);
        }
        let clipping_norm = self.next_clipping_norm(attempt.clipping_norm.take(), within_clip);
        let parameters = self.optimizer.step(&self.parameters, &delta)?;
        let file = Bytes::from(safetensors::write(&self.spec, &parameters)?);
        let record = RoundRecord {
            round: figures.round,
            attempt: figures.attempt,
            sha256: Sha256Hash::of(&file),
            model_bytes: file.len() as u64,
            cohort: figures.cohort,
            reports: figures.reports,
            weight: figures.weight,
            seconds: (figures.elapsed + start.elapsed()).as_secs_f64(),
            bytes_up: figures.traffic.0,
            bytes_down: figures.traffic.1,
            quality: None,
            clipping_norm,
            restored: None,
        };
        self.store.commit(&self.task, &record, &file)?;
        let parameters = Arc::new(parameters);
        self.go_on_from(&parameters);
        Ok(GlobalModel { record, file, parameters })
    }

    /// Goes on from a model that is durable.
    fn go_on_from(&mut self, parameters: &Arc<Vec<f32>>) {
        self.parameters = Arc::clone(parameters);
        if let Err(error) = self.store.prune(&self.task, &self.keep) {
            tracing::warn!(task = %self.task, %error, "old models cannot be removed");
        }
    }

    /// Durable when it returns.
    fn roll_back(&mut self, to: u64) -> Result<GlobalModel, RollBackError> {
        let (record, file) = self.store.roll_back(&self.task, to, unix_seconds())?;
        let parameters = Arc::new(safetensors::read(&self.spec, &file)?);
        self.go_on_from(&parameters);
        Ok(GlobalModel { record, file, parameters })
    }

    /// Whether the model is the first that anybody but the server sees of the
    /// round: under a central policy.
    fn releases_at_the_end(&self) -> bool {
        let mechanism = self.privacy.as_ref().map(|privacy| privacy.policy().mechanism);
        matches!(mechanism, Some(Mechanism::Central { .. }))
    }

    fn next_clipping_norm(&self, now: Option<f64>, within_clip: Option<f64>) -> Option<f64> {
        let (clip, policy) = (now?, self.privacy.as_ref()?.policy());
        let adapted = || {
            let clipping = AdaptiveClipping::new(policy.target_quantile?).ok()?;
            let next = clipping.next(ClippingNorm::new(clip).ok()?, within_clip?);
            Some(next.value())
        };
        Some(adapted().unwrap_or(clip))
    }
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
