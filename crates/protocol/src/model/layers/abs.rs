//! Magnitude.

use serde::{Deserialize, Serialize};

use super::rules::same_fields;
use super::{LayerRule, Output};
use crate::model::Shape;

/// `|x|`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Abs;

impl LayerRule for Abs {
    fn output(&self, input: Shape) -> Result<Output, String> {
        Ok(Output::of(input))
    }
}

same_fields!(Abs = Unit {});
