//! Devices of tensors: the CPU, or WebGPU where it was built in.
//!
//! The only place of this crate that knows which backends exist.

use std::fmt;

use burn::tensor::Device;

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// burn's `flex`: pure Rust, SIMD, one thread.
    Cpu,
    /// burn's `wgpu`.
    WebGpu,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "CPU",
            Self::WebGpu => "WebGPU",
        })
    }
}

/// A device that is ready to train on.
#[derive(Clone, Debug)]
pub struct Compute {
    device: Device,
    backend: Backend,
    adapter: Option<String>,
}

impl Compute {
    /// The CPU, which is always there.
    pub fn cpu() -> Self {
        Self { device: Device::flex(), backend: Backend::Cpu, adapter: None }
    }

    /// The device's kind.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Name of the graphics adapter, if it says.
    pub fn adapter(&self) -> Option<&str> {
        self.adapter.as_deref()
    }

    /// For tensors without gradients.
    pub(crate) fn inference(&self) -> Device {
        self.device.clone()
    }

    /// For tensors that record what happens to them.
    pub(crate) fn training(&self) -> Device {
        self.device.clone().autodiff()
    }
}

#[cfg(feature = "webgpu")]
pub use webgpu::WebGpuError;

#[cfg(feature = "webgpu")]
mod webgpu {
    use std::sync::{Mutex, PoisonError};

    use burn::tensor::Device;

    use super::{Backend, Compute};

    /// No WebGPU device, with the reason.
    #[derive(Clone, Debug, PartialEq, thiserror::Error)]
    #[error("no WebGPU device: {0}")]
    pub struct WebGpuError(String);

    /// burn's runtime can be set up once in a process; later calls share it.
    static READY: Mutex<Option<Compute>> = Mutex::new(None);

    impl Compute {
        /// The WebGPU device of this process, set up at the first call.
        ///
        /// # Errors
        ///
        /// [`WebGpuError`] if the system or the browser gives none.
        pub async fn webgpu() -> Result<Self, WebGpuError> {
            let ready = || READY.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(compute) = ready().clone() {
                return Ok(compute);
            }
            let (device, setup) = Device::wgpu_options()
                .init_with_setup_async()
                .await
                .map_err(|error| WebGpuError(error.to_string()))?;
            let info = setup.adapter.get_info();
            let adapter = [info.name, info.driver, info.driver_info]
                .into_iter()
                .find(|text| !text.trim().is_empty());
            let compute = Self { device, backend: Backend::WebGpu, adapter };
            Ok(ready().get_or_insert(compute).clone())
        }
    }
}
