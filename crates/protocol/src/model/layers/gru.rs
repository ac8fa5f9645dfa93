//! Gated recurrent unit.

use serde::{Deserialize, Serialize};

use super::rules::{recurrent, recurrent_values, recurrent_window, same_fields};
use super::{LayerRule, Output};
use crate::model::Shape;

/// Gated recurrent unit (Cho et al. 2014), `[positions, width]` to `[positions, units]`.
///
/// With `[r z n]` of `x W + b`, and `[r' z' n']` of the hidden state `h` in the same way,
/// `r = sigmoid(r + r')`, `z = sigmoid(z + z')`, `n = tanh(n + r n')`, and the next state,
/// which comes out, is `(1 - z) n + z h`. It is zero before the first position. These are
/// the equations and the order of PyTorch's `GRU`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gru {
    /// Values of the hidden state.
    pub units: u32,
}

/// Gates of a unit.
const GATES: u32 = 3;

impl LayerRule for Gru {
    fn output(&self, input: Shape) -> Result<Output, String> {
        recurrent(input, self.units, GATES)
    }

    fn window(&self, input: Shape) -> u64 {
        recurrent_window(input, self.units, GATES)
    }

    /// The projected inputs, and the gates after their functions.
    fn held(&self, input: Shape) -> u64 {
        recurrent_values(input, self.units, 7)
    }

    fn is_fixed(&self) -> bool {
        false
    }
}

same_fields!(Gru = Recurrent { units });

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::Gru;
    use crate::layers::Embedding;
    use crate::{Init, Layer, Loss, ModelSpec, Shape, wire};

    #[test]
    fn the_wire_form_is_what_it_was() {
        let layer = || serde_json::from_str::<Layer>(r#"{"type":"gru","units":256}"#).unwrap();
        assert_eq!(layer(), Gru { units: 256 }.into());
        let bytes = wire::Layer::from(layer()).encode_to_vec();
        assert_eq!(hex::encode(&bytes), "aa0103088002");
        assert_eq!(Layer::try_from(wire::Layer::decode(bytes.as_slice()).unwrap()), Ok(layer()));
    }

    #[test]
    fn it_has_the_tensors_of_pytorch_with_the_inputs_first() {
        let layers = vec![Embedding { width: 3 }.into(), Gru { units: 5 }.into()];
        let spec = ModelSpec::of_tokens(4, 7, layers, Loss::SoftmaxCrossEntropy).unwrap();
        assert_eq!(spec.output(), Shape::Sequence { positions: 4, width: 5 });
        let tensors = spec.layout()[1..].iter().map(|t| (t.name.as_str(), &t.shape[..]));
        let expected: [(&str, &[usize]); 4] = [
            ("layers.1.input_weight", &[3, 3 * 5]),
            ("layers.1.input_bias", &[3 * 5]),
            ("layers.1.hidden_weight", &[5, 3 * 5]),
            ("layers.1.hidden_bias", &[3 * 5]),
        ];
        assert_eq!(tensors.collect::<Vec<_>>(), expected);
        let uniform = Init::Uniform { fan_in: 5 };
        assert!(spec.layout()[1..].iter().all(|tensor| tensor.init == uniform));
        let cost = spec.forward_cost();
        assert_eq!(cost.operations, 4 * 3 + 4 * 3 * 5 * (3 + 5));
        assert_eq!(cost.activations, 4 * 3 + 4 * 5 + 7 * 4 * 5);
    }

    #[test]
    fn sizes_that_make_no_layer_are_refused() {
        for (positions, units, said) in [
            (4, 0, "units must be at least 1"),
            (1 << 17, 1, "at most 65536 positions, not 131072"),
            (1 << 16, 1 << 9, "give it fewer positions"),
            (4, u32::MAX, "too large"),
        ] {
            let layers = vec![Embedding { width: 3 }.into(), Gru { units }.into()];
            let spec = ModelSpec::of_tokens(positions, 7, layers, Loss::MeanSquaredError);
            let refused = spec.unwrap_err().to_string();
            assert!(refused.contains("layer 1 (gru)") && refused.contains(said), "{refused}");
        }
        let spec = ModelSpec::new(&[3], vec![Gru { units: 2 }.into()], Loss::MeanSquaredError);
        let refused = spec.unwrap_err().to_string();
        assert!(refused.contains("it takes a sequence, but features"), "{refused}");
    }
}
