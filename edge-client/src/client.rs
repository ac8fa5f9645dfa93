//! A client as its owner sees it: what it is told, and how it is steered.

mod driver;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;

use fedra_learning::{Dataset, DatasetError, ExamplePrivacy};
use fedra_protocol::{ModelRef, ModelSpec, TaskId};
use futures_channel::mpsc;
use futures_util::future;

use crate::backend::BackendPreference;
use crate::dropouts::Dropouts;
use crate::events::ClientEvent;
use crate::origin::ServerUrl;
use crate::platform::{TrainingSlots, Trust};
use crate::predict::{Features, Outputs, PredictError};
use crate::privacy::{ParticipationLog, PrivacyConfig};
use crate::rounds::Workshop;
use crate::session::Event;
use crate::token::TokenSource;
use driver::Driver;

/// Where to take part, and on what device.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The server's socket.
    pub url: ServerUrl,
    /// Whose certificates the server may show.
    pub trust: Trust,
    /// The task.
    pub task: TaskId,
    /// What to check in with.
    pub token: TokenSource,
    /// The device to train on.
    pub backend: BackendPreference,
    /// What a task must promise, and whom it counts.
    pub privacy: PrivacyConfig,
    /// Trains with DP-SGD: a promise about single examples, beside the task's.
    pub example_privacy: Option<ExamplePrivacy>,
    /// Where participations in private tasks are written down.
    pub log: ParticipationLog,
    /// Leaves rounds on purpose, to test an aggregator.
    pub dropouts: Option<Dropouts>,
}

/// Takes part in a task; [`Client::run`] does the work, the other methods steer it.
///
/// Single-threaded: keep it on one thread (`spawn_local`), training finds its own.
pub struct Client {
    config: ClientConfig,
    workshop: Rc<Workshop>,
    commands: mpsc::UnboundedSender<Event>,
    inbox: RefCell<Option<mpsc::UnboundedReceiver<Event>>>,
    current: RefCell<Option<(ModelSpec, ModelRef)>>,
    traffic: Rc<Traffic>,
}

#[derive(Default)]
struct Traffic {
    up: Cell<u64>,
    down: Cell<u64>,
}

impl Client {
    /// A client that does nothing before [`Client::run`].
    pub fn new(config: ClientConfig, slots: TrainingSlots) -> Self {
        let (commands, inbox) = mpsc::unbounded();
        let workshop = Workshop::new(
            config.url.clone(),
            config.trust.clone(),
            config.backend,
            config.example_privacy,
            slots,
        );
        Self {
            config,
            workshop: Rc::new(workshop),
            commands,
            inbox: RefCell::new(Some(inbox)),
            current: RefCell::new(None),
            traffic: Rc::default(),
        }
    }

    /// Gives the local examples, or replaces them from the next round on.
    pub fn set_data(&self, data: Dataset) -> Result<(), DatasetError> {
        if let Some((spec, _)) = &*self.current.borrow() {
            data.check_for(spec)?;
        }
        self.workshop.set_data(data);
        self.command(Event::DataReady);
        Ok(())
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

    /// Outputs of the newest global model for one or more examples, row-major.
    pub async fn predict(&self, features: &[f32]) -> Result<Vec<f32>, PredictError> {
        let mut outputs = Vec::new();
        self.predict_into(features, &mut outputs).await?;
        Ok(outputs)
    }

    pub(crate) async fn predict_into(
        &self,
        features: &(impl Features + ?Sized),
        outputs: &mut impl Outputs,
    ) -> Result<(), PredictError> {
        let current = self.current.borrow().clone();
        let (spec, model) = current.ok_or_else(|| {
            let message = "there is no global model yet: it comes after the check-in, with the \
                           first model event";
            PredictError::new("no-model", message)
        })?;
        self.workshop.predict(&spec, &model, features, outputs).await
    }

    /// Takes part until [`Client::close`] or a refusal for good; reports on the way.
    pub async fn run(&self, emit: impl FnMut(ClientEvent)) {
        let Some(inbox) = self.inbox.borrow_mut().take() else {
            return;
        };
        if self.workshop.has_data() {
            self.command(Event::DataReady);
        }
        let mut driver = Driver::new(self, emit);
        let running = pin!(driver.run(inbox));
        future::select(running, pin!(self.workshop.measure_devices())).await;
    }
}
