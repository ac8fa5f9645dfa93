//! Choice of the device that trains, at run time, by checking and measuring.
//!
//! WebGPU can be absent, silently wrong, or slower than the CPU on a small
//! model, and not every layer has kernels for it. So the gradients of a whole and of a short
//! batch are compared with the CPU's, a few steps are timed,
//! and the CPU is kept unless WebGPU is right and faster. That happens beside
//! the first rounds, which train on the CPU.

mod chooser;
mod job;
mod measuring;
#[cfg(test)]
mod tests;

use std::str::FromStr;
use std::time::Duration;

use fedra_gpu::GpuError;
use serde::Deserialize;
use serde::de::IntoDeserializer;

use crate::devices::{BackendName, Compute};
use crate::platform;

pub(crate) use chooser::Chooser;
pub(crate) use job::Job;
pub use measuring::DeviceError;
pub(crate) use measuring::{Candidate, Pace, Trial, speed};

/// Largest relative difference of a right gradient: norm of the difference
/// over the norm of the CPU's.
pub const GRADIENT_TOLERANCE: f64 = 1e-3;

/// The GPU of this machine, or the one that the browser gives; a software adapter if there
/// is no other.
///
/// # Errors
///
/// [`GpuError`] if there is none, or it is too weak.
pub async fn webgpu() -> Result<Compute, GpuError> {
    Compute::webgpu(platform::now).await
}

/// Preference of the owner that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("backend must be \"auto\", \"webgpu\" or \"cpu\"; not {0:?}")]
pub struct UnknownBackend(String);

/// Preference of the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendPreference {
    /// The faster of those that compute right.
    #[default]
    Auto,
    /// WebGPU if it is there and computes right, however slow.
    WebGpu,
    /// The CPU.
    Cpu,
}

impl FromStr for BackendPreference {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, UnknownBackend> {
        let unknown = |_: serde::de::value::Error| UnknownBackend(name.into());
        Self::deserialize(name.into_deserializer()).map_err(unknown)
    }
}

/// Findings about one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Gradients of the check batches, flat.
    pub gradient: Vec<f32>,
    /// Examples trained on a second; absent where speed does not matter.
    pub samples_per_second: Option<f64>,
}

/// The decision and its grounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The device to train on.
    pub backend: BackendName,
    /// Reason, as text for a person.
    pub reason: String,
    /// Relative difference of the gradients, where there were two.
    pub gradient_error: Option<f64>,
    /// Message to an owner who asked for WebGPU, about its absence or failure.
    pub problem: Option<String>,
}

impl Choice {
    fn cpu(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { backend: BackendName::Cpu, reason, gradient_error: None, problem: None }
    }

    /// The CPU, because of a `problem` with WebGPU. Only who asked for WebGPU is told
    /// of it as a problem.
    fn without_webgpu(preference: BackendPreference, problem: &DeviceError) -> Self {
        let asked = (preference == BackendPreference::WebGpu).then(|| problem.to_string());
        Self { problem: asked, ..Self::cpu(format!("WebGPU cannot be used: {problem}")) }
    }
}

/// Decides between the two devices from what was measured on each.
///
/// `webgpu` is an error with its reason where there is no device or it failed.
pub fn decide(
    preference: BackendPreference,
    cpu: &Measurement,
    webgpu: &Result<Measurement, DeviceError>,
) -> Choice {
    let webgpu = match webgpu {
        Ok(measurement) => measurement,
        Err(error) => return Choice::without_webgpu(preference, error),
    };
    let error = relative_error(&cpu.gradient, &webgpu.gradient);
    if error.is_nan() || error > GRADIENT_TOLERANCE {
        let reason = format!("WebGPU computed a wrong gradient here (relative error {error:.1e})");
        let problem = Some(reason.clone());
        return Choice { gradient_error: Some(error), problem, ..Choice::cpu(reason) };
    }
    let cpu_because =
        |reason: String| Choice { gradient_error: Some(error), ..Choice::cpu(reason) };
    let webgpu_because = |reason: String| Choice {
        backend: BackendName::WebGpu,
        reason,
        gradient_error: Some(error),
        problem: None,
    };
    if preference == BackendPreference::WebGpu {
        return webgpu_because("asked for, and its gradients are right".into());
    }
    match (cpu.samples_per_second, webgpu.samples_per_second) {
        (Some(on_cpu), Some(on_gpu)) if on_gpu > on_cpu => {
            webgpu_because(format!("{:.1} times as fast as the CPU on this model", on_gpu / on_cpu))
        }
        (Some(on_cpu), Some(on_gpu)) => {
            cpu_because(format!("{:.1} times as fast as WebGPU on this model", on_cpu / on_gpu))
        }
        _ => cpu_because("WebGPU was not measured".into()),
    }
}

/// Norm of the difference over the norm of `reference`; 0 if both are zero.
pub fn relative_error(reference: &[f32], other: &[f32]) -> f64 {
    if reference.len() != other.len() {
        return f64::INFINITY;
    }
    let square = |x: f64| x * x;
    let pairs = reference.iter().zip(other);
    let difference: f64 = pairs.map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
    let norm: f64 = reference.iter().map(|&a| square(f64::from(a))).sum();
    if difference == 0.0 { 0.0 } else { (difference / norm).sqrt() }
}

/// The real clock, and turns between training and measuring on one thread.
impl Pace for platform::TrainingSlots {
    type Turn = platform::Turn;

    fn now(&self) -> Duration {
        platform::now()
    }

    async fn sleep(&self, duration: Duration) {
        platform::sleep(duration).await;
    }

    async fn turn(&self) -> platform::Turn {
        self.turn().await
    }
}
