//! Embedding of positions.

use serde::{Deserialize, Serialize};

use super::rules::{same_fields, sequence};
use super::{LayerRule, Output};
use crate::model::{Init, Shape};

/// `x + W` with `W: [positions, width]`: a trained vector for each position of a sequence.
///
/// It starts as PyTorch's embeddings do, normal with variance 1, because `embedding` does,
/// and neither should drown out the other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PositionEmbedding;

impl LayerRule for PositionEmbedding {
    fn output(&self, input: Shape) -> Result<Output, String> {
        let dims = sequence(input)?;
        Ok(Output::of(input).trains("weight", &dims, Init::Normal))
    }

    fn is_fixed(&self) -> bool {
        false
    }
}

same_fields!(PositionEmbedding = Unit {});

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::PositionEmbedding;
    use crate::layers::{Embedding, Linear};
    use crate::{Init, Layer, Loss, ModelSpec, wire};

    #[test]
    fn the_wire_form_is_what_it_was() {
        let layer = || serde_json::from_str::<Layer>(r#"{"type":"position_embedding"}"#).unwrap();
        assert_eq!(layer(), PositionEmbedding.into());
        let bytes = wire::Layer::from(layer()).encode_to_vec();
        assert_eq!(hex::encode(&bytes), "8a0100");
        assert_eq!(Layer::try_from(wire::Layer::decode(bytes.as_slice()).unwrap()), Ok(layer()));
    }

    #[test]
    fn it_trains_a_vector_for_each_position_of_a_sequence() {
        let layers = vec![Embedding { width: 3 }.into(), PositionEmbedding.into()];
        let spec = ModelSpec::of_tokens(4, 7, layers, Loss::SoftmaxCrossEntropy).unwrap();
        let tensor = &spec.layout()[1];
        assert_eq!((&*tensor.name, &tensor.shape[..]), ("layers.1.weight", &[4, 3][..]));
        assert_eq!((tensor.init, spec.output()), (Init::Normal, spec.inputs()[1]));
        let layers = vec![Linear { outputs: 2 }.into(), PositionEmbedding.into()];
        let refused = ModelSpec::new(&[4], layers, Loss::SoftmaxCrossEntropy).unwrap_err();
        assert!(refused.to_string().contains("put it behind an embedding layer"), "{refused}");
    }
}
