//! Block of a transformer.

use serde::{Deserialize, Serialize};

use super::rules::{attention_values, attention_window, heads, positive, same_fields, sequence};
use super::{LayerRule, Output};
use crate::model::{Init, Shape};

/// Causal block with the normalisation first, as in GPT-2 (Radford et al. 2019):
/// `y = x + attention(norm(x))`, then `y + linear(gelu(linear(norm(y))))`.
///
/// The norms are those of `layer_norm` with the epsilon 1e-5, the attention is
/// `causal_self_attention`, and `gelu` has the exact form.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransformerBlock {
    /// Heads of the attention; they divide the width of the sequence.
    pub heads: u32,
    /// Values between the two linear layers; four times the width without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<u32>,
}

impl TransformerBlock {
    /// Number that the norms add to the variance.
    pub const EPSILON: f32 = 1e-5;

    fn hidden(&self, width: u32) -> u32 {
        self.hidden.unwrap_or(width.saturating_mul(4))
    }
}

impl LayerRule for TransformerBlock {
    fn output(&self, input: Shape) -> Result<Output, String> {
        let [_, width] = sequence(input)?;
        let hidden = self.hidden(width);
        heads(self.heads, width)?;
        positive("hidden", hidden)?;
        let of = |fan_in| Init::Uniform { fan_in: fan_in as usize };
        Ok(Output::of(input)
            .trains("attention_norm.gamma", &[width], Init::Ones)
            .trains("attention_norm.beta", &[width], Init::Zeros)
            .trains("attention.qkv_weight", &[width, 3 * width], of(width))
            .trains("attention.qkv_bias", &[3 * width], of(width))
            .trains("attention.projection_weight", &[width, width], of(width))
            .trains("attention.projection_bias", &[width], of(width))
            .trains("norm.gamma", &[width], Init::Ones)
            .trains("norm.beta", &[width], Init::Zeros)
            .trains("hidden.weight", &[width, hidden], of(width))
            .trains("hidden.bias", &[hidden], of(width))
            .trains("output.weight", &[hidden, width], of(hidden))
            .trains("output.bias", &[width], of(hidden)))
    }

    fn window(&self, input: Shape) -> u64 {
        let hidden = sequence(input).map_or(0, |[_, width]| u64::from(self.hidden(width)));
        attention_window(input) + 2 * hidden
    }

    fn held(&self, input: Shape) -> u64 {
        let hidden = sequence(input).map_or(0, |[positions, width]| {
            u64::from(positions).saturating_mul(self.hidden(width).into())
        });
        attention_values(input, self.heads).max(hidden)
    }

    fn is_fixed(&self) -> bool {
        false
    }
}

same_fields!(TransformerBlock = TransformerBlock { heads, hidden });

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::TransformerBlock;
    use crate::layers::Embedding;
    use crate::{Layer, Loss, ModelSpec, ModelSpecError, wire};

    #[test]
    fn the_wire_form_is_what_it_was() {
        for (json, hidden, golden) in [
            (r#"{"type":"transformer_block","heads":4}"#, None, "a201020804"),
            (r#"{"type":"transformer_block","heads":4,"hidden":9}"#, Some(9), "a2010408041009"),
        ] {
            let layer = || serde_json::from_str::<Layer>(json).unwrap();
            assert_eq!(layer(), TransformerBlock { heads: 4, hidden }.into());
            let bytes = wire::Layer::from(layer()).encode_to_vec();
            assert_eq!(hex::encode(&bytes), golden);
            assert_eq!(serde_json::to_string(&layer()).unwrap(), json);
            assert_eq!(
                Layer::try_from(wire::Layer::decode(bytes.as_slice()).unwrap()),
                Ok(layer())
            );
        }
    }

    fn with(heads: u32, hidden: Option<u32>) -> Result<ModelSpec, ModelSpecError> {
        let layers = vec![Embedding { width: 6 }.into(), TransformerBlock { heads, hidden }.into()];
        ModelSpec::of_tokens(5, 3, layers, Loss::SoftmaxCrossEntropy)
    }

    #[test]
    fn it_has_the_parameters_of_a_block_and_the_work_of_its_matrices() {
        let spec = with(2, None).unwrap();
        assert_eq!(spec.output(), spec.inputs()[1]);
        // 12 width^2 of the matrices, 13 width of biases and norms.
        assert_eq!(spec.parameters(), 3 * 6 + 12 * 6 * 6 + 13 * 6);
        let cost = spec.forward_cost();
        assert_eq!(cost.operations, 5 * 6 + 5 * 12 * 6 * 6 + 2 * 6 * 5 * 5);
        assert_eq!(cost.activations, 2 * 5 * 6 + (5 * 18 + 2 * 5 * 5));
        let wide = with(2, Some(100)).unwrap();
        assert_eq!(wide.forward_cost().activations, 2 * 5 * 6 + 5 * 100);
        let layout = wide.layout();
        assert_eq!(
            (&*layout[11].name, &layout[11].shape[..]),
            ("layers.1.output.weight", &[100, 6][..])
        );
    }

    #[test]
    fn numbers_that_make_no_block_are_refused() {
        for (heads, hidden, said) in [
            (4, None, "must divide the width, 6"),
            (2, Some(0), "hidden must be at least 1"),
            (2, Some(u32::MAX), "give it fewer positions"),
        ] {
            let refused = with(heads, hidden).unwrap_err().to_string();
            assert!(refused.contains(said), "{refused}");
        }
    }
}
