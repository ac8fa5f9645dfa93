//! Writer of a task: adds up what clients send, makes the new model and stores it.
//!
//! Jobs run in the order in which they come, so a round is finalised after
//! everything that was accepted into it. The writer alone holds the sum and writes
//! rounds, privacy debits and operators' decisions to the store; it decides nothing
//! about rounds. It blocks on the store: give it a thread of its own.

mod noise;
mod position;
mod residual;
mod sums;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use differential_privacy::{AdaptiveClipping, ClippingNorm};
use fedra_aggregation::accumulator::{
    Answer, Contributor, Mean, Request, Requests, SecureError, Weight, WrongShare,
};
use fedra_aggregation::{ApplyError, RoundAccumulator};
use fedra_learning::safetensors::ModelFileError;
use fedra_protocol::{
    Mechanism, RoundId, RoundPrivacy, Scores, Sha256Hash, SubjectId, UpdateFault,
};
use rand::CryptoRng;
use thiserror::Error;

use crate::round::{ClientId, Operation, Stage};
use crate::settings::TaskSettings;
use crate::storage::{
    CheckpointFiles, Debit, Decision, Gate, GateRefusal, Lease, OperatorAction, RoundRecord,
    StepRecord, StoreError,
};
use noise::Noise;
use position::MeanUpdate;
pub use position::{CheckpointError, Position};
pub use residual::{Residual, ResidualError};
pub use sums::{Contribution, Received, Room, SumError, round_bounds};

/// Figures of a round whose reports are in.
#[derive(Debug, Clone)]
pub struct RoundFigures {
    /// Number of the round.
    pub round: u64,
    /// Attempts that were abandoned before.
    pub attempt: u32,
    /// Clients that were invited.
    pub cohort: u32,
    /// Reports in the sum.
    pub reports: u32,
    /// Their weight, before any discount.
    pub weight: u64,
    /// Time from the invitation to the last report.
    pub elapsed: Duration,
    /// Bytes up and down since the round before.
    pub traffic: (u64, u64),
    /// Clipping norm of the task's updates, under a privacy policy.
    pub clipping_norm: Option<f64>,
}

/// A global model, durable.
#[derive(Debug, Clone)]
pub struct GlobalModel {
    /// Record of its round.
    pub record: RoundRecord,
    /// The file, as safetensors.
    pub file: Bytes,
    /// The step from the model before, if there is one.
    pub step: Option<Bytes>,
    /// The parameters, in the order of the model.
    pub parameters: Arc<Vec<f32>>,
    /// The file of the server's control variate, if there is one.
    pub control: Option<Bytes>,
}

/// A stage that may begin.
#[derive(Debug)]
pub struct Prepared {
    /// Requests, each with its client.
    pub requests: Vec<(ClientId, Request)>,
    /// Clients that cannot go on.
    pub excluded: Vec<ClientId>,
    /// The debit that pays for the answers, if it was made now.
    pub debit: Option<Debit>,
}

/// Reason why a stage or a round's model was not made.
#[derive(Debug, Error)]
pub enum WriterError {
    /// There is no sum.
    #[error(transparent)]
    Sum(#[from] SumError),
    /// Secure aggregation failed.
    #[error(transparent)]
    Secure(#[from] SecureError),
    /// Fewer updates than a mean under the policy is promised to be over: some that had
    /// been accepted were left out.
    #[error("the sum holds {there} updates, and the policy promises {needed} or more")]
    TooFew {
        /// Updates in the sum.
        there: usize,
        /// Fewest that the policy promises.
        needed: u32,
    },
    /// The server optimizer has no step from the mean.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The step along the mean update leaves the range of float32.
    #[error(
        "the new model would have a value that is not finite ({0}); a smaller \
         server_optimizer.learning_rate or training.learning_rate may help"
    )]
    NotFinite(ModelFileError),
    /// The model or the optimizer's state does not make a file.
    #[error(transparent)]
    File(CheckpointError),
    /// The store could not write.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<CheckpointError> for WriterError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Model(error @ ModelFileError::NotFinite { .. })
            | CheckpointError::Control(error @ ModelFileError::NotFinite { .. }) => {
                Self::NotFinite(error)
            }
            other => Self::File(other),
        }
    }
}

