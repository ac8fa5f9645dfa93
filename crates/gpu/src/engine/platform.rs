//! Differences between a browser and a native device: the progress of pending work, and the
//! backends.

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};
    use std::time::{Duration, Instant};

    use crate::GpuError;

    /// Graphics APIs to look for.
    pub const BACKENDS: wgpu::Backends = wgpu::Backends::PRIMARY;
    /// Time that the device has for what it was given.
    const LIMIT: Duration = Duration::from_secs(60);
    /// Time between two looks at whether it has failed.
    const SLICE: Duration = Duration::from_millis(20);

    /// A pending answer is found by looking again.
    struct LookAgain;

    impl Wake for LookAgain {
        fn wake(self: Arc<Self>) {}
    }

    /// The answer of a device that makes progress only while it is polled. Blocks the
    /// thread until it comes, for as long as a submit takes.
    pub async fn answered<T>(
        device: &wgpu::Device,
        answer: impl Future<Output = Result<T, GpuError>>,
    ) -> Result<T, GpuError> {
        let mut answer = pin!(answer);
        let waker = Waker::from(Arc::new(LookAgain));
        let mut context = Context::from_waker(&waker);
        let start = Instant::now();
        loop {
            if let Poll::Ready(answer) = answer.as_mut().poll(&mut context) {
                return answer;
            }
            if start.elapsed() > LIMIT {
                return Err(GpuError::TimedOut(LIMIT.as_secs()));
            }
            let wait = wgpu::PollType::Wait { submission_index: None, timeout: Some(SLICE) };
            // A timeout is no failure; a lost device is told to its callback.
            if device.poll(wait).is_err() {
                std::thread::yield_now();
            }
        }
    }
}

#[cfg(target_arch = "wasm32")]
mod web {
    use std::future::Future;

    use crate::GpuError;

    /// Graphics APIs to look for.
    pub const BACKENDS: wgpu::Backends = wgpu::Backends::BROWSER_WEBGPU;

    /// The answer of a device, which the browser brings. The time limit is the caller's.
    pub async fn answered<T>(
        _device: &wgpu::Device,
        answer: impl Future<Output = Result<T, GpuError>>,
    ) -> Result<T, GpuError> {
        answer.await
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub use native::{BACKENDS, answered};
#[cfg(target_arch = "wasm32")]
pub use web::{BACKENDS, answered};
