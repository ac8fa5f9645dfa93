//! Speed of local training on this machine, for `cargo xtask bench`.

pub mod privacy;

use std::sync::Arc;
use std::time::Duration;

use fedra_learning::{Compute, Dataset, DatasetError, LearningError, Targets, init_parameters};
use fedra_protocol::{LocalTraining, ModelSpec, Shape};
use serde::Serialize;

use crate::backend::{Probe, Trial};

/// Long enough for a browser to have compiled its fastest code.
const TRIAL: Trial = Trial { warm_up: Duration::from_secs(2), timed: Duration::from_secs(2) };

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
    /// Time of one SGD step.
    pub milliseconds_per_step: f64,
}

/// Random images with random classes: values do not change the time of a step.
pub fn synthetic(spec: &ModelSpec, examples: usize) -> Result<Dataset, DatasetError> {
    let shape: Shape = spec.input();
    let pixel = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 16) as f32 / 65_536.0;
    let features = (0..examples * shape.len()).map(pixel).collect();
    let classes = (0..examples).map(|i| (i % spec.output_len()) as u32).collect();
    Dataset::new(features, shape, Targets::Classes(classes))
}

/// Trains a built-in model for a moment and reports its speed.
pub async fn measure(name: &str, batch: u32, compute: &Compute) -> Result<Measured, LearningError> {
    let spec = ModelSpec::builtin(name).unwrap_or_else(ModelSpec::mnist_2nn);
    let parameters = init_parameters(&spec, 1);
    let data = Arc::new(synthetic(&spec, 20 * batch as usize)?);
    let plan = LocalTraining {
        epochs: 1,
        batch_size: batch,
        learning_rate: 0.01,
        momentum: 0.0,
        weight_decay: 0.0,
        seed: 1,
        max_examples: 0,
    };
    let probe = Probe { spec: &spec, parameters: &parameters, data: &data, plan: &plan };
    let samples_per_second = probe.speed(compute, TRIAL).await?;
    Ok(Measured {
        model: name.to_string(),
        batch,
        backend: compute.backend().to_string(),
        samples_per_second,
        milliseconds_per_step: 1e3 * f64::from(batch) / samples_per_second,
    })
}
