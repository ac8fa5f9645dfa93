//! One round's work: fetch the model, train, take the difference, protect it.
//!
//! Under a privacy policy an update leaves independent of the data: where training
//! fails it is the zero update. A client that stayed away because of its data would
//! tell something about them.

mod carried;
mod evaluating;
mod personal;
mod steps;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fedra_aggregation::codec::CodecMisfit;
use fedra_data::Dataset;
use fedra_keystream::KeystreamRng;
use fedra_learning::safetensors::ModelFileError;
use fedra_learning::{
    ExampleCost, ExamplePrivacy, Inference, LearningError, LocalTrainer, Weights, WeightsView,
    examples_in, safetensors,
};
use fedra_protocol::{LocalTraining, ModelRef, ModelSpec, Sha256Hash, TaskDescription};
use futures_util::future::{self, Either};
use futures_util::lock::Mutex;
use rand_chacha::rand_core::SeedableRng;

pub use personal::{ModelScores, Personalization};

pub use carried::{Carried, Correction};
use personal::PersonalModel;

use crate::backend::{self, BackendPreference, Chooser};
use crate::codes::Notice;
use crate::devices::{Compute, Trainer, TrainingError};
use crate::events::ClientEvent;
use crate::failure::Failure;
use crate::local_data::LocalData;
use crate::origin::ServerUrl;
use crate::outgoing::{Learned, Outgoing, OutgoingError, RoundJob};
use crate::platform::{self, Trust};
use crate::predict::{Features, Outputs, PredictError, in_pieces};
use crate::privacy::ExampleTerms;
use crate::secure_round::SecureRound;
use crate::session::{SecureReply, SecureRequest};
use crate::training::Progress;

/// Longest waits between the tries to fetch a round's model.
const FETCH_AGAIN: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// Reason why training with a promise to single examples takes no GPU.
const EXAMPLES_ON_CPU: &str = "example privacy is computed on the CPU";

/// Time limit for fetching a model for a prediction, in addition to the time for its
/// bytes at [`SLOWEST_FETCH`]. In a round the round's end is the limit.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes a second.
const SLOWEST_FETCH: u64 = 64 << 10;

/// The last file that was fetched.
type Kept = RefCell<Option<KeptFile>>;

/// Values of a file, its hash, and its beginning before the first value.
#[derive(Clone)]
struct KeptFile {
    sha256: Sha256Hash,
    head: Bytes,
    values: Arc<Vec<f32>>,
}

/// Reads the values of a model's trained tensors, or of its frozen ones, from their file.
type ReadValues = fn(&ModelSpec, &[u8]) -> Result<Vec<f32>, ModelFileError>;

/// A model and the files of its values.
#[derive(Clone, Debug)]
pub(crate) struct GlobalModel {
    pub spec: ModelSpec,
    /// Of the frozen tensors, if there are some: the same in each round.
    pub frozen: Option<ModelRef>,
    /// Of the trained tensors.
    pub trained: ModelRef,
}

/// State of a client between rounds: its data, its device, the last model; and between
/// the steps of a round's secure aggregation, the client's secrets.
pub(crate) struct LocalWork {
    url: ServerUrl,
    trust: Trust,
    data: RefCell<Option<LocalData>>,
    chooser: Chooser,
    model: Kept,
    frozen: Kept,
    /// Control variate of the server.
    control: Kept,
    secure: RefCell<Option<SecureRound>>,
    /// State that goes from one update to the next.
    carried: RefCell<Carried>,
    example_privacy: Option<ExamplePrivacy>,
    /// Cost of training for the examples, in all rounds together.
    example_cost: RefCell<Option<ExampleCost>>,
    slots: platform::TrainingSlots,
    predicting: Mutex<()>,
    /// Model of this device's own, once it was made.
    personal: RefCell<Option<Rc<PersonalModel>>>,
}

/// Result of work for a round.
#[derive(Debug)]
pub(crate) enum Done {
    /// An update in the form in which it leaves.
    Trained {
        update: Bytes,
        /// Examples it was trained on.
        examples: u64,
    },
    /// A step of secure aggregation.
    Secured(SecureReply),
}

