//! Hyperbolic tangent.

use serde::{Deserialize, Serialize};

use super::rules::same_fields;
use super::{LayerRule, Output};
use crate::model::Shape;

/// Hyperbolic tangent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tanh;

impl LayerRule for Tanh {
    fn output(&self, input: Shape) -> Result<Output, String> {
        Ok(Output::of(input))
    }
}

same_fields!(Tanh = Unit {});
