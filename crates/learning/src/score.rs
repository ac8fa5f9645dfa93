//! Scores of a model on a client's own examples: loss and accuracy, some examples at a time.

use std::ops::Range;

use fedra_data::Dataset;
use fedra_protocol::{Loss, ModelSpec, Scores};

use crate::LearningError;
use crate::WeightsView;
use crate::device;
use crate::layers::{Activation, Mode};
use crate::loss::{argmax, row_loss};
use crate::network::{Network, read};

/// Sums of the scores of some examples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ScoreSums {
    /// Losses of rows: examples, or their positions.
    loss: f64,
    rows: usize,
    /// Right answers: of a row, or to each question of a row.
    right: usize,
    answers: usize,
}

impl ScoreSums {
    /// Adds those of other examples.
    pub fn add(&mut self, other: Self) {
        self.loss += other.loss;
        self.rows += other.rows;
        self.right += other.right;
        self.answers += other.answers;
    }

    /// The means. Those of no examples are not numbers.
    pub fn scores(&self) -> Scores {
        let accuracy = (self.answers > 0).then(|| self.right as f64 / self.answers as f64);
        Scores { loss: self.loss / self.rows as f64, accuracy }
    }
}

/// Scores of a model on the examples of `data` in this range. A loss that
/// is not finite is no error here.
///
/// # Errors
///
/// [`LearningError`] if the data or the weights do not fit the model.
pub fn score<'a>(
    spec: &ModelSpec,
    weights: impl Into<WeightsView<'a>>,
    data: &Dataset,
    examples: Range<u32>,
) -> Result<ScoreSums, LearningError> {
    // A caller comes for each piece: the others are not looked at again.
    let piece = data.select(&examples.collect::<Vec<_>>());
    piece.check_for(spec)?;
    let device = device::inference();
    let network = Network::new(spec, weights.into(), &device)?;
    let indices: Vec<u32> = (0..piece.len() as u32).collect();
    let input = Activation::new(piece.features_of(&indices), spec.input(), &device);
    let outputs = read(network.forward(input, Mode::Inference));
    let targets = piece.dense_targets_of(&indices, spec);
    let width = spec.output_width();
    let mut sums = ScoreSums::default();
    for (own, target) in outputs.chunks_exact(width).zip(targets.chunks_exact(width)) {
        sums.loss += row_loss(spec.objective(), own, target);
        sums.rows += 1;
        let (right, answers) = match spec.loss() {
            Loss::SoftmaxCrossEntropy => (usize::from(argmax(own) == argmax(target)), 1),
            Loss::BinaryCrossEntropy => {
                let answers = own.iter().zip(target);
                (answers.filter(|(own, target)| (**own > 0.0) == (**target > 0.5)).count(), width)
            }
            Loss::MeanSquaredError | Loss::Huber => (0, 0),
        };
        sums.right += right;
        sums.answers += answers;
    }
    Ok(sums)
}
