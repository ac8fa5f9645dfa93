//! Normalisation without parameters.

use serde::{Deserialize, Serialize};

use super::rules::{norm_epsilon, positive_real, same_fields};
use super::{LayerRule, Output};
use crate::model::Shape;

/// Makes values mean 0 and variance 1 without parameters: of an image across
/// the channels at each pixel, of features across all of them, of a sequence at each
/// position.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standardize {
    /// Added to the variance; where values barely differ, they stay small.
    #[serde(default = "norm_epsilon")]
    pub epsilon: f32,
}

impl LayerRule for Standardize {
    fn output(&self, input: Shape) -> Result<Output, String> {
        positive_real("epsilon", self.epsilon)?;
        Ok(Output::of(input))
    }
}

same_fields!(Standardize = Standardize { epsilon });
