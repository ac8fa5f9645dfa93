//! Speed of local training on this machine, for `cargo xtask bench`.

pub mod privacy;

use std::sync::Arc;
use std::time::Duration;

use fedra_data::{Dataset, DatasetError, Features, Targets};
use fedra_learning::init_parameters;
use fedra_protocol::{LocalTraining, LocalTrainingError, ModelSpec, RawLocalTraining, Shape};
use futures_util::future;
use serde::Serialize;

use crate::backend::{Candidate, DeviceError, Job, Pace, Trial, speed};
use crate::devices::Compute;
use crate::platform;

/// Long enough for a browser to have compiled its fastest code.
const TRIAL: Trial = Trial {
    warm_up: Duration::from_secs(2),
    timed: Duration::from_secs(2),
    slice: Duration::from_millis(100),
    rest: 0,
};

/// Nothing else runs: limits do not apply, and there is no training to take turns with.
struct Alone;

impl Pace for Alone {
    type Turn = ();

    fn now(&self) -> Duration {
        platform::now()
    }

    async fn sleep(&self, duration: Duration) {
        if duration > Duration::ZERO {
            future::pending::<()>().await;
        }
        platform::yield_now().await;
    }

    async fn turn(&self) {}
}

/// Reason why a case cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The made-up examples do not fit the model.
    #[error(transparent)]
    Examples(#[from] DatasetError),
    /// The plan is outside its ranges.
    #[error(transparent)]
    Plan(#[from] LocalTrainingError),
    /// The device does not go through with it.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// One measured case.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Built-in model.
    pub model: String,
    /// Examples a step.
    pub batch: u32,
    /// Device.
    pub backend: String,
    /// Examples trained on a second.
    pub samples_per_second: f64,
    /// Time of the first step, with all that is set up for it: on a GPU its kernels are
    /// compiled, and the examples go up.
    pub first_step_milliseconds: f64,
    /// Time of one SGD step.
    pub milliseconds_per_step: f64,
}

/// Random images or token ids with random classes: values do not change the time of a step.
///
/// # Errors
///
/// [`DatasetError`] if there are no examples, or the model has no classes.
pub fn synthetic(spec: &ModelSpec, examples: usize) -> Result<Dataset, DatasetError> {
    let shape: Shape = spec.input();
    let random = |i: u32| i.wrapping_mul(2_654_435_761) >> 16;
    let elements = 0..(examples * shape.len()) as u32;
    let features = match shape {
        Shape::Tokens { vocabulary, .. } => {
            Features::Tokens(elements.map(|i| random(i) % vocabulary).collect())
        }
        _ => Features::Values(elements.map(|i| random(i) as f32 / 65_536.0).collect()),
    };
    let positions = spec.output_positions();
    let classes = (0..examples * positions).map(|i| (i % spec.output_width()) as u32).collect();
    let targets = match positions {
        1 => Targets::Classes(classes),
        _ => Targets::PositionClasses { classes, positions },
    };
    Dataset::new(features, shape, targets)
}

/// Trains a built-in model for a moment and reports its speed.
///
/// # Errors
///
/// [`BenchError`] if the batch is empty, or the device fails.
pub async fn measure(name: &str, batch: u32, compute: &Compute) -> Result<Measured, BenchError> {
    let spec = ModelSpec::builtin(name).unwrap_or_else(ModelSpec::mnist_2nn);
    let parameters = init_parameters(&spec, 1);
    let data = Arc::new(synthetic(&spec, 20 * batch as usize)?);
    let plan = LocalTraining::new(RawLocalTraining {
        batch_size: batch,
        learning_rate: 0.01,
        ..RawLocalTraining::default()
    })?;
    let job = Job::new(&spec, &Arc::new(parameters), &data, &plan);
    let mut worker = job.on(compute.clone());
    let start = platform::now();
    worker.step().await?;
    let first_step = platform::now() - start;
    // As a client does before it trains on a device: a GPU's faster kernels are chosen.
    let mut worker = job.on(compute.clone());
    worker.gradient().await?;
    let samples_per_second = speed(&mut worker, TRIAL, &Alone).await?;
    Ok(Measured {
        model: name.to_string(),
        batch,
        backend: compute.backend().to_string(),
        samples_per_second,
        first_step_milliseconds: 1e3 * first_step.as_secs_f64(),
        milliseconds_per_step: 1e3 * f64::from(batch) / samples_per_second,
    })
}
