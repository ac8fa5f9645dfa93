//! Rectified linear unit.

use serde::{Deserialize, Serialize};

use super::rules::same_fields;
use super::{LayerRule, Output};
use crate::model::Shape;

/// `max(x, 0)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relu;

impl LayerRule for Relu {
    fn output(&self, input: Shape) -> Result<Output, String> {
        Ok(Output::of(input))
    }
}

same_fields!(Relu = Unit {});
