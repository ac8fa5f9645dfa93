//! A device of an adapter, with its limits.

use super::health::{Answer, Health};
use super::platform;
use crate::{GpuError, Limits};

/// Kind of adapter to look for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// The fastest that there is; a software adapter if there is no other.
    #[default]
    Fastest,
    /// A software adapter, as tests want it.
    Software,
}

/// Limits to ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitsWanted {
    /// The adapter's.
    #[default]
    Adapter,
    /// The least, which every WebGPU device has.
    Minimum,
}

/// A graphics device that is ready to compute.
#[derive(Clone)]
pub struct Gpu {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) health: Health,
    name: String,
    software: bool,
    limits: Limits,
}

/// Parts of the names of software adapters.
const SOFTWARE: [&str; 5] = ["swiftshader", "llvmpipe", "lavapipe", "software", "basic render"];

impl Gpu {
    /// Requests a device of the system or the browser.
    ///
    /// # Errors
    ///
    /// [`GpuError::NoAdapter`], [`GpuError::NoDevice`], or [`GpuError::WeakAdapter`] for an
    /// adapter below WebGPU's least limits.
    pub async fn request(preference: Preference, wanted: LimitsWanted) -> Result<Self, GpuError> {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends = platform::BACKENDS;
        // No validation layers of the driver, which print.
        descriptor.flags = wgpu::InstanceFlags::empty();
        let instance = wgpu::Instance::new(descriptor);
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            force_fallback_adapter: preference == Preference::Software,
            ..Default::default()
        };
        let adapter = instance.request_adapter(&options).await;
        let adapter = adapter.map_err(|error| GpuError::NoAdapter(error.to_string()))?;
        let limits = required(&adapter.limits(), wanted)?;
        let descriptor =
            wgpu::DeviceDescriptor { required_limits: limits.clone(), ..Default::default() };
        let device = adapter.request_device(&descriptor).await;
        let (device, queue) = device.map_err(|error| GpuError::NoDevice(error.to_string()))?;
        let info = adapter.get_info();
        let names = [info.name, info.driver, info.driver_info];
        let name = match names.into_iter().find(|text| !text.trim().is_empty()) {
            Some(name) => name,
            None => platform::adapter_words().await,
        };
        // Of ASCII: tables of other letters are 5 KiB of the browser's module.
        let lower = name.to_ascii_lowercase();
        let software = info.device_type == wgpu::DeviceType::Cpu
            || SOFTWARE.iter().any(|word| lower.contains(word));
        let health = Health::of(&device);
        Ok(Self { device, queue, health, name, software, limits: ours(&limits) })
    }

    /// Name of the adapter; empty where the browser withholds it.
    pub fn adapter(&self) -> &str {
        &self.name
    }

    /// True if the adapter runs on the CPU.
    pub fn is_software(&self) -> bool {
        self.software
    }

    /// Limits of the device.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The failure of the device, if it has failed.
    ///
    /// # Errors
    ///
    /// The failure.
    pub fn check(&self) -> Result<(), GpuError> {
        platform::look(&self.device);
        self.health.check()
    }

    /// Destroys the device. Every later use of it fails with [`GpuError::Lost`].
    pub fn destroy(&self) {
        self.device.destroy();
    }

    /// Waits until everything submitted so far is done.
    pub(crate) async fn finish(&self) -> Result<(), GpuError> {
        self.check()?;
        let done = Answer::pending();
        let callback = done.clone();
        self.queue.on_submitted_work_done(move || callback.give(()));
        self.answer(&done).await?;
        self.check()
    }

    /// The answer of a callback, or the device's failure.
    pub(crate) async fn answer<T>(&self, answer: &Answer<T>) -> Result<T, GpuError> {
        let answer = platform::answered(&self.device, self.health.answer(answer)).await;
        // A lost device is the cause of what it refused.
        answer.map_err(|failure| self.check().err().unwrap_or(failure))
    }
}

/// The limits of a device to ask for: of the adapter where kernels profit, the least
/// elsewhere.
fn required(adapter: &wgpu::Limits, wanted: LimitsWanted) -> Result<wgpu::Limits, GpuError> {
    let least = wgpu::Limits::defaults();
    let (has, needs) = (ours(adapter), Limits::MINIMUM);
    for (what, available, needed) in [
        ("storage buffers in a kernel", has.storage_buffers.into(), needs.storage_buffers.into()),
        ("bytes of workgroup memory", has.workgroup_bytes.into(), needs.workgroup_bytes.into()),
        ("invocations in a workgroup", has.invocations.into(), needs.invocations.into()),
        ("workgroups in a dispatch", has.workgroups.into(), needs.workgroups.into()),
        ("bytes in a binding", has.binding_bytes, needs.binding_bytes),
        ("bytes in a buffer", has.buffer_bytes, needs.buffer_bytes),
    ] {
        if available < needed {
            return Err(GpuError::WeakAdapter { what, needed, available });
        }
    }
    Ok(match wanted {
        LimitsWanted::Minimum => least,
        LimitsWanted::Adapter => wgpu::Limits {
            max_buffer_size: adapter.max_buffer_size,
            max_storage_buffer_binding_size: adapter.max_storage_buffer_binding_size,
            ..least
        },
    })
}

fn ours(limits: &wgpu::Limits) -> Limits {
    Limits {
        storage_buffers: limits.max_storage_buffers_per_shader_stage,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        invocations: limits.max_compute_invocations_per_workgroup,
        workgroups: limits.max_compute_workgroups_per_dimension,
        binding_bytes: limits.max_storage_buffer_binding_size,
        buffer_bytes: limits.max_buffer_size,
    }
}
