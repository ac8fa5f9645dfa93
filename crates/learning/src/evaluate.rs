//! Quality of a model on examples that it did not train on.

use fedra_protocol::{Loss, ModelSpec};

use crate::LearningError;
use crate::data::Dataset;
use crate::device;
use crate::layers::{Activation, Mode};
use crate::loss::{argmax, row_loss};
use crate::network::{Network, read};

/// Examples a forward pass.
const BATCH: usize = 500;

/// Quality of a model on a data set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvaluationResult {
    /// Share of the examples, or of their positions, classified right, 0 to 1; `None` for a
    /// regression.
    pub accuracy: Option<f64>,
    /// Mean loss over the examples, and over the positions of a sequence.
    pub loss: f64,
    /// Examples looked at.
    pub examples: usize,
}

/// Evaluates the flat parameter vector on every example of `data`.
///
/// # Errors
///
/// [`LearningError`] if the data or the vector do not fit the model, or the loss is not
/// finite.
pub fn evaluate(
    spec: &ModelSpec,
    parameters: &[f32],
    data: &Dataset,
) -> Result<EvaluationResult, LearningError> {
    data.check_for(spec)?;
    let device = device::inference();
    let network = Network::new(spec, parameters, &device)?;
    let outputs = spec.output_width();
    let (mut right, mut loss) = (0usize, 0.0f64);
    let order: Vec<u32> = (0..data.len() as u32).collect();
    for indices in order.chunks(BATCH) {
        let input = Activation::new(data.features_of(indices), spec.input(), &device);
        let logits = read(network.forward(input, Mode::Inference));
        let targets = data.dense_targets_of(indices, spec);
        for (logits, targets) in logits.chunks_exact(outputs).zip(targets.chunks_exact(outputs)) {
            loss += row_loss(spec.loss(), logits, targets);
            right += usize::from(argmax(logits) == argmax(targets));
        }
    }
    let examples = data.len();
    let rows = (examples * spec.output_positions()) as f64;
    let loss = loss / rows;
    if !loss.is_finite() {
        return Err(LearningError::Diverged);
    }
    let accuracy = (spec.loss() == Loss::SoftmaxCrossEntropy).then(|| right as f64 / rows);
    Ok(EvaluationResult { accuracy, loss, examples })
}
