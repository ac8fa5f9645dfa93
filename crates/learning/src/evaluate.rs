//! Quality of a model on examples that it did not train on.

use std::panic;
use std::thread;

use fedra_data::Dataset;
use fedra_protocol::{Loss, ModelSpec, Quality, Shape};

use crate::LearningError;
use crate::device;
use crate::layers::{Activation, Mode};
use crate::loss::{argmax, row_loss};
use crate::metrics::{Classification, ConfusionMatrix, LabelMeans, Labels, Regression};
use crate::network::{Network, read};
use crate::weights::WeightsView;

/// Examples a forward pass.
const BATCH: usize = 500;

/// Quality of a model on a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationResult {
    /// The metrics of its task.
    pub quality: Quality,
    /// Examples by class and predicted class, if the model [has](ConfusionMatrix::is_for) a
    /// matrix.
    pub confusion: Option<ConfusionMatrix>,
    /// Examples looked at.
    pub examples: usize,
}

/// Evaluates a model on every example of `data`, divided among `threads`
/// threads; with one, on the caller's. The result does not depend on their number.
///
/// # Errors
///
/// [`LearningError`] if the data or the weights do not fit the model, or the loss is not
/// finite.
pub fn evaluate<'a>(
    spec: &ModelSpec,
    weights: impl Into<WeightsView<'a>>,
    data: &Dataset,
    threads: usize,
) -> Result<EvaluationResult, LearningError> {
    data.check_for(spec)?;
    let weights = weights.into();
    let order: Vec<u32> = (0..data.len() as u32).collect();
    let batches: Vec<&[u32]> = order.chunks(BATCH).collect();
    let share = batches.len().div_ceil(threads.max(1));
    let (first, others) = batches.split_at(share.min(batches.len()));
    let measured = thread::scope(|scope| {
        let others: Vec<_> = others
            .chunks(share)
            .map(|share| scope.spawn(move || measured(spec, weights, data, share)))
            .collect();
        let mut all = measured(spec, weights, data, first)?;
        for share in others {
            all.merge(share.join().unwrap_or_else(|panic| panic::resume_unwind(panic))?);
        }
        Ok::<_, LearningError>(all)
    })?;
    let examples = data.len();
    let rows = (examples * spec.output_positions()) as f64;
    let loss = measured.losses.iter().sum::<f64>() / rows;
    if !loss.is_finite() {
        return Err(LearningError::Diverged);
    }
    let (quality, confusion) = measured.metrics.finish(loss, rows);
    Ok(EvaluationResult { quality, confusion, examples })
}

/// Outputs of some batches against their targets.
struct Measured {
    /// Sum of the losses of each batch's rows.
    losses: Vec<f64>,
    metrics: Metrics,
}

impl Measured {
    fn merge(&mut self, mut later: Self) {
        self.losses.append(&mut later.losses);
        self.metrics.merge(later.metrics);
    }
}

/// Metrics by loss and output.
enum Metrics {
    Classes(Classification),
    /// Positions whose class is right.
    Positions(usize),
    Answers(Labels),
    Values(Regression),
}

impl Metrics {
    fn new(spec: &ModelSpec, examples: usize) -> Self {
        let width = spec.output_width();
        match (spec.loss(), spec.output()) {
            (Loss::SoftmaxCrossEntropy, Shape::Sequence { .. }) => Self::Positions(0),
            (Loss::SoftmaxCrossEntropy, _) => Self::Classes(Classification::new(width, examples)),
            (Loss::BinaryCrossEntropy, output) => {
                let rows = examples * (output.len() / width);
                Self::Answers(Labels::new(width, rows))
            }
            (Loss::MeanSquaredError | Loss::Huber, _) => Self::Values(Regression::new(width)),
        }
    }

    /// Adds a batch: rows of `width` outputs, and of dense targets.
    fn add(&mut self, width: usize, outputs: &[f32], targets: &[f32]) {
        let rows = outputs.chunks_exact(width).zip(targets.chunks_exact(width));
        match self {
            Self::Classes(metrics) => {
                rows.for_each(|(outputs, targets)| metrics.add(outputs, argmax(targets)));
            }
            Self::Positions(right) => {
                *right += rows.filter(|(own, target)| argmax(own) == argmax(target)).count();
            }
            Self::Answers(metrics) => rows.for_each(|(own, target)| metrics.add(own, target)),
            Self::Values(metrics) => metrics.add(outputs, targets),
        }
    }

    fn merge(&mut self, later: Self) {
        match (self, later) {
            (Self::Classes(own), Self::Classes(later)) => own.merge(later),
            (Self::Positions(own), Self::Positions(later)) => *own += later,
            (Self::Answers(own), Self::Answers(later)) => own.merge(later),
            (Self::Values(own), Self::Values(later)) => own.merge(later),
            _ => unreachable!("both are of one model"),
        }
    }

    fn finish(self, loss: f64, rows: f64) -> (Quality, Option<ConfusionMatrix>) {
        let none = Quality::of_loss(loss);
        match self {
            Self::Classes(metrics) => {
                let quality = Quality {
                    accuracy: metrics.accuracy(),
                    top_5_accuracy: metrics.top_5_accuracy(),
                    macro_f1: metrics.macro_f1(),
                    ..none
                };
                let (confusion, auc) = metrics.into_parts();
                (Quality { auc, ..quality }, confusion)
            }
            Self::Positions(right) => {
                let perplexity = Some(loss.exp()).filter(|perplexity| perplexity.is_finite());
                let bits_per_token = Some(loss / std::f64::consts::LN_2);
                let accuracy = Some(right as f64 / rows);
                (Quality { accuracy, perplexity, bits_per_token, ..none }, None)
            }
            Self::Answers(metrics) => {
                let means = metrics.figures().and_then(|labels| LabelMeans::of(&labels));
                let quality = Quality {
                    accuracy: means.map(|means| means.accuracy),
                    macro_f1: means.map(|means| means.macro_f1),
                    auc: means.and_then(|means| means.auc),
                    ..none
                };
                (quality, None)
            }
            Self::Values(metrics) => {
                let figures = metrics.figures();
                let quality = Quality {
                    mae: figures.map(|figures| figures.mae),
                    rmse: figures.map(|figures| figures.rmse),
                    r2: figures.and_then(|figures| figures.r2),
                    ..none
                };
                (quality, None)
            }
        }
    }
}

fn measured(
    spec: &ModelSpec,
    weights: WeightsView<'_>,
    data: &Dataset,
    batches: &[&[u32]],
) -> Result<Measured, LearningError> {
    let device = device::inference();
    let network = Network::new(spec, weights, &device)?;
    let width = spec.output_width();
    let metrics = Metrics::new(spec, data.len());
    let mut measured = Measured { losses: Vec::with_capacity(batches.len()), metrics };
    for indices in batches {
        let input = Activation::new(data.features_of(indices), spec.input(), &device);
        let outputs = read(network.forward(input, Mode::Inference));
        let targets = data.dense_targets_of(indices, spec);
        let rows = outputs.chunks_exact(width).zip(targets.chunks_exact(width));
        let losses = rows.map(|(outputs, targets)| row_loss(spec.objective(), outputs, targets));
        measured.losses.push(losses.sum());
        measured.metrics.add(width, &outputs, &targets);
    }
    Ok(measured)
}
