//! Metrics of outputs against targets, by kind of task.
//!
//! Each takes its rows batch by batch. Whole numbers are counted in any order; sums of
//! real numbers stay apart by batch until the end and are added in the order of the
//! batches. Halves of a data set may be measured on different threads and
//! [merged](Classification::merge) in order: the results do not depend on the number of
//! threads.

mod auc;
mod classification;
mod confusion;
mod labels;
mod regression;
#[cfg(test)]
mod tests;

pub use auc::{MAX_SCORES, Scores};
pub use classification::{Classification, TOP_5_ABOVE};
pub use confusion::{ConfusionMatrix, MAX_CONFUSION_CLASSES};
pub use labels::{LabelFigures, LabelMeans, Labels};
pub use regression::{Regression, RegressionFigures};

/// F1 score, with the harmonic mean of precision and recall written as
/// `2 TP / (2 TP + FP + FN)`; 0 where nothing is positive, as scikit-learn's
/// `zero_division=0` has it.
fn f1(right: u64, positive: u64, predicted: u64) -> f64 {
    share(2 * right, positive + predicted).unwrap_or(0.0)
}

/// `part` of `whole`, 0 to 1; `None` of nothing.
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
