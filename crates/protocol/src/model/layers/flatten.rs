//! Images and sequences as features.

use serde::{Deserialize, Serialize};

use super::rules::same_fields;
use super::{LayerRule, Output};
use crate::model::Shape;

/// An image to its features, channels first; a sequence to the values of all positions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flatten;

impl LayerRule for Flatten {
    fn output(&self, input: Shape) -> Result<Output, String> {
        let len = u32::try_from(input.len()).map_err(|_| "too many features".to_string())?;
        Ok(Output::of(Shape::Features(len)))
    }
}

same_fields!(Flatten = Unit {});
