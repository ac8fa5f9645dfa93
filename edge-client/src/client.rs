//! A client as its owner sees it: what it is told, and how it is steered.

mod driver;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;

use fedra_learning::ExamplePrivacy;
use fedra_protocol::{LocalTraining, TaskDescription, TaskId};
use futures_channel::{mpsc, oneshot};
use futures_util::future::{self, Either};

use crate::backend::BackendPreference;
use crate::codes::{CallCode, CallFault};
use crate::dropouts::Dropouts;
use crate::events::ClientEvent;
use crate::local_data::LocalData;
use crate::local_work::{GlobalModel, LocalWork, Personalization};
use crate::origin::ServerUrl;
use crate::platform::{TrainingSlots, Trust};
use crate::predict::{Features, Outputs, PredictError};
use crate::privacy::{ParticipationLog, PrivacyConfig};
use crate::residual::ResidualStore;
use crate::session::Event;
use crate::token::TokenSource;
use driver::Driver;

/// Task to take part in, and the device to use.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The server's socket.
    pub url: ServerUrl,
    /// Certificates that the server may show.
    pub trust: Trust,
    /// The task.
    pub task: TaskId,
    /// Token to check in with.
    pub token: TokenSource,
    /// The device to train on.
    pub backend: BackendPreference,
    /// Minimum that a task must promise, and the subject that it counts.
    pub privacy: PrivacyConfig,
    /// Trains with DP-SGD: a promise about single examples, beside the task's.
    pub example_privacy: Option<ExamplePrivacy>,
    /// Log of participations in private tasks.
    pub log: ParticipationLog,
    /// Store of what sparse codecs have not sent of its updates.
    pub residual: ResidualStore,
    /// Leaves rounds on purpose, to test an aggregator.
    pub dropouts: Option<Dropouts>,
}

/// Takes part in a task; [`Client::run`] does the work, the other methods steer it.
///
/// Single-threaded: keep it on one thread (`spawn_local`), training finds its own.
pub struct Client {
    config: ClientConfig,
    local_work: Rc<LocalWork>,
    commands: mpsc::UnboundedSender<Event>,
    inbox: RefCell<Option<mpsc::UnboundedReceiver<Event>>>,
    current: RefCell<Option<GlobalModel>>,
    /// The newest description of the task.
    task: RefCell<Option<TaskDescription>>,
    /// Callers that wait for it.
    waiting: RefCell<Vec<oneshot::Sender<Result<TaskDescription, DataRefused>>>>,
    /// Examples that wait for the task's description.
    given: RefCell<Option<GivenData>>,
    /// Reason why [`Client::run`] has ended, once it has.
    ended: RefCell<Option<DataRefused>>,
    traffic: Rc<Traffic>,
}

/// Reason why examples were not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DataRefused {
    /// `bad-dataset`; `aborted`; or why the client has ended: `closed`, or the code of
    /// the event that was fatal.
    pub code: CallCode,
    /// Description of what happened and what to do.
    pub message: String,
}

impl DataRefused {
    fn new(code: impl Into<CallCode>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }

    fn closed() -> Self {
        Self::new(CallFault::Closed, "the client was closed")
    }
}

/// Examples on their way to the trainer.
struct GivenData {
    data: LocalData,
    verdict: oneshot::Sender<Result<(), DataRefused>>,
}

impl GivenData {
    fn refuse(self, why: DataRefused) {
        // Fails only when the owner has stopped listening.
        let _ = self.verdict.send(Err(why));
    }
}

#[derive(Default)]
struct Traffic {
    up: Cell<u64>,
    down: Cell<u64>,
}

impl Client {
    /// A client that does nothing before [`Client::run`].
    pub fn new(mut config: ClientConfig, slots: TrainingSlots) -> Self {
        let (commands, inbox) = mpsc::unbounded();
        let local_work = LocalWork::new(
            config.url.clone(),
            config.trust.clone(),
            config.backend,
            config.example_privacy,
            slots,
        )
        .with_residual(std::mem::take(&mut config.residual));
        Self {
            config,
            local_work: Rc::new(local_work),
            commands,
            inbox: RefCell::new(Some(inbox)),
            current: RefCell::new(None),
            task: RefCell::new(None),
            waiting: RefCell::default(),
            given: RefCell::new(None),
            ended: RefCell::new(None),
            traffic: Rc::default(),
        }
    }

