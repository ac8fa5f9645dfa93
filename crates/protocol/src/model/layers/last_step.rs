//! Last position of a sequence.

use serde::{Deserialize, Serialize};

use super::rules::{same_fields, sequence};
use super::{LayerRule, Output};
use crate::model::Shape;

/// The features at the last position of a sequence: `[positions, width]` to `[width]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastStep;

impl LayerRule for LastStep {
    fn output(&self, input: Shape) -> Result<Output, String> {
        let [_, width] = sequence(input)?;
        Ok(Output::of(Shape::Features(width)))
    }
}

same_fields!(LastStep = Unit {});

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::LastStep;
    use crate::layers::{Embedding, Linear};
    use crate::{Layer, Loss, ModelSpec, Shape, wire};

    #[test]
    fn the_wire_form_is_what_it_was() {
        let layer = || serde_json::from_str::<Layer>(r#"{"type":"last_step"}"#).unwrap();
        assert_eq!(layer(), LastStep.into());
        let bytes = wire::Layer::from(layer()).encode_to_vec();
        assert_eq!(hex::encode(&bytes), "920100");
        assert_eq!(Layer::try_from(wire::Layer::decode(bytes.as_slice()).unwrap()), Ok(layer()));
    }

    #[test]
    fn a_sequence_becomes_features() {
        let linear = || Layer::from(Linear { outputs: 2 });
        let layers = vec![Embedding { width: 3 }.into(), LastStep.into(), linear()];
        let spec = ModelSpec::of_tokens(4, 7, layers, Loss::SoftmaxCrossEntropy).unwrap();
        assert_eq!((spec.inputs()[2], spec.output_positions()), (Shape::Features(3), 1));
        assert_eq!(spec.layout()[1].shape, [3, 2]);
        let twice = vec![Embedding { width: 3 }.into(), LastStep.into(), LastStep.into()];
        let refused = ModelSpec::of_tokens(4, 7, twice, Loss::SoftmaxCrossEntropy).unwrap_err();
        let words = refused.to_string();
        assert!(
            words.contains("layer 2 (last_step): it takes a sequence, but features"),
            "{words}"
        );
    }
}
