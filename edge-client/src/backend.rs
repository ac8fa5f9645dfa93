//! Which device trains: chosen at run time by checking and measuring.
//!
//! WebGPU can be absent, silently wrong, or slower than the CPU on a small
//! model. So one gradient is compared with the CPU's, a few steps are timed,
//! and the CPU is kept unless WebGPU is right and faster.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use fedra_learning::{Backend, Compute, Dataset, LearningError, LocalTrainer, gradient};
use fedra_protocol::{LocalTraining, ModelSpec};

use crate::events::ClientEvent;
use crate::platform;

/// Largest relative difference of a right gradient: norm of the difference
/// over the norm of the CPU's.
pub const GRADIENT_TOLERANCE: f64 = 1e-3;
/// Examples that the check looks at.
const CHECK_EXAMPLES: usize = 10;
/// How long a device trains for its measurement, before and while it is timed.
/// Untimed at first because kernels compile, and a browser's first code is slow.
const TRIAL: Trial =
    Trial { warm_up: Duration::from_millis(300), timed: Duration::from_millis(300) };

/// How long a speed is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial {
    pub warm_up: Duration,
    pub timed: Duration,
}

/// What the owner asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
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
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "auto" => Ok(Self::Auto),
            "webgpu" => Ok(Self::WebGpu),
            "cpu" => Ok(Self::Cpu),
            _ => Err(format!("backend must be \"auto\", \"webgpu\" or \"cpu\"; not {name:?}")),
        }
    }
}

/// What was found out about one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Gradient of the check batch, flat.
    pub gradient: Vec<f32>,
    /// Examples trained on a second; absent where speed does not matter.
    pub samples_per_second: Option<f64>,
}

/// The decision and its grounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The device to train on.
    pub backend: Backend,
    /// Why, in words for a person.
    pub reason: String,
    /// Relative difference of the gradients, where there were two.
    pub gradient_error: Option<f64>,
    /// What WebGPU's absence or failure looks like to the owner who asked for it.
    pub problem: Option<String>,
}

/// Decides between the two devices from what was measured on each.
///
/// `webgpu` is an error in words where there is no device or it failed.
pub fn decide(
    preference: BackendPreference,
    cpu: &Measurement,
    webgpu: &Result<Measurement, String>,
) -> Choice {
    let cpu_because = |reason: String, gradient_error, problem| Choice {
        backend: Backend::Cpu,
        reason,
        gradient_error,
        problem,
    };
    let webgpu = match webgpu {
        Ok(measurement) => measurement,
        Err(problem) => {
            let asked = (preference == BackendPreference::WebGpu).then(|| problem.clone());
            return cpu_because(format!("WebGPU cannot be used: {problem}"), None, asked);
        }
    };
    let error = relative_error(&cpu.gradient, &webgpu.gradient);
    if error.is_nan() || error > GRADIENT_TOLERANCE {
        let reason = format!("WebGPU computed a wrong gradient here (relative error {error:.1e})");
        return cpu_because(reason.clone(), Some(error), Some(reason));
    }
    let webgpu_because = |reason: String| Choice {
        backend: Backend::WebGpu,
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
        (Some(on_cpu), Some(on_gpu)) => cpu_because(
            format!("{:.1} times as fast as WebGPU on this model", on_cpu / on_gpu),
            Some(error),
            None,
        ),
        _ => cpu_because("WebGPU was not measured".into(), Some(error), None),
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

/// The training job that devices are compared on.
pub(crate) struct Probe<'a> {
    pub spec: &'a ModelSpec,
    pub parameters: &'a [f32],
    pub data: &'a Arc<Dataset>,
    pub plan: &'a LocalTraining,
}

/// Finds the device to train on and says why.
pub(crate) async fn choose(
    preference: BackendPreference,
    probe: &Probe<'_>,
) -> Result<(Compute, Choice, ClientEvent), LearningError> {
    let cpu = Compute::cpu();
    if preference == BackendPreference::Cpu || cfg!(not(feature = "webgpu")) {
        let asked = preference == BackendPreference::Cpu;
        let reason = if asked { "asked for" } else { "this build has no WebGPU" };
        let problem = (preference == BackendPreference::WebGpu).then(|| reason.to_string());
        let choice =
            Choice { backend: Backend::Cpu, reason: reason.into(), gradient_error: None, problem };
        let event = event(&choice, &cpu, None, None);
        return Ok((cpu, choice, event));
    }
    let timed = preference == BackendPreference::Auto;
    let on_cpu = probe.measure(&cpu, timed).await?;
    let (gpu, on_gpu) = match webgpu_device().await {
        Ok(gpu) => {
            let measured = probe.measure(&gpu, timed).await.map_err(|error| error.to_string());
            (Some(gpu), measured)
        }
        Err(problem) => (None, Err(problem)),
    };
    let choice = decide(preference, &on_cpu, &on_gpu);
    let compute = match (choice.backend, gpu) {
        (Backend::WebGpu, Some(gpu)) => gpu,
        _ => cpu,
    };
    let gpu_speed = on_gpu.ok().and_then(|measured| measured.samples_per_second);
    let event = event(&choice, &compute, on_cpu.samples_per_second, gpu_speed);
    Ok((compute, choice, event))
}

#[cfg(feature = "webgpu")]
async fn webgpu_device() -> Result<Compute, String> {
    Compute::webgpu().await.map_err(|error| error.to_string())
}

#[cfg(not(feature = "webgpu"))]
async fn webgpu_device() -> Result<Compute, String> {
    Err("this build has no WebGPU".into())
}

fn event(choice: &Choice, compute: &Compute, cpu: Option<f64>, webgpu: Option<f64>) -> ClientEvent {
    ClientEvent::Backend {
        backend: match choice.backend {
            Backend::Cpu => "cpu",
            Backend::WebGpu => "webgpu",
        },
        adapter: compute.adapter().map(str::to_string),
        reason: choice.reason.clone(),
        cpu_samples_per_second: cpu,
        webgpu_samples_per_second: webgpu,
        gradient_error: choice.gradient_error,
    }
}

impl Probe<'_> {
    /// Gradient and, if asked for, speed of a device.
    async fn measure(&self, compute: &Compute, timed: bool) -> Result<Measurement, LearningError> {
        let examples = self.data.len().min(CHECK_EXAMPLES) as u32;
        let indices: Vec<u32> = (0..examples).collect();
        let gradient = gradient(self.spec, self.parameters, self.data, &indices, compute).await?;
        let samples_per_second = match timed {
            true => Some(self.speed(compute, TRIAL).await?),
            false => None,
        };
        Ok(Measurement { gradient, samples_per_second })
    }

    /// Examples trained on a second. At least one step goes untimed and one timed.
    pub async fn speed(&self, compute: &Compute, trial: Trial) -> Result<f64, LearningError> {
        let plan =
            LocalTraining { epochs: fedra_protocol::limits::MAX_EPOCHS, ..self.plan.clone() };
        let mut trainer =
            LocalTrainer::new(self.spec, self.parameters, self.data.clone(), &plan, compute)?;
        let warming_up = train_for(&mut trainer, trial.warm_up).await?;
        let timed = train_for(&mut trainer, trial.timed).await?;
        // A handful of examples may be used up before the clock starts.
        Ok(if timed > 0.0 { timed } else { warming_up })
    }
}

