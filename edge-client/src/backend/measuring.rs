//! Measures the two devices beside training: every call has a time limit, and work is
//! done in slices with rests between them.
//!
//! It must not know what is measured: devices, clock and turns are arguments.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{self, Either};

use super::{BackendPreference, Choice, Measurement, decide};
use crate::devices::{BackendName, Compute, TrainingError};

/// Time for a WebGPU adapter and its device to appear.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// Time for the first gradient, for which kernels are compiled.
const GRADIENT_LIMIT: Duration = Duration::from_secs(30);
/// Time for a slice of steps.
const SLICE_LIMIT: Duration = Duration::from_secs(10);
/// Longest time that training on this thread waits for a slice.
pub(super) const LONGEST_TURN: Duration = Duration::from_millis(250);
/// The measurement of a device beside training: a quarter of the thread's time at most,
/// and little more than half a second altogether.
///
/// Untimed at first because kernels compile, and a browser's first code is slow.
const BESIDE_TRAINING: Trial = Trial {
    warm_up: Duration::from_millis(300),
    timed: Duration::from_millis(300),
    slice: Duration::from_millis(50),
    rest: 3,
};

/// Reason why a device cannot be measured.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DeviceError {
    /// There is none on this machine, or none for this training.
    #[error("{0}")]
    Absent(String),
    /// It failed at the work.
    #[error(transparent)]
    Failed(#[from] TrainingError),
    /// It did not answer in time.
    #[error("{what} did not come within {} s", limit.as_secs())]
    Late {
        /// The answer that did not come.
        what: &'static str,
        /// Time that it had.
        limit: Duration,
    },
}

/// Durations of a speed measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial {
    /// Training before the timed part.
    pub warm_up: Duration,
    pub timed: Duration,
    /// Training without a rest. At least one step.
    pub slice: Duration,
    /// Rest after a slice, in units of the time that it took.
    pub rest: u32,
}

/// A device with a training job.
pub(crate) trait Candidate {
    /// The gradients of the check batches, flat.
    async fn gradient(&mut self) -> Result<Vec<f32>, DeviceError>;
    /// Takes a step, or as many as one command to the device has, and waits for them: the
    /// number of examples, or `None` when the job is done.
    async fn step(&mut self) -> Result<Option<usize>, DeviceError>;
}

/// The devices of this machine.
pub(crate) trait Devices {
    type Candidate: Candidate;
    fn cpu(&self) -> Self::Candidate;
    /// The GPU, unless `preference` leaves it out.
    async fn webgpu(
        &self,
        preference: BackendPreference,
    ) -> Result<(Compute, Self::Candidate), DeviceError>;
}

/// Time, and turns on a thread that may have to be shared with training.
pub(crate) trait Pace {
    /// Ends when it is dropped.
    type Turn;
    fn now(&self) -> Duration;
    async fn sleep(&self, duration: Duration);
    /// Waits until training on this thread makes room, and keeps it from going on.
    async fn turn(&self) -> Self::Turn;
}

/// The decision, and what it was made from.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub choice: Choice,
    pub compute: Compute,
    pub cpu_speed: Option<f64>,
    pub webgpu_speed: Option<f64>,
}

impl Outcome {
    pub fn cpu(choice: Choice) -> Self {
        Self { choice, compute: Compute::Cpu, cpu_speed: None, webgpu_speed: None }
    }
}

/// Finds the device to train on. Ends in bounded time, even if a device does not
/// answer.
pub(super) async fn compare(
    preference: BackendPreference,
    devices: &impl Devices,
    pace: &impl Pace,
) -> Outcome {
    match measure(preference, devices, pace).await {
        Ok(outcome) => outcome,
        Err(error) => Outcome::cpu(Choice::without_webgpu(preference, &error)),
    }
}

/// Finds a device in the place of a lost one, which was the better choice, and need only be
/// right. Ends in bounded time.
pub(super) async fn reopened(
    preference: BackendPreference,
    devices: &impl Devices,
    pace: &impl Pace,
) -> Outcome {
    let opened = match open(preference, devices, pace).await {
        Ok(opened) => opened,
        Err(error) => return Outcome::cpu(Choice::without_webgpu(preference, &error)),
    };
    let mut outcome = opened.outcome(BackendPreference::WebGpu);
    if outcome.choice.backend == BackendName::WebGpu {
        outcome.choice.reason = "a new device in the place of a lost one".into();
    }
    outcome
}

/// Both devices with their gradients.
struct Opened<C> {
    compute: Compute,
    webgpu: C,
    cpu: C,
    on_webgpu: Measurement,
    on_cpu: Measurement,
}