/// Reason why an earlier model was not restored.
#[derive(Debug, Error)]
pub enum RollBackError {
    /// A file is not one of this task.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// The store does not have it, or could not write.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Work for the writer, done in the order in which it comes.
#[derive(Debug)]
pub enum WriterJob {
    /// Start the sum of a new attempt.
    Open(RoundId, Option<RoundPrivacy>),
    /// Add what a client has sent, after it was accepted.
    Fold {
        /// The client.
        client: ClientId,
        /// Its subject.
        subject: Option<SubjectId>,
        /// Round of its invitation.
        round: RoundId,
        /// The contribution.
        contribution: Contribution,
        /// Models made since the one that it started from.
        staleness: u32,
    },
    /// The attempt under way has another name.
    Renumber {
        /// The old name.
        from: RoundId,
        /// The new one.
        to: RoundId,
    },
    /// Prepare a stage that asks these subjects for something. A debit that is
    /// due is durable by the answer.
    Advance(RoundId, Stage, Vec<SubjectId>),
    /// Make the new model and store it.
    Finalize(RoundFigures),
    /// Make the operator's decision durable.
    Decide(Operation),
    /// Go back to the model of this round, as a new round.
    RollBack(u64),
    /// Go back from the newest model, which this gate has refused, as a new round.
    Refuse(Gate, GateRefusal),
}

impl WriterJob {
    /// Bytes of an update that the job adds to the sum; 0 for any other job.
    #[must_use]
    pub fn folded_bytes(&self) -> u64 {
        match self {
            Self::Fold { contribution, .. } => contribution.bytes(),
            _ => 0,
        }
    }
}

/// Result of a job, for the task's core.
#[derive(Debug)]
pub enum WriterEvent {
    /// A contribution that was accepted turned out to be worthless. It is left out of
    /// the round.
    LeftOut(ClientId, RoundId, UpdateFault),
    /// A client cannot go on in secure aggregation, because too few of its neighbours
    /// are left.
    Excluded(ClientId, RoundId),
    /// A stage is prepared, or cannot be.
    Prepared(RoundId, Stage, Result<Prepared, WriterError>),
    /// The round's model is durable, or could not be made. A debit made for it stands
    /// in both cases.
    Finalized(RoundId, Option<Debit>, Result<GlobalModel, WriterError>),
    /// The operator's decision is durable, or could not be made so.
    Decided(Operation, Result<(), StoreError>),
    /// The operator's roll-back is durable, or was not made.
    RolledBack(Result<GlobalModel, RollBackError>),
    /// The gate's roll-back is durable, or was not made.
    Refused(GateRefusal, Result<GlobalModel, RollBackError>),
}

/// Writer of one task.
pub struct Writer {
    settings: Arc<TaskSettings>,
    lease: Lease,
    /// Newest model, from which the next round goes on.
    position: Position,
    /// Noise of the server, under a central policy.
    noise: Noise,
    attempt: Option<Attempt>,
}

/// An attempt that is under way.
pub struct Attempt {
    round: RoundId,
    sum: Result<Box<dyn RoundAccumulator>, SumError>,
    /// Updates in the sum.
    updates: u32,
    /// Subjects that have contributed, under a privacy policy.
    subjects: BTreeSet<SubjectId>,
}

impl Writer {
    /// Goes on from the newest model at `position`. `secret` seeds the noise of a
    /// central policy if the store has no secret yet.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the secret cannot be read or written.
    pub fn new(
        settings: Arc<TaskSettings>,
        lease: Lease,
        position: Position,
        secret: [u8; 32],
    ) -> Result<Self, StoreError> {
        let noise = Noise::of(&settings, || lease.secret(secret))?;
        Ok(Self { settings, lease, position, noise, attempt: None })
    }

