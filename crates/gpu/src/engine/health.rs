//! State of a device, alive or failed for good, and answers that a failure ends.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::GpuError;

#[derive(Default)]
struct State {
    failure: Option<GpuError>,
    waiting: Vec<Waker>,
}

/// First failure of a device.
#[derive(Clone, Default)]
pub(crate) struct Health(Arc<Mutex<State>>);

impl Health {
    /// Registers for the failures of `device`.
    pub fn of(device: &wgpu::Device) -> Self {
        let health = Self::default();
        let lost = health.clone();
        device.set_device_lost_callback(move |reason, message| {
            lost.fail(GpuError::Lost(format!("{reason:?} {message}").trim_end().to_owned()));
        });
        let refused = health.clone();
        device.on_uncaptured_error(Arc::new(move |error| refused.fail(refusal(&error))));
        health
    }

    /// Records a failure. The first one stays, unless the device is lost: that is the cause of
    /// the others.
    pub fn fail(&self, failure: GpuError) {
        let mut state = self.state();
        if state.failure.is_none() || matches!(failure, GpuError::Lost(_)) {
            state.failure = Some(failure);
        }
        for waker in state.waiting.drain(..) {
            waker.wake();
        }
    }

    /// The failure, if there was one.
    pub fn check(&self) -> Result<(), GpuError> {
        match &self.state().failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }

    /// The answer, or the failure that comes before it.
    pub async fn answer<T>(&self, answer: &Answer<T>) -> Result<T, GpuError> {
        poll_fn(|context| {
            if let Some(value) = answer.take() {
                self.state().waiting.retain(|waker| !waker.will_wake(context.waker()));
                return Poll::Ready(Ok(value));
            }
            let mut state = self.state();
            if let Some(failure) = &state.failure {
                return Poll::Ready(Err(failure.clone()));
            }
            if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                state.waiting.push(context.waker().clone());
            }
            drop(state);
            // An answer that came in between would have found no waker.
            match answer.wait(context.waker()) {
                Some(value) => Poll::Ready(Ok(value)),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The failure that an error of `wgpu` is.
pub(crate) fn refusal(error: &wgpu::Error) -> GpuError {
    match error {
        wgpu::Error::OutOfMemory { .. } => GpuError::OutOfMemory(error.to_string()),
        wgpu::Error::Validation { .. } | wgpu::Error::Internal { .. } => {
            GpuError::Refused(error.to_string())
        }
    }
}

/// A value that a callback brings.
pub(crate) struct Answer<T>(Arc<Mutex<Pending<T>>>);

struct Pending<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

impl<T> Clone for Answer<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Answer<T> {
    pub fn pending() -> Self {
        Self(Arc::new(Mutex::new(Pending { value: None, waker: None })))
    }

    pub fn give(&self, value: T) {
        let mut pending = self.pending_value();
        pending.value = Some(value);
        if let Some(waker) = pending.waker.take() {
            waker.wake();
        }
    }

    fn take(&self) -> Option<T> {
        self.pending_value().value.take()
    }

    fn wait(&self, waker: &Waker) -> Option<T> {
        let mut pending = self.pending_value();
        pending.waker = Some(waker.clone());
        pending.value.take()
    }

    fn pending_value(&self) -> MutexGuard<'_, Pending<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
