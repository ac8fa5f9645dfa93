//! Quality of a model on examples that it did not train on.

use std::panic;
use std::thread;

use fedra_data::Dataset;
use fedra_protocol::{Loss, ModelSpec};

use crate::LearningError;
use crate::device;
use crate::layers::{Activation, Mode};
use crate::loss::{argmax, row_loss};
use crate::network::{Network, read};

/// Examples a forward pass.
const BATCH: usize = 500;

/// Quality of a model on a data set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvaluationResult {
    /// Share of the examples, or of their positions, classified right, 0 to 1; of binary
    /// cross-entropy the share of all outputs that are on the right side of one half. `None`
    /// for a regression.
    pub accuracy: Option<f64>,
    /// Mean loss over the examples, and over the positions of a sequence.
    pub loss: f64,
    /// Examples looked at.
    pub examples: usize,
}

/// Evaluates the flat parameter vector on every example of `data`, divided among `threads`
/// threads; with one, on the caller's. The result does not depend on their number.
///
/// # Errors
///
/// [`LearningError`] if the data or the vector do not fit the model, or the loss is not
/// finite.
pub fn evaluate(
    spec: &ModelSpec,
    parameters: &[f32],
    data: &Dataset,
    threads: usize,
) -> Result<EvaluationResult, LearningError> {
    data.check_for(spec)?;
    let order: Vec<u32> = (0..data.len() as u32).collect();
    let batches: Vec<&[u32]> = order.chunks(BATCH).collect();
    let share = batches.len().div_ceil(threads.max(1));
    let (first, others) = batches.split_at(share.min(batches.len()));
    let sums = thread::scope(|scope| {
        let others: Vec<_> = others
            .chunks(share)
            .map(|share| scope.spawn(move || sums(spec, parameters, data, share)))
            .collect();
        let mut all = sums(spec, parameters, data, first)?;
        for share in others {
            all.extend(share.join().unwrap_or_else(|panic| panic::resume_unwind(panic))?);
        }
        Ok::<_, LearningError>(all)
    })?;
    let right: usize = sums.iter().map(|batch| batch.right).sum();
    let loss: f64 = sums.iter().map(|batch| batch.loss).sum();
    let examples = data.len();
    let rows = (examples * spec.output_positions()) as f64;
    let loss = loss / rows;
    if !loss.is_finite() {
        return Err(LearningError::Diverged);
    }
    let answers = match spec.loss() {
        Loss::BinaryCrossEntropy => rows * spec.output_width() as f64,
        _ => rows,
    };
    let accuracy = (!spec.loss().is_regression()).then(|| right as f64 / answers);
    Ok(EvaluationResult { accuracy, loss, examples })
}

/// Sums over the rows of a batch.
struct Sums {
    /// Rows, or outputs of binary cross-entropy.
    right: usize,
    loss: f64,
}

fn sums(
    spec: &ModelSpec,
    parameters: &[f32],
    data: &Dataset,
    batches: &[&[u32]],
) -> Result<Vec<Sums>, LearningError> {
    let device = device::inference();
    let network = Network::new(spec, parameters, &device)?;
    let outputs = spec.output_width();
    let batch = |indices: &&[u32]| {
        let input = Activation::new(data.features_of(indices), spec.input(), &device);
        let logits = read(network.forward(input, Mode::Inference));
        let targets = data.dense_targets_of(indices, spec);
        let mut sums = Sums { right: 0, loss: 0.0 };
        for (logits, targets) in logits.chunks_exact(outputs).zip(targets.chunks_exact(outputs)) {
            sums.loss += row_loss(spec.objective(), logits, targets);
            sums.right += match spec.loss() {
                Loss::BinaryCrossEntropy => {
                    let answers = logits.iter().zip(targets);
                    answers.filter(|(logit, target)| (**logit > 0.0) == (**target > 0.5)).count()
                }
                _ => usize::from(argmax(logits) == argmax(targets)),
            };
        }
        sums
    };
    Ok(batches.iter().map(batch).collect())
}