    /// Does a job. `unix_seconds` is the date of what is noted in the store; `rng`
    /// seats the clients of secure aggregation, and rounds the steps of the model.
    pub fn work(
        &mut self,
        job: WriterJob,
        unix_seconds: u64,
        rng: &mut dyn CryptoRng,
    ) -> Vec<WriterEvent> {
        match job {
            WriterJob::Open(round, privacy) => {
                self.attempt = Some(self.open(round, privacy));
                Vec::new()
            }
            WriterJob::Fold { client, subject, round, contribution, staleness } => {
                let fault = self.fold(client, subject, contribution, staleness);
                let left_out = |fault| WriterEvent::LeftOut(client, round, fault);
                fault.map(left_out).into_iter().collect()
            }
            WriterJob::Renumber { from, to } => {
                if let Some(attempt) = self.attempt.as_mut().filter(|a| a.round == from) {
                    attempt.round = to;
                    attempt.sum.iter_mut().for_each(|sum| sum.renumber(to));
                }
                Vec::new()
            }
            WriterJob::Advance(round, stage, subjects) => {
                let result = self.advance(stage, subjects, unix_seconds, rng);
                let excluded = result.as_ref().map_or(&[][..], |prepared| &prepared.excluded);
                let excluded = excluded.iter().map(|&client| WriterEvent::Excluded(client, round));
                let mut events: Vec<_> = excluded.collect();
                events.push(WriterEvent::Prepared(round, stage, result));
                events
            }
            WriterJob::Finalize(figures) => {
                let round = RoundId { round: figures.round, attempt: figures.attempt };
                let (debit, model) = self.finalize(&figures, unix_seconds, rng);
                vec![WriterEvent::Finalized(round, debit, model)]
            }
            WriterJob::Decide(operation) => {
                let action = match operation {
                    Operation::Pause => OperatorAction::Pause,
                    Operation::Resume => OperatorAction::Resume,
                    Operation::Stop => OperatorAction::Stop,
                };
                let decision = Decision { unix_seconds, action };
                let done = self.lease.decide(&decision);
                vec![WriterEvent::Decided(operation, done)]
            }
            WriterJob::RollBack(to) => {
                let restored = self.lease.roll_back(to, unix_seconds);
                vec![WriterEvent::RolledBack(self.restored(restored))]
            }
            WriterJob::Refuse(gate, refusal) => {
                let restored = self.lease.refuse(&gate, refusal, unix_seconds);
                vec![WriterEvent::Refused(refusal, self.restored(restored))]
            }
        }
    }

    fn open(&self, round: RoundId, numbers: Option<RoundPrivacy>) -> Attempt {
        let sum = sums::open(&self.settings, &self.noise, round, numbers);
        Attempt { round, sum, updates: 0, subjects: BTreeSet::new() }
    }

    fn fold(
        &mut self,
        client: ClientId,
        subject: Option<SubjectId>,
        contribution: Contribution,
        staleness: u32,
    ) -> Option<UpdateFault> {
        let takes_place = matches!(contribution, Contribution::Answer(Answer::Keys(_)));
        let counts_once = self.releases_at_the_end() || takes_place;
        let attempt = self.attempt.as_mut()?;
        let (from, fault) = (Contributor(client.0), contribution.fault());
        let is_update = matches!(contribution, Contribution::Update(..));
        let sum = attempt.sum.as_mut().ok()?;
        // The debit pays for one contribution of each subject. Here nothing counts but what
        // is in the sum, or has keys for it.
        if counts_once && subject.is_none_or(|subject| attempt.subjects.contains(&subject)) {
            let (task, round) = (&self.settings.id, attempt.round);
            tracing::warn!(
                %task, %round, client = client.0,
                "an update was left out: its subject is in the sum already, or it has none"
            );
            return Some(UpdateFault::Duplicate);
        }
        let added = match contribution {
            // Its room is held until it is in the sum.
            Contribution::Update(Received { update, room: _room }, examples) => {
                let discount = self.settings.plan.mode.discount(staleness);
                sum.add(from, update, Weight { examples, discount })
            }
            Contribution::Answer(answer) => sum.answer(from, answer),
        };
        if let Err(error) = added {
            let (task, round) = (&self.settings.id, attempt.round);
            tracing::warn!(%task, %round, client = client.0, %error, "a contribution was left out");
            return Some(fault);
        }
        attempt.updates += u32::from(is_update);
        attempt.subjects.extend(subject.filter(|_| self.settings.privacy.is_some()));
        None
    }

