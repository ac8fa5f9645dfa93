//! Logistic function.

use serde::{Deserialize, Serialize};

use super::rules::same_fields;
use super::{LayerRule, Output};
use crate::model::Shape;

/// `1 / (1 + exp(-x))`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sigmoid;

impl LayerRule for Sigmoid {
    fn output(&self, input: Shape) -> Result<Output, String> {
        Ok(Output::of(input))
    }
}

same_fields!(Sigmoid = Unit {});
