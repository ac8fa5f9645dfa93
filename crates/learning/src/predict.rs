//! Outputs of a model for examples without targets, a piece at a time.
//!
//! It bounds a piece; asking for the pieces one after the other is the caller's part.

use fedra_data::memory::ensure_free;
use fedra_data::{DatasetError, Features, examples};
use fedra_protocol::{Loss, ModelSpec};

use crate::LearningError;
use crate::device;
use crate::layers::{Activation, Mode};
use crate::loss::{log_sum_exp, sigmoid};
use crate::network::{Network, read};
use crate::weights::WeightsView;

/// Most bytes that the examples of a piece take in the widest layer, its input and its
/// output together.
const PIECE_BYTES: u64 = 16 << 20;
/// Most multiply-adds of a piece: some tens of milliseconds in a browser.
const PIECE_OPERATIONS: u64 = 1 << 28;
/// Working memory of a layer, in units of its input and output: padded and rearranged
/// copies of them.
const WORKING_COPIES: u64 = 2;

/// A model, ready to be asked.
pub struct Inference {
    spec: ModelSpec,
    network: Network,
}

impl Inference {
    /// Copies the weights.
    ///
    /// # Errors
    ///
    /// [`LearningError::ParameterCount`] or [`LearningError::FrozenCount`] if they are not as
    /// many as the model's, [`LearningError::Memory`] without room for them.
    pub fn new<'a>(
        spec: &ModelSpec,
        weights: impl Into<WeightsView<'a>>,
    ) -> Result<Self, LearningError> {
        let weights = weights.into();
        ensure_free((size_of_val(weights.trained) + size_of_val(weights.frozen)) as u64)?;
        let network = Network::new(spec, weights, &device::inference())?;
        Ok(Self { spec: spec.clone(), network })
    }

    /// The model.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Outputs for each example of `features` (row-major, the model's input shape):
    /// class probabilities for a classifier, the probability of yes for each output of binary
    /// cross-entropy, values for a regression, at each position of a sequence.
    ///
    /// Takes one or more examples; memory and time grow with their number, so a caller
    /// gives at most [`examples_a_piece`] at a time.
    ///
    /// # Errors
    ///
    /// [`LearningError`] if the features are of another kind than the model's, or are not a
    /// whole number of examples, or a token id is not in the vocabulary, or an embedded feature
    /// is no category's number; if memory is short.
    pub fn outputs(&self, features: impl Into<Features>) -> Result<Vec<f32>, LearningError> {
        let (features, input) = (features.into(), self.spec.input());
        let examples = u64::from(features.examples(input)?);
        if let Features::Tokens(_) = features {
            features.check_range(input)?;
        }
        features.check_categories(&self.spec)?;
        let bytes = examples.saturating_mul(working_bytes(&self.spec));
        ensure_free(bytes)?;
        let input = Activation::new(features, input, &device::inference());
        let mut outputs = read(self.network.forward(input, Mode::Inference));
        match self.spec.loss() {
            Loss::SoftmaxCrossEntropy => {
                for row in outputs.chunks_exact_mut(self.spec.output_width()) {
                    let log_sum = log_sum_exp(row);
                    row.iter_mut()
                        .for_each(|logit| *logit = (f64::from(*logit) - log_sum).exp() as f32);
                }
            }
            Loss::BinaryCrossEntropy => {
                outputs.iter_mut().for_each(|logit| *logit = sigmoid((*logit).into()) as f32);
            }
            Loss::MeanSquaredError | Loss::Huber => {}
        }
        Ok(outputs)
    }
}

/// Most examples of a piece, at least 1. A function of the model alone, so the same
/// examples are always divided in the same way.
pub fn examples_a_piece(spec: &ModelSpec) -> usize {
    let cost = spec.forward_cost();
    let by_memory = PIECE_BYTES / (4 * cost.activations);
    let by_time = PIECE_OPERATIONS / cost.operations.max(1);
    by_memory.min(by_time).max(1) as usize
}

/// Number of examples that `values` elements are: a whole number, at least 1.
///
/// # Errors
///
/// [`DatasetError::Empty`] for none, [`DatasetError::Features`] for part of an example.
pub fn examples_in(spec: &ModelSpec, values: usize) -> Result<usize, DatasetError> {
    Ok(examples(values, spec.input())? as usize)
}

/// Memory that one example needs in a forward pass, at most.
fn working_bytes(spec: &ModelSpec) -> u64 {
    4 * WORKING_COPIES * spec.forward_cost().activations
}
