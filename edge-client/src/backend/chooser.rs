//! The device of the next round: the CPU at once, and WebGPU from the start of a round
//! on when it was found to be right and faster.

use std::cell::{Cell, RefCell};

use futures_channel::oneshot;
use futures_util::FutureExt;
use futures_util::future::{self, Shared};

use super::measuring::{Devices, Outcome, Pace, compare, reopened};
use super::{BackendPreference, Choice, Job};
use crate::codes::Notice;
use crate::devices::Compute;
use crate::events::ClientEvent;

/// Chooses the device once. [`Chooser::measure`] does the measuring and has to be polled
/// beside the rounds.
pub(crate) struct Chooser<D = Job> {
    preference: BackendPreference,
    state: RefCell<State>,
    begin: Cell<Option<oneshot::Sender<Order<D>>>>,
    orders: Cell<Option<oneshot::Receiver<Order<D>>>>,
}

/// Devices to measure with, and the channel for the outcome.
type Order<D> = (D, oneshot::Sender<Outcome>);

enum State {
    /// No round has begun.
    Undecided,
    Measuring(Shared<oneshot::Receiver<Outcome>>),
    /// The owner has not been told.
    Decided(Box<Outcome>),
    Chosen(Compute),
}

impl<D: Devices> Chooser<D> {
    /// Chooser with the owner's preference. `only_cpu` is a reason why nothing but the CPU
    /// can do the work.
    pub fn new(preference: BackendPreference, only_cpu: Option<&str>) -> Self {
        let choice = match (preference, only_cpu) {
            (BackendPreference::Cpu, _) => Some(Choice::cpu("asked for")),
            (BackendPreference::Auto, Some(reason)) => Some(Choice::cpu(reason)),
            (BackendPreference::WebGpu, Some(reason)) => {
                Some(Choice { problem: Some(reason.into()), ..Choice::cpu(reason) })
            }
            (_, None) => None,
        };
        let state = match choice {
            Some(choice) => State::Decided(Box::new(Outcome::cpu(choice))),
            None => State::Undecided,
        };
        let (begin, orders) = oneshot::channel();
        Self {
            preference,
            state: RefCell::new(state),
            begin: Cell::new(Some(begin)),
            orders: Cell::new(Some(orders)),
        }
    }

    /// The device of a round that begins now. The first call has the devices measured
    /// with `devices`. With [`BackendPreference::WebGpu`] the round waits for the result.
    pub async fn for_round(
        &self,
        devices: impl FnOnce() -> D,
        tell: impl Fn(ClientEvent),
    ) -> Compute {
        if let Some(compute) = self.chosen() {
            return compute;
        }
        let outcome = match (self.measuring(devices, &tell), self.preference) {
            (Some(measuring), BackendPreference::WebGpu) => measuring.await.ok(),
            (Some(measuring), _) => measuring.now_or_never().and_then(Result::ok),
            (None, _) => None,
        };
        if let Some(outcome) = outcome {
            self.state.replace(State::Decided(Box::new(outcome)));
        }
        self.settle(&tell)
    }

    /// Opens and checks another WebGPU device in the place of one that was lost. Goes on
    /// with the CPU from now on if there is none, or it computes wrong.
    pub async fn reopen(
        &self,
        devices: D,
        pace: &impl Pace,
        tell: impl Fn(ClientEvent),
    ) -> Compute {
        let outcome = reopened(self.preference, &devices, pace).await;
        tell(event(&outcome));
        self.state.replace(State::Chosen(outcome.compute.clone()));
        outcome.compute
    }

    /// Goes on with the CPU from now on.
    pub fn fall_back(&self, reason: &str, tell: impl Fn(ClientEvent)) -> Compute {
        let outcome = Outcome::cpu(Choice::cpu(reason));
        tell(event(&outcome));
        self.state.replace(State::Chosen(Compute::Cpu));
        Compute::Cpu
    }

    /// Measures when the first round begins. Never ends.
    pub async fn measure(&self, pace: &impl Pace) {
        if let Some(orders) = self.orders.take()
            && let Ok((devices, done)) = orders.await
        {
            // Fails only when there is no round any more that could use it.
            let _ = done.send(compare(self.preference, &devices, pace).await);
        }
        future::pending::<()>().await;
    }

    fn chosen(&self) -> Option<Compute> {
        match &*self.state.borrow() {
            State::Chosen(compute) => Some(compute.clone()),
            _ => None,
        }
    }

    /// The measurement under way; begins it if this is the first round.
    fn measuring(
        &self,
        devices: impl FnOnce() -> D,
        tell: &impl Fn(ClientEvent),
    ) -> Option<Shared<oneshot::Receiver<Outcome>>> {
        match &*self.state.borrow() {
            State::Undecided => {}
            State::Measuring(measuring) => return Some(measuring.clone()),
            State::Decided(_) | State::Chosen(_) => return None,
        }
        let (done, measuring) = oneshot::channel();
        if let Some(begin) = self.begin.take() {
            // Fails only when nothing measures; then the rounds stay on the CPU.
            let _ = begin.send((devices(), done));
        }
        let measuring = measuring.shared();
        self.state.replace(State::Measuring(measuring.clone()));
        if self.preference == BackendPreference::Auto {
            tell(event(&Outcome::cpu(Choice::cpu("measuring WebGPU beside it"))));
        }
        Some(measuring)
    }

    /// The device that is decided on, which the owner is told once; until then the CPU.
    fn settle(&self, tell: &impl Fn(ClientEvent)) -> Compute {
        let outcome = match &*self.state.borrow() {
            State::Decided(outcome) => outcome.clone(),
            State::Chosen(compute) => return compute.clone(),
            State::Undecided | State::Measuring(_) => return Compute::Cpu,
        };
        if let Some(problem) = &outcome.choice.problem {
            let message = format!("{problem}; training on the CPU");
            tell(ClientEvent::notice(Notice::NoWebgpu, message));
        }
        tell(event(&outcome));
        self.state.replace(State::Chosen(outcome.compute.clone()));
        outcome.compute
    }
}

fn event(outcome: &Outcome) -> ClientEvent {
    let Outcome { choice, compute, cpu_speed, webgpu_speed } = outcome;
    ClientEvent::Backend {
        backend: choice.backend,
        adapter: compute.adapter().map(str::to_string),
        reason: choice.reason.clone(),
        cpu_samples_per_second: *cpu_speed,
        webgpu_samples_per_second: *webgpu_speed,
        gradient_error: choice.gradient_error,
    }
}
