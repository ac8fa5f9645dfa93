//! Dropout.

use serde::{Deserialize, Serialize};

use super::rules::same_fields;
use super::{LayerRule, Output};
use crate::model::Shape;

/// In training, zeroes each value with this probability and scales the rest up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropout {
    /// Probability of zeroing, in [0, 1).
    pub probability: f32,
}

impl LayerRule for Dropout {
    fn output(&self, input: Shape) -> Result<Output, String> {
        let probability = self.probability;
        if !(0.0..1.0).contains(&probability) {
            return Err(format!("probability must be at least 0 and below 1; it is {probability}"));
        }
        Ok(Output::of(input))
    }

    /// It trains nothing, but it is random.
    fn is_fixed(&self) -> bool {
        false
    }
}

same_fields!(Dropout = Dropout { probability });