impl<C> Opened<C> {
    fn outcome(self, preference: BackendPreference) -> Outcome {
        let cpu_speed = self.on_cpu.samples_per_second;
        let webgpu_speed = self.on_webgpu.samples_per_second;
        let choice = decide(preference, &self.on_cpu, &Ok(self.on_webgpu));
        let compute = match choice.backend {
            BackendName::WebGpu => self.compute,
            BackendName::Cpu => Compute::Cpu,
        };
        Outcome { choice, compute, cpu_speed, webgpu_speed }
    }
}

async fn open<D: Devices>(
    preference: BackendPreference,
    devices: &D,
    pace: &impl Pace,
) -> Result<Opened<D::Candidate>, DeviceError> {
    let opening = within(pace, OPEN_LIMIT, "the adapter", devices.webgpu(preference));
    let (compute, mut webgpu) = opening.await?;
    let mut cpu = devices.cpu();
    let on_webgpu = within(pace, GRADIENT_LIMIT, "the first gradient", webgpu.gradient()).await?;
    let gradient_of = |gradient| Measurement { gradient, samples_per_second: None };
    let (on_webgpu, on_cpu) = (gradient_of(on_webgpu), gradient_of(cpu.gradient().await?));
    Ok(Opened { compute, webgpu, cpu, on_webgpu, on_cpu })
}

async fn measure(
    preference: BackendPreference,
    devices: &impl Devices,
    pace: &impl Pace,
) -> Result<Outcome, DeviceError> {
    let mut opened = open(preference, devices, pace).await?;
    if preference == BackendPreference::Auto {
        let Opened { webgpu, cpu, on_webgpu, on_cpu, .. } = &mut opened;
        on_webgpu.samples_per_second = Some(speed(webgpu, BESIDE_TRAINING, pace).await?);
        on_cpu.samples_per_second = Some(speed(cpu, BESIDE_TRAINING, pace).await?);
    }
    Ok(opened.outcome(preference))
}

/// Examples that a device trains on in a second of work, rests not counted.
pub(crate) async fn speed(
    candidate: &mut impl Candidate,
    trial: Trial,
    pace: &impl Pace,
) -> Result<f64, DeviceError> {
    let warming_up = train_for(candidate, trial.warm_up, trial, pace).await?;
    let timed = train_for(candidate, trial.timed, trial, pace).await?;
    // A handful of examples may be used up before the clock starts.
    Ok(if timed > 0.0 { timed } else { warming_up })
}

async fn train_for(
    candidate: &mut impl Candidate,
    duration: Duration,
    trial: Trial,
    pace: &impl Pace,
) -> Result<f64, DeviceError> {
    let (mut samples, mut busy) = (0, Duration::ZERO);
    loop {
        let turn = pace.turn().await;
        let start = pace.now();
        let steps = train_slice(candidate, trial.slice, pace);
        let steps = pin!(within(pace, SLICE_LIMIT, "a step of training", steps));
        let slice = match future::select(steps, pin!(pace.sleep(LONGEST_TURN))).await {
            Either::Left((slice, _)) => {
                drop(turn);
                slice?
            }
            Either::Right(((), steps)) => {
                drop(turn);
                steps.await?
            }
        };
        let took = pace.now() - start;
        samples += slice.samples;
        busy += took;
        if busy >= duration || slice.is_last {
            return Ok(samples as f64 / busy.as_secs_f64().max(1e-9));
        }
        pace.sleep(took * trial.rest).await;
    }
}

struct Slice {
    samples: usize,
    /// True if the job is done.
    is_last: bool,
}

async fn train_slice(
    candidate: &mut impl Candidate,
    duration: Duration,
    pace: &impl Pace,
) -> Result<Slice, DeviceError> {
    let start = pace.now();
    let mut samples = 0;
    loop {
        match candidate.step().await? {
            Some(batch) => samples += batch,
            None => return Ok(Slice { samples, is_last: true }),
        }
        if pace.now() - start >= duration {
            return Ok(Slice { samples, is_last: false });
        }
    }
}

/// Result of `work`, or an error if it takes longer than `limit`.
pub(crate) async fn within<T>(
    pace: &impl Pace,
    limit: Duration,
    what: &'static str,
    work: impl Future<Output = Result<T, DeviceError>>,
) -> Result<T, DeviceError> {
    match future::select(pin!(work), pin!(pace.sleep(limit))).await {
        Either::Left((done, _)) => done,
        Either::Right(_) => Err(DeviceError::Late { what, limit }),
    }
}
