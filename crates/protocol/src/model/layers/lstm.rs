//! Long short-term memory.

use serde::{Deserialize, Serialize};

use super::rules::{recurrent, recurrent_values, recurrent_window, same_fields};
use super::{LayerRule, Output};
use crate::model::Shape;

/// Long short-term memory (Hochreiter and Schmidhuber 1997), `[positions, width]` to `[positions, units]`.
///
/// With `[i f g o]` the sum of `x W + b` and of the hidden state `h` in the same way,
/// the next cell state is `c = sigmoid(f) c + sigmoid(i) tanh(g)`, and the next hidden state,
/// which comes out, `sigmoid(o) tanh(c)`. Both are zero before the first position. These are
/// the equations and the order of PyTorch's `LSTM`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lstm {
    /// Values of the hidden state.
    pub units: u32,
}

/// Gates of a unit.
const GATES: u32 = 4;

impl LayerRule for Lstm {
    fn output(&self, input: Shape) -> Result<Output, String> {
        recurrent(input, self.units, GATES)
    }

    fn window(&self, input: Shape) -> u64 {
        recurrent_window(input, self.units, GATES)
    }

    /// The projected inputs, the gates after their functions, and the cell states.
    fn held(&self, input: Shape) -> u64 {
        recurrent_values(input, self.units, 9)
    }

    fn is_fixed(&self) -> bool {
        false
    }
}

same_fields!(Lstm = Recurrent { units });

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::Lstm;
    use crate::layers::Embedding;
    use crate::{Init, Layer, Loss, ModelSpec, Shape, wire};

    #[test]
    fn the_wire_form_is_what_it_was() {
        let layer = || serde_json::from_str::<Layer>(r#"{"type":"lstm","units":256}"#).unwrap();
        assert_eq!(layer(), Lstm { units: 256 }.into());
        let bytes = wire::Layer::from(layer()).encode_to_vec();
        assert_eq!(hex::encode(&bytes), "fa0103088002");
        assert_eq!(Layer::try_from(wire::Layer::decode(bytes.as_slice()).unwrap()), Ok(layer()));
    }

    #[test]
    fn it_has_the_tensors_of_pytorch_with_the_inputs_first() {
        let layers = vec![Embedding { width: 3 }.into(), Lstm { units: 5 }.into()];
        let spec = ModelSpec::of_tokens(4, 7, layers, Loss::SoftmaxCrossEntropy).unwrap();
        assert_eq!(spec.output(), Shape::Sequence { positions: 4, width: 5 });
        let tensors = spec.layout()[1..].iter().map(|t| (t.name.as_str(), &t.shape[..]));
        let expected: [(&str, &[usize]); 4] = [
            ("layers.1.input_weight", &[3, 4 * 5]),
            ("layers.1.input_bias", &[4 * 5]),
            ("layers.1.hidden_weight", &[5, 4 * 5]),
            ("layers.1.hidden_bias", &[4 * 5]),
        ];
        assert_eq!(tensors.collect::<Vec<_>>(), expected);
        let uniform = Init::Uniform { fan_in: 5 };
        assert!(spec.layout()[1..].iter().all(|tensor| tensor.init == uniform));
        let cost = spec.forward_cost();
        assert_eq!(cost.operations, 4 * 3 + 4 * 4 * 5 * (3 + 5));
        assert_eq!(cost.activations, 4 * 3 + 4 * 5 + 9 * 4 * 5);
    }

    #[test]
    fn sizes_that_make_no_layer_are_refused() {
        for (positions, units, said) in [
            (4, 0, "units must be at least 1"),
            (1 << 17, 1, "at most 65536 positions, not 131072"),
            (1 << 16, 1 << 9, "give it fewer positions"),
            (4, u32::MAX, "too large"),
        ] {
            let layers = vec![Embedding { width: 3 }.into(), Lstm { units }.into()];
            let spec = ModelSpec::of_tokens(positions, 7, layers, Loss::MeanSquaredError);
            let refused = spec.unwrap_err().to_string();
            assert!(refused.contains("layer 1 (lstm)") && refused.contains(said), "{refused}");
        }
        let spec = ModelSpec::new(&[3], vec![Lstm { units: 2 }.into()], Loss::MeanSquaredError);
        let refused = spec.unwrap_err().to_string();
        assert!(refused.contains("it takes a sequence, but features"), "{refused}");
    }
}
