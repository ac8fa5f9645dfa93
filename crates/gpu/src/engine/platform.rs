//! Differences between a browser and a native device: the progress of pending work, and the
//! backends.

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::time::Duration;

    use crate::GpuError;

    /// Graphics APIs to look for.
    pub const BACKENDS: wgpu::Backends = wgpu::Backends::PRIMARY;
    /// Longest time that the thread is blocked at once.
    const SLICE: Duration = Duration::from_millis(10);

    /// Runs callbacks that are due.
    pub fn look(device: &wgpu::Device) {
        // A failure is told to a callback.
        let _ = device.poll(wgpu::PollType::Poll);
    }

    /// The answer of a device that makes progress only while it is polled. Each poll of this
    /// future blocks for a slice of time at most, so that the caller's time limit holds.
    pub async fn answered<T>(
        device: &wgpu::Device,
        answer: impl Future<Output = Result<T, GpuError>>,
    ) -> Result<T, GpuError> {
        let mut answer = pin!(answer);
        poll_fn(|context| {
            let wait = wgpu::PollType::Wait { submission_index: None, timeout: Some(SLICE) };
            // A timeout is no failure, and a lost device is told to its callback.
            let _ = device.poll(wait);
            let answer = answer.as_mut().poll(context);
            if answer.is_pending() {
                context.waker().wake_by_ref();
            }
            answer
        })
        .await
    }
}

#[cfg(target_arch = "wasm32")]
mod web {
    use std::future::Future;

    use crate::GpuError;

    /// Graphics APIs to look for.
    pub const BACKENDS: wgpu::Backends = wgpu::Backends::BROWSER_WEBGPU;

    /// Does nothing: the browser runs callbacks.
    pub fn look(_device: &wgpu::Device) {}

    /// The answer of a device, which the browser brings.
    pub async fn answered<T>(
        _device: &wgpu::Device,
        answer: impl Future<Output = Result<T, GpuError>>,
    ) -> Result<T, GpuError> {
        answer.await
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub use native::{BACKENDS, answered, look};
#[cfg(target_arch = "wasm32")]
pub use web::{BACKENDS, answered, look};
