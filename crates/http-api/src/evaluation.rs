//! Quality of models on the server's held-out examples.

use serde::{Deserialize, Serialize};

/// Metrics of a model on held-out examples. One that the task does not have, or that the
/// examples do not determine, is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Metrics {
    /// Share that is classified right, 0 to 1; null for regression, and until the model is
    /// evaluated.
    pub accuracy: Option<f64>,
    /// Mean loss; null until the model is evaluated.
    pub loss: Option<f64>,
    /// Share whose class is among the five most likely ones, 0 to 1; with more than 10
    /// classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub top_5_accuracy: Option<f64>,
    /// Mean over the classes of their F1 scores, 0 to 1. A class that is never right counts
    /// 0; one that neither occurs nor is predicted does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub macro_f1: Option<f64>,
    /// Area under the receiver operating characteristic, 0 to 1; with two classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub auc: Option<f64>,
    /// `exp` of the mean loss of a position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub perplexity: Option<f64>,
    /// Mean loss of a position in bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub bits_per_token: Option<f64>,
    /// Mean absolute error of a regression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub mae: Option<f64>,
    /// Root of the mean squared error of a regression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub rmse: Option<f64>,
    /// Coefficient of determination of a regression, at most 1; left out if the targets do
    /// not vary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub r2: Option<f64>,
}

impl Metrics {
    /// The value of the metric that is shown first, if it is there.
    #[must_use]
    pub fn headline(&self, headline: Headline) -> Option<f64> {
        match headline {
            Headline::Accuracy => self.accuracy,
            Headline::BitsPerToken => self.bits_per_token,
            Headline::Rmse => self.rmse,
        }
    }

    /// The metrics that are there, by name; the loss is the last.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let named = [
            ("accuracy", self.accuracy),
            ("top-5 accuracy", self.top_5_accuracy),
            ("macro F1", self.macro_f1),
            ("AUC", self.auc),
            ("bits a token", self.bits_per_token),
            ("perplexity", self.perplexity),
            ("RMSE", self.rmse),
            ("MAE", self.mae),
            ("R²", self.r2),
            ("loss", self.loss),
        ];
        named.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

/// Quality of a model on the server's held-out examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Quality {
    /// Round of the model.
    pub round: u64,
    /// Its metrics.
    #[serde(flatten)]
    pub metrics: Metrics,
}

/// Metric of a task that is shown first, by its name in [`Metrics`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub enum Headline {
    /// A classifier of whole examples.
    Accuracy,
    /// A classifier of each position, such as of the next token. Where tokens are
    /// characters, these are bits a character.
    BitsPerToken,
    /// A regression.
    Rmse,
}

impl Headline {
    /// Its name for a person, as in [`Metrics::named`].
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::BitsPerToken => "bits a token",
            Self::Rmse => "RMSE",
        }
    }
}

/// Classes of the newest evaluated model, of classifiers with up to 100 classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Classes {
    /// Metrics of each class, by its number.
    pub metrics: Vec<ClassMetrics>,
    /// Examples by class and, within it, by predicted class.
    pub confusion: Vec<Vec<u64>>,
}

/// Metrics of one class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct ClassMetrics {
    /// Held-out examples of the class.
    pub examples: u64,
    /// Share of them that is classified right, 0 to 1; null without examples.
    pub recall: Option<f64>,
    /// Share of what is taken for the class that is of it, 0 to 1; null if nothing is.
    pub precision: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_headline_is_one_of_the_named_metrics() {
        let metrics = Metrics {
            accuracy: Some(0.5),
            bits_per_token: Some(2.0),
            rmse: Some(3.0),
            ..Metrics::default()
        };
        for headline in [Headline::Accuracy, Headline::BitsPerToken, Headline::Rmse] {
            let named = metrics.named().find(|(name, _)| *name == headline.title());
            assert_eq!(named.map(|(_, value)| value), metrics.headline(headline));
        }
        assert_eq!(Metrics::default().named().count(), 0);
    }
}
