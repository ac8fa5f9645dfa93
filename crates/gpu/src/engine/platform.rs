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

    /// Returns nothing: a native adapter has a name.
    pub async fn adapter_words() -> String {
        String::new()
    }

    /// Runs callbacks that are due.
    pub fn look(device: &wgpu::Device) {
        // A failure goes to a callback.
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
            // A timeout is no failure, and the loss of the device goes to its callback.
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

    use js_sys::{Function, Promise, Reflect};
    use wasm_bindgen::{JsCast, JsValue};
    use wasm_bindgen_futures::JsFuture;

    use crate::GpuError;

    /// Graphics APIs to look for.
    pub const BACKENDS: wgpu::Backends = wgpu::Backends::BROWSER_WEBGPU;

    /// Vendor and architecture of the browser's adapter; empty where it names none. `wgpu`
    /// passes on the description alone, which browsers leave empty.
    pub async fn adapter_words() -> String {
        asked().await.unwrap_or_default()
    }

    async fn asked() -> Result<String, JsValue> {
        let property = |object: &JsValue, name: &str| Reflect::get(object, &name.into());
        let gpu = property(&property(&js_sys::global(), "navigator")?, "gpu")?;
        let request: Function = property(&gpu, "requestAdapter")?.dyn_into()?;
        let adapter = JsFuture::from(Promise::resolve(&request.call0(&gpu)?)).await?;
        let info = property(&adapter, "info")?;
        let word = |name: &str| Ok(property(&info, name)?.as_string().unwrap_or_default());
        let words: Result<Vec<String>, JsValue> =
            ["vendor", "architecture"].map(word).into_iter().collect();
        Ok(words?.join(" ").trim().to_owned())
    }

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
pub use native::{BACKENDS, adapter_words, answered, look};
#[cfg(target_arch = "wasm32")]
pub use web::{BACKENDS, adapter_words, answered, look};
