//! Gaussian error linear unit.

use serde::{Deserialize, Serialize};

use super::rules::same_fields;
use super::{LayerRule, Output};
use crate::model::Shape;

/// Gaussian error linear unit, exact form.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gelu;

impl LayerRule for Gelu {
    fn output(&self, input: Shape) -> Result<Output, String> {
        Ok(Output::of(input))
    }
}

same_fields!(Gelu = Unit {});