    /// Gives the local examples, or replaces them from the next round on.
    ///
    /// The future is ready once the examples were compared with the task, which may not
    /// be known yet. Examples that do not fit leave those that were taken before.
    ///
    /// # Errors
    ///
    /// [`DataRefused`] if they do not fit, were taken back, or the client has ended.
    pub fn set_data(
        &self,
        data: LocalData,
    ) -> impl Future<Output = Result<(), DataRefused>> + 'static {
        let (verdict, judged) = oneshot::channel();
        let given = GivenData { data, verdict };
        if let Some(ended) = &*self.ended.borrow() {
            given.refuse(ended.clone());
        } else {
            self.withdraw_data();
            *self.given.borrow_mut() = Some(given);
            self.command(Event::DataGiven);
        }
        async move { judged.await.unwrap_or_else(|_| Err(DataRefused::closed())) }
    }

    /// The task's description, once the server has told it.
    ///
    /// # Errors
    ///
    /// [`DataRefused`] if the client ends before.
    pub fn description(
        &self,
    ) -> impl Future<Output = Result<TaskDescription, DataRefused>> + 'static {
        let (tell, told) = oneshot::channel();
        match (&*self.ended.borrow(), &*self.task.borrow()) {
            (Some(ended), _) => {
                let _ = tell.send(Err(ended.clone()));
            }
            (None, Some(task)) => {
                let _ = tell.send(Ok(task.clone()));
            }
            (None, None) => self.waiting.borrow_mut().push(tell),
        }
        async move { told.await.unwrap_or_else(|_| Err(DataRefused::closed())) }
    }

    /// Takes back examples that were not judged yet.
    pub fn withdraw_data(&self) {
        if let Some(given) = self.given.take() {
            let message = "the data were taken back, or others given, before the task was known";
            given.refuse(DataRefused::new(CallFault::Aborted, message));
        }
    }

    /// Leaves the current round and takes part in no other until [`Client::resume`].
    pub fn pause(&self) {
        self.command(Event::Pause);
    }

    /// Takes part again.
    pub fn resume(&self) {
        self.command(Event::Resume);
    }

    /// The person agrees to the privacy terms that they were shown. Needed once
    /// with [`Consent::Ask`](crate::Consent::Ask) and a private task.
    pub fn consent(&self) {
        self.command(Event::Consent);
    }

    /// Ends [`Client::run`].
    pub fn close(&self) {
        self.command(Event::Close);
    }

    fn command(&self, event: Event) {
        // Fails only after `run` has ended, when there is nothing left to steer.
        let _ = self.commands.unbounded_send(event);
    }

    /// Outputs of the newest global model for one or more examples of values or token ids,
    /// row-major: `features` is `[n, ...input]`, the outputs are `[n, outputs]`.
    ///
    /// # Errors
    ///
    /// [`PredictError`] with `no-model` before the first model event, `bad-features` if
    /// they are no whole number of examples, `out-of-memory`, `prediction-failed`, or a
    /// failure to fetch the model.
    pub async fn predict<T: Copy>(&self, features: &[T]) -> Result<Vec<f32>, PredictError>
    where
        Vec<T>: Into<fedra_data::Features>,
    {
        let mut outputs = Vec::new();
        self.predict_into(features, &mut outputs).await?;
        Ok(outputs)
    }

    pub(crate) async fn predict_into(
        &self,
        features: &(impl Features + ?Sized),
        outputs: &mut impl Outputs,
    ) -> Result<(), PredictError> {
        self.local_work.predict(&self.newest()?, features, outputs).await
    }

    /// The newest global model.
    fn newest(&self) -> Result<GlobalModel, PredictError> {
        self.current.borrow().clone().ok_or_else(|| {
            let message = "there is no global model yet: it comes after the check-in, with the \
                           first model event";
            PredictError::new(CallFault::NoModel, message)
        })
    }

    /// Trains the last layer of the newest global model further on the local examples. The
    /// result is kept in memory, in place of an earlier one, and never leaves the device.
    /// It is trained on the CPU.
    ///
    /// # Errors
    ///
    /// [`PredictError`] with `bad-dataset` without examples, `training-failed`, and as
    /// [`Client::predict`].
    pub async fn personalize(&self, plan: &LocalTraining) -> Result<Personalization, PredictError> {
        self.local_work.personalize(&self.newest()?, plan).await
    }

    /// Outputs of the model that [`Client::personalize`] has made last.
    ///
    /// # Errors
    ///
    /// [`PredictError`] with `no-model` before, and as [`Client::predict`].
    pub async fn predict_personal<T: Copy>(&self, features: &[T]) -> Result<Vec<f32>, PredictError>
    where
        Vec<T>: Into<fedra_data::Features>,
    {
        let mut outputs = Vec::new();
        self.predict_personal_into(features, &mut outputs).await?;
        Ok(outputs)
    }

    pub(crate) async fn predict_personal_into(
        &self,
        features: &(impl Features + ?Sized),
        outputs: &mut impl Outputs,
    ) -> Result<(), PredictError> {
        self.local_work.predict_personal(features, outputs).await
    }

    /// Connects, and takes part once there are data, until [`Client::close`] or a
    /// refusal for good; reports on the way.
    pub async fn run(&self, emit: impl FnMut(ClientEvent)) {
        let Some(inbox) = self.inbox.borrow_mut().take() else {
            return;
        };
        let mut driver = Driver::new(self, emit);
        let running = pin!(driver.run(inbox));
        let ended = match future::select(running, pin!(self.local_work.measure_devices())).await {
            Either::Left((ended, _)) => ended,
            // Measuring does not end.
            Either::Right(_) => DataRefused::closed(),
        };
        if let Some(given) = self.given.take() {
            given.refuse(ended.clone());
        }
        for waiting in self.waiting.take() {
            // Fails only when the caller has stopped waiting.
            let _ = waiting.send(Err(ended.clone()));
        }
        *self.ended.borrow_mut() = Some(ended);
    }
}