/// Local training of a round.
struct Training<'a> {
    spec: &'a ModelSpec,
    weights: WeightsView<'a>,
    data: &'a Arc<Dataset>,
    plan: &'a LocalTraining,
    /// Terms of each gradient; none where they are zero.
    correction: &'a [f32],
}

/// A promise to single examples, and the secret of one training that keeps it.
type Promise = (ExamplePrivacy, [u8; 32]);

/// News while the work goes on.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a few at a time, each taken at once")]
pub(crate) enum News {
    /// Bytes came over HTTP.
    Fetched(u64),
    /// The model is here.
    Downloaded,
    /// Something to tell the owner.
    Tell(ClientEvent),
    /// Training has cost the owner's examples this much so far.
    ExamplesSpent(ExampleTerms),
    /// Training goes on.
    Progress(Progress),
}

/// Reason why a round's work failed.
#[derive(Debug)]
pub(crate) struct WorkError {
    pub failure: Failure,
    pub reason: String,
}

impl WorkError {
    fn new(failure: Failure, reason: impl fmt::Display) -> Self {
        Self { failure, reason: reason.to_string() }
    }
}

impl From<LearningError> for WorkError {
    fn from(error: LearningError) -> Self {
        Self::new(Failure::from(&error), error)
    }
}

impl From<TrainingError> for WorkError {
    fn from(error: TrainingError) -> Self {
        Self::new(Failure::from(&error), error)
    }
}

impl From<OutgoingError> for WorkError {
    fn from(error: OutgoingError) -> Self {
        match error {
            OutgoingError::Values(error) => error.into(),
            error => Self::new(Failure::PrivacyFailed, error),
        }
    }
}

impl From<CodecMisfit> for WorkError {
    fn from(misfit: CodecMisfit) -> Self {
        Self::new(Failure::PrivacyFailed, format!("the round does not fit the task: {misfit}"))
    }
}

impl LocalWork {
    pub fn new(
        url: ServerUrl,
        trust: Trust,
        preference: BackendPreference,
        example_privacy: Option<ExamplePrivacy>,
        slots: platform::TrainingSlots,
    ) -> Self {
        Self {
            url,
            trust,
            data: RefCell::default(),
            chooser: Chooser::new(preference, example_privacy.map(|_| EXAMPLES_ON_CPU)),
            model: Kept::default(),
            frozen: Kept::default(),
            control: Kept::default(),
            secure: RefCell::default(),
            carried: RefCell::default(),
            example_privacy,
            example_cost: RefCell::default(),
            slots,
            predicting: Mutex::default(),
            personal: RefCell::default(),
        }
    }

    /// Replaces the local examples, and holds out those that the task asks for.
    pub fn set_data(&self, data: LocalData, task: &TaskDescription) {
        *self.data.borrow_mut() = Some(data.held_out_for(task));
    }

    /// The local examples, once there are some.
    pub fn data(&self) -> Option<LocalData> {
        self.data.borrow().clone()
    }

    /// The same for a round of a task, which may ask for examples to be held out since they
    /// were given, or not fit them any more.
    fn data_for(&self, task: &TaskDescription) -> Result<LocalData, WorkError> {
        let misfit = |reason: &dyn fmt::Display| WorkError::new(Failure::BadDataset, reason);
        let data = self.data.take().ok_or_else(|| misfit(&"there are no examples"))?;
        let data = data.held_out_for(task);
        self.data.replace(Some(data.clone()));
        data.check_for_task(task).map_err(|error| misfit(&error))?;
        Ok(data)
    }

    /// The values of a model, each file fetched unless it is the last one used.
    pub async fn weights(
        &self,
        model: &GlobalModel,
        tell: &impl Fn(News),
    ) -> Result<Weights, WorkError> {
        let GlobalModel { spec, frozen, trained } = model;
        let files: [(Option<&ModelRef>, &Kept, ReadValues); 2] = [
            (frozen.as_ref(), &self.frozen, safetensors::read_frozen),
            (Some(trained), &self.model, safetensors::read),
        ];
        let mut found = [Arc::default(), Arc::default()];
        for ((file, kept, read), values) in files.into_iter().zip(&mut found) {
            if let Some(file) = file {
                *values = self.values(spec, file, kept, read, tell).await?;
            }
        }
        let [frozen, trained] = found;
        Ok(Weights { trained, frozen })
    }

