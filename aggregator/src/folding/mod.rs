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
use fedra_aggregation::{ApplyError, ServerOptimizer};
use fedra_learning::safetensors::{self, ModelFileError};
use fedra_privacy::Privacy;
use fedra_protocol::{
    Mechanism, ModelSpec, RoundId, RoundPrivacy, Sha256Hash, SubjectId, TaskId, UpdateFault,
};
use thiserror::Error;

use crate::metrics::TaskMetrics;
use crate::round::{ClientId, Stage};
use crate::storage::{Debit, Keep, RoundRecord, Store, StoreError};
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
    /// The debit that paid for it, if it was made now.
    pub debit: Option<Debit>,
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
    #[error(transparent)]
    File(#[from] ModelFileError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Hears of clients whose contribution turned out to be worthless, and why.
type Faulty = dyn Fn(ClientId, RoundId, UpdateFault);

type Finished<T> = Box<dyn FnOnce(Result<T, FoldingError>) + Send>;

enum Job {
    Open(RoundId, Option<RoundPrivacy>),
    Take(ClientId, Option<SubjectId>, Contribution),
    Advance(RoundId, Stage, Vec<SubjectId>, Finished<Prepared>),
    Finalize(RoundFigures, Finished<GlobalModel>),
}

/// Sends jobs to the thread, which ends when this is dropped.
pub(crate) struct Folding {
    jobs: mpsc::Sender<Job>,
}

impl Folding {
    /// Starts the thread at the given model. `faulty` hears of clients whose
    /// contribution turned out to be worthless, and why.
    pub(crate) fn start(
        worker: Worker,
        faulty: impl Fn(ClientId, RoundId, UpdateFault) + Send + 'static,
    ) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (jobs, inbox) = mpsc::channel();
        let name = format!("fold-{}", worker.task);
        let thread =
            std::thread::Builder::new().name(name).spawn(move || worker.run(&inbox, &faulty))?;
        Ok((Self { jobs }, thread))
    }

    /// Starts the sum of a new attempt.
    pub(crate) fn open(&self, round: RoundId, privacy: Option<RoundPrivacy>) {
        self.send(Job::Open(round, privacy));
    }

    /// Takes what a client has sent, after it was accepted.
    pub(crate) fn take(
        &self,
        client: ClientId,
        subject: Option<SubjectId>,
        contribution: Contribution,
    ) {
        self.send(Job::Take(client, subject, contribution));
    }

    /// Prepares a stage that asks `subjects` for something, then calls
    /// `prepared` on the thread. A debit that is due is durable by then.
    pub(crate) fn advance(
        &self,
        round: RoundId,
        stage: Stage,
        subjects: Vec<SubjectId>,
        prepared: impl FnOnce(Result<Prepared, FoldingError>) + Send + 'static,
    ) {
        self.send(Job::Advance(round, stage, subjects, Box::new(prepared)));
    }

    /// Makes the new model and stores it, then calls `finished` on the thread.
    pub(crate) fn finalize(
        &self,
        figures: RoundFigures,
        finished: impl FnOnce(Result<GlobalModel, FoldingError>) + Send + 'static,
    ) {
        self.send(Job::Finalize(figures, Box::new(finished)));
    }

    fn send(&self, job: Job) {
        if self.jobs.send(job).is_err() {
            tracing::error!("the folding thread is gone");
        }
    }
}

/// What the thread works with.
pub(crate) struct Worker {
    pub task: TaskId,
    pub spec: ModelSpec,
    pub optimizer: ServerOptimizer,
    pub parameters: Arc<Vec<f32>>,
    pub privacy: Option<Arc<Privacy>>,
    /// The server's own noise, for a central policy.
    pub noise: Option<CentralNoise>,
    pub store: Arc<dyn Store>,
    /// Which models the store keeps.
    pub keep: Keep,
    pub metrics: TaskMetrics,
}

/// An attempt that is under way.
struct Attempt {
    round: RoundId,
    sum: Result<RoundSum, SumError>,
    clipping_norm: Option<f64>,
    /// Who has contributed, under a privacy policy.
    subjects: BTreeSet<SubjectId>,
}