/// Trains for at least `duration` and returns the examples a second.
async fn train_for(trainer: &mut LocalTrainer, duration: Duration) -> Result<f64, LearningError> {
    let start = platform::now();
    let mut samples = 0;
    loop {
        let batch = trainer.step();
        samples += batch.unwrap_or(0);
        trainer.loss().await?;
        let elapsed = platform::now() - start;
        if elapsed >= duration || batch.is_none() {
            return Ok(samples as f64 / elapsed.as_secs_f64().max(1e-9));
        }
        platform::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(gradient: &[f32], speed: f64) -> Measurement {
        Measurement { gradient: gradient.to_vec(), samples_per_second: Some(speed) }
    }

    #[test]
    fn the_faster_device_wins_when_both_are_right() {
        let cpu = measured(&[1.0, -2.0], 100.0);
        let slow = decide(BackendPreference::Auto, &cpu, &Ok(measured(&[1.0, -2.0], 50.0)));
        assert_eq!(slow.backend, Backend::Cpu);
        let fast = decide(BackendPreference::Auto, &cpu, &Ok(measured(&[1.0, -2.0], 500.0)));
        assert_eq!(fast.backend, Backend::WebGpu);
    }

    #[test]
    fn a_wrong_gradient_chooses_the_cpu_however_fast_and_whoever_asked() {
        let cpu = measured(&[1.0, -2.0], 100.0);
        for wrong in [[1.0, -2.01], [f32::NAN, -2.0], [0.0, 0.0]] {
            for preference in [BackendPreference::Auto, BackendPreference::WebGpu] {
                let choice = decide(preference, &cpu, &Ok(measured(&wrong, 1e6)));
                assert_eq!(choice.backend, Backend::Cpu);
                assert!(choice.problem.is_some());
            }
        }
    }

    #[test]
    fn without_a_device_the_cpu_trains_and_only_who_asked_hears_of_a_problem() {
        let cpu = measured(&[1.0], 100.0);
        let none = Err("no adapter".to_string());
        let auto = decide(BackendPreference::Auto, &cpu, &none);
        assert_eq!((auto.backend, auto.problem), (Backend::Cpu, None));
        let asked = decide(BackendPreference::WebGpu, &cpu, &none);
        assert_eq!((asked.backend, asked.problem), (Backend::Cpu, Some("no adapter".into())));
    }
}
