//! Quality of a model on held-out examples, and the metric that a person is shown first.

use serde::{Deserialize, Serialize};

use crate::limits::MAX_UPDATE_RANGE;
use crate::model::{Loss, ModelSpec, Shape};
use crate::update_range::UpdateRange;

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

impl Headline {
    /// Name for a person.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::BitsPerToken => "bits per token",
            Self::Rmse => "root mean squared error",
        }
    }

    /// Its value, if the examples determine it.
    pub fn of(self, quality: &Quality) -> Option<f64> {
        match self {
            Self::Accuracy => quality.accuracy,
            Self::BitsPerToken => quality.bits_per_token,
            Self::Rmse => quality.rmse,
        }
    }

    /// True if the value is better than the other.
    pub fn is_better(self, value: f64, other: f64) -> bool {
        match self {
            Self::Accuracy => value > other,
            Self::BitsPerToken | Self::Rmse => value < other,
        }
    }
}

/// Evaluation of global models by the clients: each on examples that it holds out from
/// training, in rounds whose updates are [`Scores`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClientEvaluation {
    held_out: f64,
    loss_bound: f64,
}

/// Evaluation by the clients with a number out of range.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ClientEvaluationError {
    /// No share, or more than half.
    #[error("held_out must be above 0 and at most 0.5; it is {0}")]
    HeldOut(f64),
    /// No bound.
    #[error("loss_bound must be above 0 and finite; it is {0}")]
    LossBound(f64),
}

impl ClientEvaluation {
    /// Checks the ranges: `held_out` is above 0 and at most 0.5, `loss_bound` above 0.
    ///
    /// # Errors
    ///
    /// [`ClientEvaluationError`] names the number that is out of range.
    pub fn new(held_out: f64, loss_bound: f64) -> Result<Self, ClientEvaluationError> {
        if !(held_out > 0.0 && held_out <= 0.5) {
            return Err(ClientEvaluationError::HeldOut(held_out));
        }
        if !(loss_bound > 0.0 && loss_bound.is_finite()) {
            return Err(ClientEvaluationError::LossBound(loss_bound));
        }
        Ok(Self { held_out, loss_bound })
    }

    /// Share of its examples that a client holds out from training.
    pub fn held_out(&self) -> f64 {
        self.held_out
    }

    /// A larger mean loss of a client counts as this under a privacy policy.
    pub fn loss_bound(&self) -> f64 {
        self.loss_bound
    }

    /// Loss bound of a task that states none: twice the loss of a guess by chance; `None`
    /// for a regression, whose losses have no natural scale.
    pub fn default_loss_bound(model: &ModelSpec) -> Option<f64> {
        match model.loss() {
            Loss::SoftmaxCrossEntropy => Some(2.0 * (model.output_width() as f64).ln()),
            Loss::BinaryCrossEntropy => Some(2.0 * std::f64::consts::LN_2),
            Loss::MeanSquaredError | Loss::Huber => None,
        }
    }
}

/// Result of a model on the held-out examples of one client, or its mean over clients: the
/// values of an update in a round of evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Mean loss over examples or positions.
    pub loss: f64,
    /// Share of them classified right, 0 to 1; `None` for a regression.
    pub accuracy: Option<f64>,
}

/// Largest magnitude of a loss in the clear: the largest that an update may have.
const MOST_LOSS: f64 = MAX_UPDATE_RANGE as f64;

impl Scores {
    /// Values in an update of scores of this model: 1 or 2.
    pub fn len(model: &ModelSpec) -> usize {
        if model.loss().is_regression() { 1 } else { 2 }
    }

    /// Range of scores in the clear.
    pub fn range() -> UpdateRange {
        UpdateRange::largest()
    }

    /// L2 norm that no [protected](Self::protected) scores pass.
    pub fn norm(model: &ModelSpec) -> f64 {
        (Self::len(model) as f64).sqrt() / 2.0
    }

    /// Values for an update in the clear. A loss beyond the range, or none, counts as the
    /// largest.
    pub fn plain(&self) -> Vec<f32> {
        let loss = if self.loss.is_nan() { MOST_LOSS } else { self.loss.min(MOST_LOSS) };
        [Some(loss), self.accuracy].into_iter().flatten().map(|value| value as f32).collect()
    }

