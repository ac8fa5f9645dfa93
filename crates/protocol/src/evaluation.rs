//! Quality of a model on held-out examples, and the metric that a person is shown first.

use serde::{Deserialize, Serialize};

use crate::model::{Loss, ModelSpec, Shape};

/// Quality of a global model on the server's held-out examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The model's round.
    pub round: u64,
    /// Its metrics.
    pub quality: Quality,
}

/// Metrics of a model on held-out examples. Each is finite; one that the task does not
/// have, or that the examples do not determine, is absent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Mean loss.
    pub loss: f64,
    /// Share classified right, 0 to 1, over examples or positions.
    pub accuracy: Option<f64>,
    /// Share whose class is among the five that the model finds most likely, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_5_accuracy: Option<f64>,
    /// Mean over the classes of their F1 scores, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macro_f1: Option<f64>,
    /// Area under the receiver operating characteristic, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auc: Option<f64>,
    /// `exp` of the mean loss of a position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<f64>,
    /// Mean loss of a position in bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits_per_token: Option<f64>,
    /// Mean absolute error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mae: Option<f64>,
    /// Root of the mean squared error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rmse: Option<f64>,
    /// Coefficient of determination, at most 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r2: Option<f64>,
}

impl Quality {
    /// The loss alone.
    pub fn of_loss(loss: f64) -> Self {
        Self {
            loss,
            accuracy: None,
            top_5_accuracy: None,
            macro_f1: None,
            auc: None,
            perplexity: None,
            bits_per_token: None,
            mae: None,
            rmse: None,
            r2: None,
        }
    }
}

/// Metric that a person is shown first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Headline {
    /// Share classified right; more is better.
    Accuracy,
    /// Mean loss of a position in bits; less is better.
    BitsPerToken,
    /// Root of the mean squared error; less is better.
    Rmse,
}

impl ModelSpec {
    /// The metric that a person is shown first, by the loss and the output.
    pub fn headline(&self) -> Headline {
        match (self.loss(), self.output()) {
            (Loss::SoftmaxCrossEntropy, Shape::Sequence { .. }) => Headline::BitsPerToken,
            (Loss::SoftmaxCrossEntropy, _) => Headline::Accuracy,
            (Loss::BinaryCrossEntropy, _) => Headline::Accuracy,
            (Loss::MeanSquaredError | Loss::Huber, _) => Headline::Rmse,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails may panic")]
mod tests {
    use super::*;
    use crate::layers::{Embedding, Linear};
    use crate::model::Layer;

    #[test]
    fn the_headline_is_by_loss_and_output() {
        let linear = || vec![Layer::Linear(Linear { outputs: 3 })];
        let headline = |loss| ModelSpec::new(&[2], linear(), loss).unwrap().headline();
        assert_eq!(headline(Loss::SoftmaxCrossEntropy), Headline::Accuracy);
        assert_eq!(headline(Loss::MeanSquaredError), Headline::Rmse);
        let embedding = Layer::Embedding(Embedding { width: 2 });
        let layers = vec![embedding, Layer::Linear(Linear { outputs: 5 })];
        let next_token = ModelSpec::of_tokens(4, 5, layers, Loss::SoftmaxCrossEntropy).unwrap();
        assert_eq!(next_token.headline(), Headline::BitsPerToken);
    }
}
