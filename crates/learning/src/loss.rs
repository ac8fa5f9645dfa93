//! Objectives of training: as tensors to differentiate, and in double precision to report.
//!
//! Both take a row of outputs for each position of each example; an example's loss is the
//! mean over its positions.

use burn::tensor::{Device, Tensor};
use fedra_protocol::{ModelSpec, Objective};

use crate::kernels::{self, Term};
use crate::layers::tensor;

/// The sum of the examples' losses, from outputs before the softmax or sigmoid and dense
/// targets, both `[batch * positions, width]`.
pub(crate) fn loss_sum(spec: &ModelSpec, outputs: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let width = spec.output_width();
    let of_each = |outputs, targets, term: &Term<'_>| {
        kernels::sum_of_terms(outputs, targets, term).div_scalar(width as f32)
    };
    let sum = match spec.objective() {
        Objective::SoftmaxCrossEntropy { class_weights, label_smoothing } => {
            let targets = adjusted(targets, class_weights, *label_smoothing);
            kernels::cross_entropy(outputs, targets)
        }
        Objective::MeanSquaredError => (outputs - targets).square().sum().div_scalar(width as f32),
        Objective::BinaryCrossEntropy { positive_weights } => {
            of_each(outputs, targets, &binary_cross_entropy(positive_weights))
        }
        Objective::Huber { delta } => of_each(outputs, targets, &huber(*delta)),
    };
    match spec.output_positions() {
        1 => sum,
        positions => sum.div_scalar(positions as f32),
    }
}

/// One-hot targets `[rows, classes]` with the objective's settings in them: the cross-entropy
/// takes weights as targets.
fn adjusted(targets: Tensor<2>, class_weights: &[f32], label_smoothing: f32) -> Tensor<2> {
    let ([_, classes], device) = (targets.dims(), targets.device());
    let targets = match label_smoothing {
        0.0 => targets,
        smoothing => targets.mul_scalar(1.0 - smoothing).add_scalar(smoothing / classes as f32),
    };
    match class_weights {
        [] => targets,
        weights => targets * row(weights, &device),
    }
}

/// `[1, values]`.
fn row(values: &[f32], device: &Device) -> Tensor<2> {
    tensor(values.to_vec(), &[1, values.len()], device)
}

/// The loss of one row.
pub(crate) fn row_loss(objective: &Objective, outputs: &[f32], targets: &[f32]) -> f64 {
    let mean = |term: &Term<'_>| {
        let pairs = outputs.iter().zip(targets).enumerate();
        let terms = pairs.map(|(output, (&y, &t))| term(output, y.into(), t.into()).0);
        terms.sum::<f64>() / outputs.len() as f64
    };
    match objective {
        Objective::SoftmaxCrossEntropy { class_weights, label_smoothing } => {
            let (log_sum, right) = (log_sum_exp(outputs), argmax(targets));
            let term = |class: usize| {
                let weight = class_weights.get(class).map_or(1.0, |&weight| weight.into());
                weight * (log_sum - f64::from(outputs[class]))
            };
            let smoothing = f64::from(*label_smoothing);
            let smooth = match *label_smoothing {
                0.0 => 0.0,
                _ => (0..outputs.len()).map(term).sum::<f64>() * smoothing / outputs.len() as f64,
            };
            (1.0 - smoothing) * term(right) + smooth
        }
        Objective::MeanSquaredError => mean(&squared_error),
        Objective::BinaryCrossEntropy { positive_weights } => {
            mean(&binary_cross_entropy(positive_weights))
        }
        Objective::Huber { delta } => mean(&huber(*delta)),
    }
}

fn squared_error(_output: usize, y: f64, t: f64) -> (f64, f64) {
    ((y - t).powi(2), 2.0 * (y - t))
}

/// `w t ln(1 + exp(-y)) + (1 - t) ln(1 + exp(y))`, without overflow.
fn binary_cross_entropy(positive_weights: &[f32]) -> impl Fn(usize, f64, f64) -> (f64, f64) {
    move |output, y, t| {
        let yes = t * positive_weights.get(output).map_or(1.0, |&weight| f64::from(weight));
        let (no, log) = (1.0 - t, (1.0 + (-y.abs()).exp()).ln());
        let loss = yes * ((-y).max(0.0) + log) + no * (y.max(0.0) + log);
        (loss, no * sigmoid(y) - yes * sigmoid(-y))
    }
}

fn huber(delta: f32) -> impl Fn(usize, f64, f64) -> (f64, f64) {
    let delta = f64::from(delta);
    move |_output, y, t| match y - t {
        difference if difference.abs() > delta => {
            (delta * (difference.abs() - delta / 2.0), delta.copysign(difference))
        }
        difference => (difference * difference / 2.0, difference),
    }
}

/// `1 / (1 + exp(-y))`, without overflow.
pub(crate) fn sigmoid(y: f64) -> f64 {
    let small = (-y.abs()).exp();
    let above = 1.0 / (1.0 + small);
    if y >= 0.0 { above } else { small * above }
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
