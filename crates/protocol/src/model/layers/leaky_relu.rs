//! Rectified linear unit with a slope below 0.

use serde::{Deserialize, Serialize};

use super::rules::same_fields;
use super::{LayerRule, Output};
use crate::model::Shape;

/// `x` above 0, `slope x` below (Maas, Hannun and Ng 2013).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeakyRelu {
    /// Slope below 0, in [0, 1].
    #[serde(default = "hundredth")]
    pub slope: f32,
}

fn hundredth() -> f32 {
    0.01
}

impl LayerRule for LeakyRelu {
    fn output(&self, input: Shape) -> Result<Output, String> {
        let slope = self.slope;
        if !(0.0..=1.0).contains(&slope) {
            return Err(format!("slope must be 0 to 1; it is {slope}"));
        }
        Ok(Output::of(input))
    }
}

same_fields!(LeakyRelu = LeakyRelu { slope });

#[cfg(test)]
mod tests {
    use super::LeakyRelu;
    use crate::model::layers::rules::same_bytes;
    use crate::{Layer, Loss, ModelSpec, layers::Linear};

    #[test]
    fn the_wire_form_is_what_it_was() {
        same_bytes(r#"{"type":"leaky_relu"}"#, LeakyRelu { slope: 0.01 }, "b201050d0ad7233c");
    }

    #[test]
    fn the_slope_is_a_share_of_the_values() {
        let spec = |slope| {
            let layers: Vec<Layer> = vec![LeakyRelu { slope }.into(), Linear { outputs: 2 }.into()];
            ModelSpec::new(&[3], layers, Loss::MeanSquaredError)
        };
        assert_eq!(spec(0.2).unwrap().fixed_layers(), 1);
        for slope in [-0.1, 1.5, f32::NAN] {
            assert!(spec(slope).unwrap_err().to_string().contains("slope must be 0 to 1"));
        }
    }
}
