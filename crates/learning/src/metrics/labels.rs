//! Metrics of several yes/no labels an example.

use super::auc::Scores;
use super::{f1, share};

/// Metrics of one label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelFigures {
    /// Share of the examples with the right answer.
    pub accuracy: f64,
    /// F1 score of the answer yes; 0 where no example and no prediction is a yes.
    pub f1: f64,
    /// Area under the receiver operating characteristic; `None` if all examples are alike,
    /// or there are too many.
    pub auc: Option<f64>,
}

/// Means over the labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelMeans {
    /// Mean accuracy.
    pub accuracy: f64,
    /// Mean F1 score.
    pub macro_f1: f64,
    /// Mean AUC of the labels that have one.
    pub auc: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    right: u64,
    positive: u64,
    predicted: u64,
    right_positive: u64,
}

/// Metrics of a score for each label against 0 or 1. Memory: four counts a label, and a
/// score an example and label.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    examples: u64,
    tallies: Vec<Tally>,
    scores: Option<Vec<Scores>>,
}

impl Labels {
    /// Without examples yet, of which there will be at most `examples`.
    pub fn new(labels: usize, examples: usize) -> Self {
        let scores = Scores::for_at_most(examples.saturating_mul(labels));
        Self {
            examples: 0,
            tallies: vec![Tally::default(); labels],
            scores: scores.map(|empty| vec![empty; labels]),
        }
    }

    /// Adds an example: a logit for each label, and 0 or 1. The answer is yes for a logit
    /// above 0, a probability above one half.
    pub fn add(&mut self, logits: &[f32], targets: &[f32]) {
        self.examples += 1;
        for (label, tally) in self.tallies.iter_mut().enumerate() {
            let (yes, predicted) = (targets[label] > 0.5, logits[label] > 0.0);
            tally.right += u64::from(yes == predicted);
            tally.positive += u64::from(yes);
            tally.predicted += u64::from(predicted);
            tally.right_positive += u64::from(yes && predicted);
            if let Some(scores) = &mut self.scores {
                scores[label].add(logits[label], yes);
            }
        }
    }

    /// Adds the examples of the same task's other part.
    pub fn merge(&mut self, other: Self) {
        self.examples += other.examples;
        for (own, other) in self.tallies.iter_mut().zip(other.tallies) {
            own.right += other.right;
            own.positive += other.positive;
            own.predicted += other.predicted;
            own.right_positive += other.right_positive;
        }
        if let (Some(own), Some(other)) = (&mut self.scores, other.scores) {
            own.iter_mut().zip(other).for_each(|(own, other)| own.merge(other));
        }
    }

    /// The metrics of each label; `None` without examples.
    pub fn figures(self) -> Option<Vec<LabelFigures>> {
        let examples = self.examples;
        let scores = match self.scores {
            Some(scores) => scores.into_iter().map(Scores::auc).collect(),
            None => vec![None; self.tallies.len()],
        };
        let figures = self.tallies.iter().zip(scores).map(|(tally, auc)| {
            let accuracy = share(tally.right, examples)?;
            let f1 = f1(tally.right_positive, tally.positive, tally.predicted);
            Some(LabelFigures { accuracy, f1, auc })
        });
        figures.collect()
    }
}

impl LabelMeans {
    /// The means over labels, each with the same weight; `None` without labels.
    pub fn of(labels: &[LabelFigures]) -> Option<Self> {
        Some(Self {
            accuracy: mean(labels.iter().map(|label| label.accuracy))?,
            macro_f1: mean(labels.iter().map(|label| label.f1))?,
            auc: mean(labels.iter().filter_map(|label| label.auc)),
        })
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