impl Worker {
    fn run(mut self, inbox: &mpsc::Receiver<Job>, faulty: &Faulty) {
        let mut attempt = self.open(RoundId { round: 0, attempt: 0 }, None);
        for job in inbox {
            match job {
                Job::Open(round, privacy) => attempt = self.open(round, privacy),
                Job::Take(client, subject, contribution) => {
                    attempt.subjects.extend(subject);
                    self.take(&mut attempt, client, contribution, faulty);
                }
                Job::Advance(round, stage, subjects, prepared) => {
                    let result = self.advance(&mut attempt, stage, subjects);
                    if let Ok(Prepared { requests, .. }) = &result {
                        // Too few of their neighbours are left.
                        let fault = UpdateFault::NotInCohort;
                        requests.excluded.iter().for_each(|client| faulty(*client, round, fault));
                    }
                    prepared(result);
                }
                Job::Finalize(figures, finished) => {
                    let made = self.make_model(&figures, &mut attempt);
                    if let Ok(model) = &made {
                        self.parameters = Arc::clone(&model.parameters);
                    }
                    finished(made);
                }
            }
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
            _ => Ok(RoundSum::plain(parameters)),
        };
        Attempt { round, sum, clipping_norm, subjects: BTreeSet::new() }
    }

    fn take(
        &self,
        attempt: &mut Attempt,
        client: ClientId,
        contribution: Contribution,
        faulty: &Faulty,
    ) {
        let (bytes, fault) = (contribution.bytes(), contribution.fault());
        let start = Instant::now();
        let Ok(sum) = &mut attempt.sum else { return };
        if let Err(error) = sum.take(client, contribution) {
            let (task, round) = (&self.task, attempt.round);
            tracing::warn!(%task, %round, client = client.0, %error, "a contribution was left out");
            faulty(client, round, fault);
            return;
        }
        if bytes > 0 {
            self.metrics.folded(bytes, start.elapsed());
        }
    }

    fn advance(
        &self,
        attempt: &mut Attempt,
        stage: Stage,
        subjects: Vec<SubjectId>,
    ) -> Result<Prepared, FoldingError> {
        let sum = attempt
            .sum
            .as_mut()
            .map_err(|error| FoldingError::Sum(std::mem::replace(error, SumError::Empty)))?;
        let requests = sum.advance(stage)?;
        // From the answers to these two on, something is released to the server.
        let due = matches!(stage, Stage::Update | Stage::MaskedInput);
        let debit = due.then(|| self.debit(attempt.round, subjects)).transpose()?.flatten();
        Ok(Prepared { requests, debit })
    }

    /// Makes the attempt's debit durable, if the task has a privacy policy.
    fn debit(&self, round: RoundId, subjects: Vec<SubjectId>) -> Result<Option<Debit>, StoreError> {
        let Some(privacy) = &self.privacy else { return Ok(None) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let debit = Debit {
            round: round.round,
            attempt: round.attempt,
            unix_seconds: now.as_secs(),
            rho: privacy.cost(1).value(),
            subjects,
        };
        self.store.debit(&self.task, &debit)?;
        tracing::info!(task = %self.task, %round, subjects = debit.subjects.len(), "privacy debited");
        Ok(Some(debit))
    }

    /// Durable when it returns.
    fn make_model(
        &mut self,
        figures: &RoundFigures,
        attempt: &mut Attempt,
    ) -> Result<GlobalModel, FoldingError> {
        let start = Instant::now();
        let debit = if self.releases_at_the_end() {
            let subjects = attempt.subjects.iter().copied().collect();
            self.debit(attempt.round, subjects)?
        } else {
            None
        };
        let sum = match &mut attempt.sum {
            Ok(sum) => sum,
            Err(error) => return Err(std::mem::replace(error, SumError::Empty).into()),
        };
        let Mean { delta, within_clip } = sum.mean(self.noise.as_ref())?;
        let clipping_norm = self.next_clipping_norm(attempt.clipping_norm, within_clip);
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
        // The round is durable: what cannot be tidied up now is at the next one.
        if let Err(error) = self.store.prune(&self.task, &self.keep) {
            tracing::warn!(task = %self.task, %error, "old models are not removed");
        }
        Ok(GlobalModel { record, file, parameters: Arc::new(parameters), debit })
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
