//! Sigmoid linear unit.

use serde::{Deserialize, Serialize};

use super::rules::same_fields;
use super::{LayerRule, Output};
use crate::model::Shape;

/// `x / (1 + exp(-x))` (Elfwing, Uchibe and Doya 2018).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Silu;

impl LayerRule for Silu {
    fn output(&self, input: Shape) -> Result<Output, String> {
        Ok(Output::of(input))
    }
}

same_fields!(Silu = Unit {});

#[cfg(test)]
mod tests {
    use super::Silu;
    use crate::model::layers::rules::same_bytes;

    #[test]
    fn the_wire_form_is_what_it_was() {
        same_bytes(r#"{"type":"silu"}"#, Silu, "ba0100");
    }
}
