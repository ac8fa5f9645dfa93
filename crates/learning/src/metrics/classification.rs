//! Metrics of classes, one an example.

use super::auc::Scores;
use super::confusion::ConfusionMatrix;
use super::{f1, share};
use crate::loss::argmax;

/// Top-5 accuracy is of use with more classes than this.
pub const TOP_5_ABOVE: usize = 10;

/// Counts of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    examples: u64,
    predicted: u64,
    right: u64,
}

/// Metrics of class scores against classes. Memory: three counts a class, the matrix, and
/// for two classes a score an example.
#[derive(Clone, Debug, PartialEq)]
pub struct Classification {
    tallies: Vec<Tally>,
    in_top_5: u64,
    confusion: Option<ConfusionMatrix>,
    /// Of the second class, if there are two.
    scores: Option<Scores>,
}

impl Classification {
    /// Without examples yet, of which there will be at most `examples`.
    pub fn new(classes: usize, examples: usize) -> Self {
        let scores = if classes == 2 { Scores::for_at_most(examples) } else { None };
        Self {
            tallies: vec![Tally::default(); classes],
            in_top_5: 0,
            confusion: ConfusionMatrix::new(classes),
            scores,
        }
    }

    /// Adds an example: a score for each class, which need not be normalised, and its
    /// class. The prediction is the class of the greatest score, the first of equals.
    pub fn add(&mut self, scores: &[f32], target: usize) {
        let predicted = argmax(scores);
        self.tallies[target].examples += 1;
        self.tallies[predicted].predicted += 1;
        self.tallies[target].right += u64::from(predicted == target);
        self.in_top_5 += u64::from(rank(scores, target) < 5);
        if let Some(confusion) = &mut self.confusion {
            confusion.add(target, predicted);
        }
        if let (Some(held), &[first, second]) = (&mut self.scores, scores) {
            held.add(second - first, target == 1);
        }
    }

    /// Adds the examples of the same task's other part.
    pub fn merge(&mut self, other: Self) {
        for (own, other) in self.tallies.iter_mut().zip(other.tallies) {
            own.examples += other.examples;
            own.predicted += other.predicted;
            own.right += other.right;
        }
        self.in_top_5 += other.in_top_5;
        if let (Some(own), Some(other)) = (&mut self.confusion, &other.confusion) {
            own.merge(other);
        }
        if let (Some(own), Some(other)) = (&mut self.scores, other.scores) {
            own.merge(other);
        }
    }

    fn examples(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.examples).sum()
    }

    /// Share of the examples that are classified right.
    pub fn accuracy(&self) -> Option<f64> {
        share(self.tallies.iter().map(|tally| tally.right).sum(), self.examples())
    }

    /// Share of the examples whose class has one of the five greatest scores; `None` with
    /// [`TOP_5_ABOVE`] classes or fewer.
    pub fn top_5_accuracy(&self) -> Option<f64> {
        if self.tallies.len() <= TOP_5_ABOVE {
            return None;
        }
        share(self.in_top_5, self.examples())
    }

    /// Mean of the classes' F1 scores. As in scikit-learn with `zero_division=0` a class
    /// without a right prediction counts 0, and one that neither occurs nor is predicted
    /// does not count.
    pub fn macro_f1(&self) -> Option<f64> {
        let occurring = self.tallies.iter().filter(|tally| tally.examples + tally.predicted > 0);
        let scores = occurring.map(|tally| f1(tally.right, tally.examples, tally.predicted));
        let (sum, classes) = scores.fold((0.0, 0), |(sum, n), score| (sum + score, n + 1));
        (classes > 0).then(|| sum / f64::from(classes))
    }

    /// The matrix, and the AUC of the second class of two.
    pub fn into_parts(self) -> (Option<ConfusionMatrix>, Option<f64>) {
        (self.confusion, self.scores.and_then(Scores::auc))
    }
}

/// Number of classes before `target` in the order of their scores, the first of equals
/// first.
fn rank(scores: &[f32], target: usize) -> usize {
    let own = scores[target];
    let before = |(class, score): (usize, &f32)| *score > own || (*score == own && class < target);
    scores.iter().enumerate().filter(|&entry| before(entry)).count()
}
