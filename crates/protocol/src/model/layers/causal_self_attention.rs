//! Causal self-attention.

use serde::{Deserialize, Serialize};

use super::rules::{attention_values, attention_window, heads, same_fields, sequence};
use super::{LayerRule, Output};
use crate::model::{Init, Shape};

/// Multi-head self-attention (Vaswani et al. 2017) of each position to itself and those
/// before it.
///
/// `[q k v] = x W + b` with `W: [width, 3 width]`. Each head has the next `d = width / heads`
/// columns of q, of k and of v, and makes `softmax(q k^T / sqrt(d)) v` of them. The heads
/// side by side, times `[width, width]` with a bias, come out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CausalSelfAttention {
    /// Heads; they divide the width of the sequence.
    pub heads: u32,
}

impl LayerRule for CausalSelfAttention {
    fn output(&self, input: Shape) -> Result<Output, String> {
        let [_, width] = sequence(input)?;
        heads(self.heads, width)?;
        let init = Init::Uniform { fan_in: width as usize };
        Ok(Output::of(input)
            .trains("qkv_weight", &[width, 3 * width], init)
            .trains("qkv_bias", &[3 * width], init)
            .trains("projection_weight", &[width, width], init)
            .trains("projection_bias", &[width], init))
    }

    fn window(&self, input: Shape) -> u64 {
        attention_window(input)
    }

    fn held(&self, input: Shape) -> u64 {
        attention_values(input, self.heads)
    }

    fn is_fixed(&self) -> bool {
        false
    }
}

same_fields!(CausalSelfAttention = CausalSelfAttention { heads });

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::CausalSelfAttention;
    use crate::layers::{Embedding, Linear};
    use crate::{Layer, Loss, ModelSpec, ModelSpecError, wire};

    #[test]
    fn the_wire_form_is_what_it_was() {
        let json = r#"{"type":"causal_self_attention","heads":4}"#;
        let layer = || serde_json::from_str::<Layer>(json).unwrap();
        assert_eq!(layer(), CausalSelfAttention { heads: 4 }.into());
        let bytes = wire::Layer::from(layer()).encode_to_vec();
        assert_eq!(hex::encode(&bytes), "9a01020804");
        assert_eq!(Layer::try_from(wire::Layer::decode(bytes.as_slice()).unwrap()), Ok(layer()));
    }

    fn with(positions: u32, width: u32, heads: u32) -> Result<ModelSpec, ModelSpecError> {
        let layers = vec![Embedding { width }.into(), CausalSelfAttention { heads }.into()];
        ModelSpec::of_tokens(positions, 3, layers, Loss::SoftmaxCrossEntropy)
    }

    #[test]
    fn it_trains_the_projections_and_its_cost_is_quadratic_in_the_positions() {
        let spec = with(5, 6, 2).unwrap();
        let tensors = spec.layout()[1..].iter().map(|t| (t.name.as_str(), &t.shape[..]));
        let expected: [(&str, &[usize]); 4] = [
            ("layers.1.qkv_weight", &[6, 18]),
            ("layers.1.qkv_bias", &[18]),
            ("layers.1.projection_weight", &[6, 6]),
            ("layers.1.projection_bias", &[6]),
        ];
        assert_eq!(tensors.collect::<Vec<_>>(), expected);
        assert_eq!(spec.output(), spec.inputs()[1]);
        // Input, output, [q k v], and the scores of 2 heads.
        let cost = spec.forward_cost();
        assert_eq!(cost.activations, 5 * 6 + 5 * 6 + 5 * 18 + 2 * 5 * 5);
        // The embedding's values; then both projections, and for each of 6 columns the scores
        // and the sums of 5 x 5 pairs.
        assert_eq!(cost.operations, 5 * 6 + 5 * 6 * 18 + 5 * 6 * 6 + 2 * 6 * 5 * 5);
    }

    #[test]
    fn heads_divide_the_width_and_scores_are_bounded() {
        for (heads, said) in [(0, "heads must be at least 1"), (4, "must divide the width, 6")] {
            let refused = with(5, 6, heads).unwrap_err().to_string();
            assert!(refused.contains("layer 1 (causal_self_attention)"), "{refused}");
            assert!(refused.contains(said), "{refused}");
        }
        // 2^15 positions have 2^30 scores in each head.
        let refused = with(1 << 15, 2, 1).unwrap_err().to_string();
        assert!(refused.contains("give it fewer positions"), "{refused}");
        let layers = vec![Linear { outputs: 4 }.into(), CausalSelfAttention { heads: 2 }.into()];
        let refused = ModelSpec::new(&[4], layers, Loss::MeanSquaredError).unwrap_err();
        assert!(refused.to_string().contains("it takes a sequence, but features"), "{refused}");
    }
}