    fn advance(
        &mut self,
        stage: Stage,
        subjects: Vec<SubjectId>,
        unix_seconds: u64,
        rng: &mut dyn CryptoRng,
    ) -> Result<Prepared, WriterError> {
        let attempt = self.attempt.as_mut().ok_or(SumError::NoAttempt)?;
        let sum = attempt
            .sum
            .as_mut()
            .map_err(|error| WriterError::Sum(std::mem::replace(error, SumError::NoAttempt)))?;
        let Requests { requests, excluded } = match stage {
            // Nothing is asked for before it.
            Stage::Update => Requests::default(),
            Stage::Keys | Stage::Shares | Stage::MaskedInput | Stage::UnmaskingShares => {
                sum.advance(rng)?
            }
        };
        let round = attempt.round;
        // From the answers to these two on, something is released to the server.
        let due = matches!(stage, Stage::Update | Stage::MaskedInput);
        let debit = due.then(|| self.debit(round, subjects, unix_seconds)).transpose()?.flatten();
        let client = |from: Contributor| ClientId(from.0);
        let requests = requests.into_iter().map(|(from, request)| (client(from), request));
        let excluded = excluded.into_iter().map(client);
        Ok(Prepared { requests: requests.collect(), excluded: excluded.collect(), debit })
    }

    /// Makes the attempt's debit durable, if the task has a privacy policy.
    fn debit(
        &self,
        round: RoundId,
        subjects: Vec<SubjectId>,
        unix_seconds: u64,
    ) -> Result<Option<Debit>, StoreError> {
        let TaskSettings { id: task, privacy: Some(privacy), .. } = &*self.settings else {
            return Ok(None);
        };
        let debit = Debit {
            round: round.round,
            attempt: round.attempt,
            unix_seconds,
            rho: privacy.derived.cost(1).value(),
            subjects,
        };
        self.lease.debit(&debit)?;
        tracing::info!(%task, %round, subjects = debit.subjects.len(), "privacy debited");
        Ok(Some(debit))
    }

    /// Pays for the model, if that is due now, and makes it. A payment stands even if
    /// there is no model.
    fn finalize(
        &mut self,
        figures: &RoundFigures,
        unix_seconds: u64,
        rng: &mut dyn CryptoRng,
    ) -> (Option<Debit>, Result<GlobalModel, WriterError>) {
        let Some(attempt) = self.attempt.take() else {
            return (None, Err(SumError::NoAttempt.into()));
        };
        // Without a sum there is nothing to release.
        let paid = match self.releases_at_the_end() && attempt.sum.is_ok() {
            true => self.pay(&attempt, unix_seconds),
            false => Ok(None),
        };
        match paid {
            Ok(debit) => (debit, self.make_model(attempt, figures, rng)),
            Err(error) => (None, Err(error)),
        }
    }

    /// Debits those who are in the sum, if they are as many as clients were promised.
    fn pay(&self, attempt: &Attempt, unix_seconds: u64) -> Result<Option<Debit>, WriterError> {
        let subjects: Vec<_> = attempt.subjects.iter().copied().collect();
        let needed = self.settings.policy().map_or(0, |policy| policy.minimum_survivors);
        if subjects.len() < needed as usize {
            return Err(WriterError::TooFew { there: subjects.len(), needed });
        }
        Ok(self.debit(attempt.round, subjects, unix_seconds)?)
    }

