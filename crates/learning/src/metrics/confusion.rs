//! Counts of examples by class and by predicted class.

use fedra_protocol::{Loss, ModelSpec, Shape};

use super::share;

/// Most classes for which pairs are counted: the matrix is to be read by people.
pub const MAX_CONFUSION_CLASSES: usize = 100;

/// Number of examples of each class that were taken for each class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfusionMatrix {
    classes: usize,
    /// Row by row; a row is the examples of one class.
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// A matrix without examples; `None` for too many classes.
    pub fn new(classes: usize) -> Option<Self> {
        let counts = (classes <= MAX_CONFUSION_CLASSES).then(|| vec![0; classes * classes]);
        counts.map(|counts| Self { classes, counts })
    }

    /// True if models of this specification are given a matrix: classifiers of whole
    /// examples with few classes.
    pub fn is_for(spec: &ModelSpec) -> bool {
        spec.loss() == Loss::SoftmaxCrossEntropy
            && !matches!(spec.output(), Shape::Sequence { .. })
            && spec.output_width() <= MAX_CONFUSION_CLASSES
    }

    /// Adds an example of class `target` that was taken for `predicted`. Panics if there
    /// is no such class.
    pub fn add(&mut self, target: usize, predicted: usize) {
        assert!(target.max(predicted) < self.classes, "a class beyond the matrix");
        self.counts[target * self.classes + predicted] += 1;
    }

    /// Adds the examples of another matrix of as many classes.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.classes, other.classes, "the matrices have as many classes");
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, other)| *own += other);
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// A row for each class: its examples by predicted class.
    pub fn rows(&self) -> impl Iterator<Item = &[u64]> {
        self.counts.chunks_exact(self.classes)
    }

    /// Examples of a class.
    pub fn examples(&self, class: usize) -> u64 {
        self.counts[class * self.classes..][..self.classes].iter().sum()
    }

    /// Examples that were taken for a class.
    pub fn predicted(&self, class: usize) -> u64 {
        self.counts.iter().skip(class).step_by(self.classes).sum()
    }

    /// Examples of a class that were taken for it.
    pub fn right(&self, class: usize) -> u64 {
        self.counts[class * self.classes + class]
    }

    /// Share of a class's examples that were taken for it; `None` without examples.
    pub fn recall(&self, class: usize) -> Option<f64> {
        share(self.right(class), self.examples(class))
    }

    /// Share of what was taken for a class that is of it; `None` if nothing was.
    pub fn precision(&self, class: usize) -> Option<f64> {
        share(self.right(class), self.predicted(class))
    }
}
