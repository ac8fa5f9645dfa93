//! Layer normalisation.

use serde::{Deserialize, Serialize};

use super::rules::{norm_epsilon, positive_real, row_width, same_fields};
use super::{LayerRule, Output};
use crate::model::{Init, Shape};

/// Normalises features to mean 0 and variance 1, then scales and shifts; of a sequence at
/// each position.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerNorm {
    /// Added to the variance.
    #[serde(default = "norm_epsilon")]
    pub epsilon: f32,
}

impl LayerRule for LayerNorm {
    fn output(&self, input: Shape) -> Result<Output, String> {
        let features = row_width(input, "normalises")?;
        positive_real("epsilon", self.epsilon)?;
        Ok(Output::of(input).trains("gamma", &[features], Init::Ones).trains(
            "beta",
            &[features],
            Init::Zeros,
        ))
    }

    fn is_fixed(&self) -> bool {
        false
    }
}

same_fields!(LayerNorm = LayerNorm { epsilon });