    /// Durable when it returns.
    fn make_model(
        &mut self,
        attempt: Attempt,
        figures: &RoundFigures,
        rng: &mut dyn CryptoRng,
    ) -> Result<GlobalModel, WriterError> {
        let Mean { delta, within_clip, wrong_shares } =
            attempt.sum?.finish().map_err(SumError::from)?;
        for WrongShare { owner, sender } in wrong_shares {
            let (round, owner, sender) = (attempt.round, owner.0, sender.0);
            tracing::warn!(%round, owner, sender, "a wrong share was left out");
        }
        let clipping_norm = self.next_clipping_norm(figures.clipping_norm, within_clip);
        let scores = self.scores(figures.round, &delta);
        let (next, step) = match scores {
            // The model of such a round is the one that was evaluated.
            Some(_) => (self.position.clone(), None),
            None => {
                let (round, updates) = (figures.round, attempt.updates);
                let update = MeanUpdate { round, mean: &delta, updates };
                self.position.after(&self.settings, update, rng)?
            }
        };
        let files = CheckpointFiles { step, ..next.files(&self.settings)? };
        let step = self.step_record(files.step.as_deref())?;
        let record = RoundRecord {
            round: figures.round,
            attempt: figures.attempt,
            sha256: Sha256Hash::of(&files.model),
            model_bytes: files.model.len() as u64,
            cohort: figures.cohort,
            reports: figures.reports,
            weight: figures.weight,
            seconds: figures.elapsed.as_secs_f64(),
            bytes_up: figures.traffic.0,
            bytes_down: figures.traffic.1,
            quality: None,
            client_quality: scores.map(|scores| scores.quality(&self.settings.model)),
            clipping_norm,
            restored: None,
            refusal: None,
            optimizer_state: files.state_sha256(),
            frozen: None,
            step,
            residual: files.residual_sha256(),
            control: files.control_record(),
        };
        self.lease.commit(&record, &files)?;
        Ok(self.go_on_from(next, record, files))
    }

    /// Record of a step from the newest model.
    fn step_record(&self, file: Option<&[u8]>) -> Result<Option<StepRecord>, StoreError> {
        let Some((file, codec)) = file.zip(self.settings.model_codec.as_ref()) else {
            return Ok(None);
        };
        Ok(Some(StepRecord {
            sha256: Sha256Hash::of(file),
            bytes: file.len() as u64,
            base: self.lease.storage().last_record(&self.settings.id)?.sha256,
            codec: codec.name(),
            range: self.settings.update_range,
        }))
    }

    /// Scores that the mean of a round of evaluation stands for; `None` of a round of
    /// training.
    fn scores(&self, round: u64, mean: &[f64]) -> Option<Scores> {
        let rounds = self.settings.evaluation(round)?;
        Some(match rounds.derived() {
            None => Scores::of_plain(mean),
            Some(_) => Scores::of_protected(mean, rounds.evaluation.loss_bound()),
        })
    }

    /// Goes on from a model that is durable.
    fn go_on_from(
        &mut self,
        position: Position,
        record: RoundRecord,
        files: CheckpointFiles,
    ) -> GlobalModel {
        self.position = position;
        let TaskSettings { checkpoints, gate, .. } = &*self.settings;
        if let Err(error) = self.lease.prune(checkpoints, gate.as_ref()) {
            tracing::warn!(task = %self.settings.id, %error, "old models cannot be removed");
        }
        let CheckpointFiles { model: file, step, control, .. } = files;
        let parameters = Arc::clone(&self.position.parameters);
        GlobalModel { record, file, step, parameters, control: control.map(|of| of.file) }
    }

    /// Goes on from an earlier model, if it is durable as the newest.
    fn restored(
        &mut self,
        restored: Result<(RoundRecord, CheckpointFiles), StoreError>,
    ) -> Result<GlobalModel, RollBackError> {
        let (record, files) = restored?;
        let position = Position::of(&self.settings, &files)?;
        Ok(self.go_on_from(position, record, files))
    }

    /// True if the model is the first result of the round that leaves the server: under
    /// a central policy.
    fn releases_at_the_end(&self) -> bool {
        let mechanism = self.settings.policy().map(|policy| policy.mechanism);
        matches!(mechanism, Some(Mechanism::Central { .. }))
    }

    fn next_clipping_norm(&self, now: Option<f64>, within_clip: Option<f64>) -> Option<f64> {
        let (clip, policy) = (now?, self.settings.policy()?);
        let adapted = || {
            let clipping = AdaptiveClipping::new(policy.target_quantile?).ok()?;
            let next = clipping.next(ClippingNorm::new(clip).ok()?, within_clip?);
            Some(next.value())
        };
        Some(adapted().unwrap_or(clip))
    }
}

#[cfg(test)]
mod tests;
