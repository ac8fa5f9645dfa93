//! Exponential linear unit.

use serde::{Deserialize, Serialize};

use super::rules::{positive_real, same_fields};
use super::{LayerRule, Output};
use crate::model::Shape;

/// `x` above 0, `alpha (exp(x) - 1)` below (Clevert, Unterthiner and Hochreiter 2016).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elu {
    /// Magnitude of what comes out for large negative values; above 0.
    #[serde(default = "one")]
    pub alpha: f32,
}

fn one() -> f32 {
    1.0
}

impl LayerRule for Elu {
    fn output(&self, input: Shape) -> Result<Output, String> {
        positive_real("alpha", self.alpha)?;
        Ok(Output::of(input))
    }
}

same_fields!(Elu = Elu { alpha });

#[cfg(test)]
mod tests {
    use super::Elu;
    use crate::layers::Linear;
    use crate::model::layers::rules::same_bytes;
    use crate::{Loss, ModelSpec};

    #[test]
    fn the_wire_form_is_what_it_was() {
        same_bytes(r#"{"type":"elu"}"#, Elu { alpha: 1.0 }, "7a050d0000803f");
    }

    #[test]
    fn alpha_is_positive_and_the_shape_stays() {
        let spec = |alpha| {
            let layers = vec![Elu { alpha }.into(), Linear { outputs: 2 }.into()];
            ModelSpec::new(&[3], layers, Loss::MeanSquaredError)
        };
        assert_eq!(spec(0.5).unwrap().parameters(), 3 * 2 + 2);
        assert_eq!(spec(0.5).unwrap().fixed_layers(), 1);
        for alpha in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(spec(alpha).unwrap_err().to_string().contains("alpha must be above 0"));
        }
    }
}