    async fn values(
        &self,
        spec: &ModelSpec,
        wanted: &ModelRef,
        kept: &Kept,
        read: ReadValues,
        tell: &impl Fn(News),
    ) -> Result<Arc<Vec<f32>>, WorkError> {
        if let Some(file) = &*kept.borrow()
            && file.sha256 == wanted.sha256
        {
            return Ok(file.values.clone());
        }
        let fail = |failure, reason: String| {
            WorkError::new(failure, format!("cannot fetch the global model: {reason}"))
        };
        let unavailable = |reason| fail(Failure::ModelUnavailable, reason);
        let file = self.fetched(wanted, tell).await.map_err(unavailable)?;
        let sha256 = Sha256Hash::of(&file);
        if sha256 != wanted.sha256 {
            return Err(unavailable(format!("its hash is {sha256}, not {}", wanted.sha256)));
        }
        let values =
            read(spec, &file).map_err(|error| fail(Failure::ModelUnreadable, error.to_string()))?;
        let values = Arc::new(values);
        let head = Bytes::copy_from_slice(safetensors::head(spec, &file));
        *kept.borrow_mut() = Some(KeptFile { sha256, head, values: values.clone() });
        Ok(values)
    }

    /// The model that a round starts from, and the control variate that the server has by then;
    /// an empty one is zero. A server that is away for a moment does not cost the client the
    /// round.
    async fn starting_model(
        &self,
        job: &RoundJob,
        tell: &impl Fn(News),
    ) -> Result<(Weights, Arc<Vec<f32>>), WorkError> {
        let TaskDescription { model, frozen, .. } = &*job.task;
        let (spec, frozen) = (model.clone(), frozen.clone());
        let model = GlobalModel { spec, frozen, trained: job.assignment.model.clone() };
        if let Err(reason) = self.take_steps(job, tell).await {
            let message = format!("{reason}; fetching the whole model");
            tell(News::Tell(ClientEvent::notice(Notice::StepUnusable, message)));
        }
        let mut waits = FETCH_AGAIN.into_iter();
        loop {
            let fetched = async {
                let weights = self.weights(&model, tell).await?;
                let control = match &job.assignment.control {
                    Some(file) => {
                        let (spec, read) = (&model.spec, safetensors::read);
                        self.values(spec, file, &self.control, read, tell).await?
                    }
                    None => Arc::default(),
                };
                Ok((weights, control))
            };
            match (fetched.await, waits.next()) {
                (Err(WorkError { failure: Failure::ModelUnavailable, .. }), Some(wait)) => {
                    platform::sleep(wait.mul_f64(0.5 + 0.5 * platform::jitter())).await;
                }
                (done, _) => return done,
            }
        }
    }

    /// Does a round's work, up to the first thing to be sent.
    pub async fn work(
        self: Rc<Self>,
        job: RoundJob,
        tell: impl Fn(News) + Clone + Send + 'static,
    ) -> Result<Done, WorkError> {
        self.forget_round();
        let (codec, (_, range), round) = (job.codec()?, job.values(), job.assignment.round);
        let (global, control) = self.starting_model(&job, &tell).await?;
        let correction = self.correction(&job, &control).await;
        tell(News::Downloaded);
        let learned = match job.assignment.evaluates {
            false => self.learn(&job, &global, correction.as_ref(), &tell).await,
            true => self.evaluate(&job, &global, &tell).await,
        };
        let learned = job.admitted(learned, |WorkError { failure, reason }| {
            let told = format!("{reason}; the round goes on with an update of zeros");
            tell(News::Tell(ClientEvent::problem(failure, told)));
        })?;
        let mut rng = fresh_rng()?;
        let takes_long = job.privacy.as_ref().is_some_and(|privacy| privacy.encoding().is_some());
        let task = Arc::clone(&job.task);
        let protect = move || job.protect(learned, &mut rng);
        let outgoing = match takes_long {
            false => protect(),
            true => {
                let stopped = |error| WorkError::new(Failure::PrivacyFailed, error);
                self.slots.run(protect).await.map_err(stopped)?
            }
        };
        Ok(match outgoing? {
            Outgoing::Values(Learned { values, examples }) => {
                let encoding = self.encode(&task.model, round, &codec, values, range, correction);
                let update = encoding.await?;
                Done::Trained { update, examples }
            }
            Outgoing::Update(update) => Done::Trained { update, examples: 1 },
            Outgoing::Secured(state, reply) => {
                *self.secure.borrow_mut() = Some(*state);
                Done::Secured(reply)
            }
        })
    }

