//! Objectives of training: as tensors to differentiate, and in double precision to report.
//!
//! Both take a row of outputs for each position of each example; an example's loss is the
//! mean over its positions.

use burn::tensor::Tensor;
use fedra_protocol::{Loss, ModelSpec};

use crate::kernels;

/// The sum of the examples' losses, from outputs before the softmax and dense targets, both
/// `[batch * positions, width]`.
pub(crate) fn loss_sum(spec: &ModelSpec, outputs: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let sum = match spec.loss() {
        Loss::SoftmaxCrossEntropy => kernels::cross_entropy(outputs, targets),
        Loss::MeanSquaredError => {
            (outputs - targets).square().sum().div_scalar(spec.output_width() as f32)
        }
    };
    match spec.output_positions() {
        1 => sum,
        positions => sum.div_scalar(positions as f32),
    }
}

/// The loss of one row.
pub(crate) fn row_loss(loss: Loss, outputs: &[f32], targets: &[f32]) -> f64 {
    match loss {
        Loss::SoftmaxCrossEntropy => log_sum_exp(outputs) - f64::from(outputs[argmax(targets)]),
        Loss::MeanSquaredError => {
            let squares = outputs.iter().zip(targets).map(|(&y, &t)| f64::from(y - t).powi(2));
            squares.sum::<f64>() / outputs.len() as f64
        }
    }
}

/// `ln(sum of exp(x))`, without overflow.
pub(crate) fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - max).exp()).sum();
    f64::from(max) + sum.ln()
}

/// Position of the largest value, the first of equals.
pub(crate) fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}
