//! Smooth rectified linear unit.

use serde::{Deserialize, Serialize};

use super::rules::same_fields;
use super::{LayerRule, Output};
use crate::model::Shape;

/// `ln(1 + exp(x))`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Softplus;

impl LayerRule for Softplus {
    fn output(&self, input: Shape) -> Result<Output, String> {
        Ok(Output::of(input))
    }
}

same_fields!(Softplus = Unit {});

#[cfg(test)]
mod tests {
    use super::Softplus;
    use crate::model::layers::rules::same_bytes;

    #[test]
    fn the_wire_form_is_what_it_was() {
        same_bytes(r#"{"type":"softplus"}"#, Softplus, "c20100");
    }
}
