//! Quality of a model on examples that it did not train on.

use fedra_protocol::{Loss, ModelSpec};

use crate::LearningError;
use crate::data::Dataset;
use crate::device::Compute;
use crate::layers::{Activation, Mode};
use crate::network::{Network, read};

/// Examples a forward pass.
const BATCH: usize = 500;

/// Quality of a model on a data set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvaluationResult {
    /// Share classified right, 0 to 1; `None` for a regression.
    pub accuracy: Option<f64>,
    /// Mean loss over the examples.
    pub loss: f64,
    /// Examples looked at.
    pub examples: usize,
}

/// Evaluates the flat parameter vector on every example of `data`.
///
/// # Errors
///
/// [`LearningError`] if the data or the vector do not fit the model, or the device fails.
pub async fn evaluate(
    spec: &ModelSpec,
    parameters: &[f32],
    data: &Dataset,
    compute: &Compute,
) -> Result<EvaluationResult, LearningError> {
    data.check_for(spec)?;
    let device = compute.inference();
    let network = Network::new(spec, parameters, &device)?;
    let outputs = spec.output_len();
    let (mut right, mut loss) = (0usize, 0.0f64);
    let order: Vec<u32> = (0..data.len() as u32).collect();
    for indices in order.chunks(BATCH) {
        let input = Activation::new(data.features_of(indices), spec.input(), &device);
        let logits = read(network.forward(input, Mode::Inference), compute.backend()).await?;
        let targets = data.dense_targets_of(indices, outputs);
        for (logits, targets) in logits.chunks_exact(outputs).zip(targets.chunks_exact(outputs)) {
            loss += example_loss(spec.loss(), logits, targets);
            right += usize::from(argmax(logits) == argmax(targets));
        }
    }
    let examples = data.len();
    let loss = loss / examples as f64;
    if !loss.is_finite() {
        return Err(LearningError::Diverged);
    }
    let accuracy =
        (spec.loss() == Loss::SoftmaxCrossEntropy).then(|| right as f64 / examples as f64);
    Ok(EvaluationResult { accuracy, loss, examples })
}

fn example_loss(loss: Loss, logits: &[f32], targets: &[f32]) -> f64 {
    match loss {
        Loss::SoftmaxCrossEntropy => log_sum_exp(logits) - f64::from(logits[argmax(targets)]),
        Loss::MeanSquaredError => {
            let squares = logits.iter().zip(targets).map(|(&y, &t)| f64::from(y - t).powi(2));
            squares.sum::<f64>() / logits.len() as f64
        }
    }
}

pub(crate) fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - max).exp()).sum();
    f64::from(max) + sum.ln()
}

/// Position of the largest value, the first of equals.
fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}