    /// Scores of the mean of updates in the clear.
    pub fn of_plain(mean: &[f64]) -> Self {
        Self {
            loss: mean.first().copied().unwrap_or_default(),
            accuracy: mean.get(1).map(|accuracy| accuracy.clamp(0.0, 1.0)),
        }
    }

    /// Values for an update under a privacy policy, -1/2 to 1/2 each, so that their norm
    /// is at most [`Scores::norm`]: the loss over its bound, and the accuracy.
    pub fn protected(&self, loss_bound: f64) -> Vec<f32> {
        let Self { loss, accuracy } = *self;
        let loss = if loss.is_nan() { 1.0 } else { (loss / loss_bound).clamp(0.0, 1.0) };
        let values = [Some(loss), accuracy].into_iter().flatten();
        values.map(|value| (value - 0.5) as f32).collect()
    }

    /// Values for an update under a privacy policy of a client that has no scores.
    pub fn unknown(model: &ModelSpec) -> Vec<f32> {
        vec![0.0; Self::len(model)]
    }

    /// Scores of the noised mean of protected updates, within their ranges.
    pub fn of_protected(mean: &[f64], loss_bound: f64) -> Self {
        let share = |value: f64| (value + 0.5).clamp(0.0, 1.0);
        Self {
            loss: share(mean.first().copied().unwrap_or_default()) * loss_bound,
            accuracy: mean.get(1).copied().map(share),
        }
    }

    /// Metrics that follow from the scores.
    pub fn quality(&self, model: &ModelSpec) -> Quality {
        let Self { loss, accuracy } = *self;
        let headline = model.headline();
        let positions = (headline == Headline::BitsPerToken).then_some(loss);
        let squares = (model.loss() == Loss::MeanSquaredError).then_some(loss);
        Quality {
            accuracy,
            perplexity: positions.map(f64::exp).filter(|perplexity| perplexity.is_finite()),
            bits_per_token: positions.map(|loss| loss / std::f64::consts::LN_2),
            rmse: squares.map(f64::sqrt),
            ..Quality::of_loss(loss)
        }
    }
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

    #[test]
    fn protected_scores_keep_to_their_norm_and_come_back() {
        let model = ModelSpec::softmax_regression();
        let bound = ClientEvaluation::default_loss_bound(&model).unwrap();
        for (loss, accuracy) in [(0.0, 0.0), (0.7, 0.9), (1e9, 1.0), (f64::NAN, 0.1)] {
            let scores = Scores { loss, accuracy: Some(accuracy) };
            let values = scores.protected(bound);
            let norm = values.iter().map(|value| f64::from(value * value)).sum::<f64>().sqrt();
            assert!(norm <= Scores::norm(&model) + 1e-6, "{norm}");
            let mean: Vec<f64> = values.iter().copied().map(f64::from).collect();
            let back = Scores::of_protected(&mean, bound);
            let expected = if loss.is_nan() { bound } else { loss.min(bound) };
            assert!((back.loss - expected).abs() < 1e-6, "{back:?}");
            assert!((back.accuracy.unwrap() - accuracy).abs() < 1e-6);
        }
        assert_eq!(Scores::unknown(&model), [0.0, 0.0]);
    }

    #[test]
    fn scores_in_the_clear_have_a_largest_loss() {
        let scores = |loss| Scores { loss, accuracy: None }.plain();
        let most = Scores::range().magnitude();
        assert_eq!(scores(f64::NAN), [most]);
        assert_eq!(scores(f64::INFINITY), [most]);
        assert_eq!(scores(0.25), [0.25]);
        assert_eq!(Scores::of_plain(&[0.25]), Scores { loss: 0.25, accuracy: None });
    }

    #[test]
    fn what_cannot_be_held_out_is_an_error() {
        for held_out in [0.0, -0.1, 0.51, f64::NAN] {
            let error = ClientEvaluation::new(held_out, 1.0).unwrap_err();
            assert!(error.to_string().contains("held_out"), "{error}");
        }
        for loss_bound in [0.0, f64::INFINITY, f64::NAN] {
            let error = ClientEvaluation::new(0.1, loss_bound).unwrap_err();
            assert!(error.to_string().contains("loss_bound"), "{error}");
        }
    }
}