    /// Trains, and takes the difference.
    async fn learn(
        &self,
        job: &RoundJob,
        global: &Weights,
        correction: Option<&Correction>,
        tell: &(impl Fn(News) + Clone + Send + 'static),
    ) -> Result<Learned, WorkError> {
        let correction = correction.map_or(&[][..], |correction| &correction.terms);
        let data = self.data_for(&job.task)?;
        let data = data.examples();
        let plan = &job.assignment.training;
        let (spec, weights) = (&job.task.model, global.into());
        let job = Training { spec, weights, data, plan, correction };
        let measured = || backend::Job::new(job.spec, &global.trained, data, plan);
        let told = |event| tell(News::Tell(event));
        let compute = self.chooser.for_round(measured, told).await;
        // The plan of the round may be another than the one that the devices were measured with.
        let compute = match (compute, fedra_gpu::supports(job.spec, plan)) {
            (Compute::WebGpu(_), Err(reason)) => {
                self.chooser.fall_back(&format!("WebGPU cannot be used: {reason}"), told)
            }
            (compute, _) => compute,
        };
        // A lost GPU costs this round's time, not the round.
        let lost = |message: &str, course: &str| {
            let problem = format!("the WebGPU device was lost ({message}); {course}");
            tell(News::Tell(ClientEvent::notice(Notice::DeviceLost, problem)));
        };
        let message = match self.train(&job, &compute, self.promise()?, tell).await {
            Err(TrainingError::Device(message)) => message,
            done => return Ok(done?),
        };
        lost(&message, "training starts again");
        let compute = self.chooser.reopen(measured(), &self.slots, told).await;
        let message = match self.train(&job, &compute, self.promise()?, tell).await {
            Err(TrainingError::Device(message)) => message,
            done => return Ok(done?),
        };
        lost(&message, "going on with the CPU");
        let compute = self.chooser.fall_back("the WebGPU device was lost twice in a round", told);
        Ok(self.train(&job, &compute, self.promise()?, tell).await?)
    }

    /// Takes the next step of the round's secure aggregation. After any error its state
    /// is gone.
    pub async fn secure(self: Rc<Self>, request: SecureRequest) -> Result<Done, WorkError> {
        let failed =
            |reason: &dyn fmt::Display| WorkError::new(Failure::SecureAggregationFailed, reason);
        let state = self.secure.borrow_mut().take();
        let state = state.ok_or_else(|| failed(&"this client has left the round"))?;
        let mut rng = fresh_rng()?;
        let step = self.slots.run(move || state.step(request, &mut rng));
        let done = step.await.map_err(|error| failed(&error))?;
        let (state, reply) = done.map_err(|error| failed(&error))?;
        *self.secure.borrow_mut() = state;
        Ok(Done::Secured(reply))
    }

    /// Forgets the secrets of the round.
    pub fn forget_round(&self) {
        *self.secure.borrow_mut() = None;
    }

    /// Measures the devices beside the rounds. Never ends.
    pub async fn measure_devices(&self) {
        self.chooser.measure(&self.slots).await;
    }

    async fn train(
        &self,
        job: &Training<'_>,
        compute: &Compute,
        promise: Option<Promise>,
        tell: &(impl Fn(News) + Clone + Send + 'static),
    ) -> Result<Learned, TrainingError> {
        let trainer = self.trainer(job, compute, promise, tell)?;
        let examples = trainer.examples() as u64;
        let tell = tell.clone();
        let report = move |progress| tell(News::Progress(progress));
        let local = self.slots.train(trainer, report).await?;
        let values = local.iter().zip(job.weights.trained).map(|(local, global)| local - global);
        Ok(Learned { values: values.collect(), examples })
    }

    /// Promise to single examples, with dice for one training.
    fn promise(&self) -> Result<Option<Promise>, WorkError> {
        self.example_privacy.map(|privacy| Ok((privacy, random_seed()?))).transpose()
    }

    /// A trainer for the round. Where examples are promised something, its cost
    /// is told before it takes a step.
    fn trainer(
        &self,
        job: &Training<'_>,
        compute: &Compute,
        promise: Option<Promise>,
        tell: &impl Fn(News),
    ) -> Result<Trainer, TrainingError> {
        let &Training { spec, weights, data, plan, correction } = job;
        let Some((privacy, secret)) = promise else {
            let trainer = Trainer::new(spec, weights, data.clone(), plan, compute)?;
            return trainer.with_correction(correction);
        };
        let trainer =
            LocalTrainer::with_example_privacy(spec, weights, data.clone(), plan, privacy, secret)?;
        let steps = u32::try_from(trainer.steps()).unwrap_or(u32::MAX);
        let cost = privacy.cost(trainer.examples(), plan.batch_size(), steps);
        let mut total = self.example_cost.borrow_mut();
        let sum = total.as_ref().map_or(cost.clone(), |earlier| earlier.and(&cost));
        tell(News::ExamplesSpent(ExampleTerms {
            epsilon: sum.epsilon().value(),
            delta: sum.delta().value(),
        }));
        *total = Some(sum);
        Ok(Trainer::Cpu(Box::new(trainer)))
    }

    /// The model, unless that takes too long: a network that is dead and does not say
    /// so would keep the caller waiting for ever.
    async fn weights_within(
        &self,
        limit: Duration,
        model: &GlobalModel,
    ) -> Result<Weights, WorkError> {
        let tell = |_| {};
        let fetching = pin!(self.weights(model, &tell));
        match future::select(fetching, pin!(platform::sleep(limit))).await {
            Either::Left((fetched, _)) => fetched,
            Either::Right(_) => {
                let seconds = limit.as_secs();
                let reason = format!("cannot fetch the global model: not here after {seconds} s");
                Err(WorkError::new(Failure::ModelUnavailable, reason))
            }
        }
    }

    /// Hands on the probabilities (or values) of a model for `features`.
    ///
    /// One call is worked on at a time, so that memory does not grow with their number.
    pub async fn predict(
        &self,
        model: &GlobalModel,
        features: &(impl Features + ?Sized),
        outputs: &mut impl Outputs,
    ) -> Result<(), PredictError> {
        examples_in(&model.spec, features.len())?;
        let turn = self.predicting.lock().await;
        let weights = self.weights_for_a_call(model).await?;
        drop(turn);
        self.predict_with(&model.spec, &weights, features, outputs).await
    }

    /// The same for a model that is there.
    async fn predict_with(
        &self,
        spec: &ModelSpec,
        weights: &Weights,
        features: &(impl Features + ?Sized),
        outputs: &mut impl Outputs,
    ) -> Result<(), PredictError> {
        examples_in(spec, features.len())?;
        let _turn = self.predicting.lock().await;
        let inference = Inference::new(spec, weights)?;
        in_pieces(&inference, features, outputs).await
    }

    /// The weights of a model, fetched within the time that a call may take.
    async fn weights_for_a_call(&self, model: &GlobalModel) -> Result<Weights, PredictError> {
        // 4 bytes a parameter: the length that the server names has no bound.
        let parameters = model.spec.parameters() + model.spec.frozen_parameters();
        let seconds = 4 * parameters as u64 / SLOWEST_FETCH;
        let limit = FETCH_TIMEOUT + Duration::from_secs(seconds);
        Ok(self.weights_within(limit, model).await?)
    }
}

impl From<WorkError> for PredictError {
    fn from(WorkError { failure, reason }: WorkError) -> Self {
        Self::new(failure, reason)
    }
}

/// Unused generator, seeded by the system.
fn fresh_rng() -> Result<KeystreamRng, WorkError> {
    Ok(KeystreamRng::from_seed(random_seed()?))
}

fn random_seed() -> Result<[u8; 32], WorkError> {
    platform::random_seed().map_err(|error| WorkError::new(Failure::NoRandomness, error))
}
