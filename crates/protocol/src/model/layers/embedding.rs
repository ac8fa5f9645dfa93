//! Embedding of token ids.

use serde::{Deserialize, Serialize};

use super::rules::{positive, same_fields};
use super::{LayerRule, Output};
use crate::model::{ElementKind, Init, Shape};

/// The row of `W: [vocabulary, width]` that each token id names: `[positions]` to
/// `[positions, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// Values that stand for a token.
    pub width: u32,
}

impl LayerRule for Embedding {
    fn takes(&self) -> ElementKind {
        ElementKind::TokenIds
    }

    fn output(&self, input: Shape) -> Result<Output, String> {
        let Shape::Tokens { positions, vocabulary } = input else {
            return Err(format!("it takes token ids, not {}", input.elements()));
        };
        positive("width", self.width)?;
        let shape = Shape::Sequence { positions, width: self.width };
        Ok(Output::of(shape).trains("weight", &[vocabulary, self.width], Init::Normal))
    }

    fn is_fixed(&self) -> bool {
        false
    }
}

same_fields!(Embedding = Embedding { width });

#[cfg(test)]
mod tests {
    use super::Embedding;
    use crate::layers::{Flatten, LayerNorm, Linear, Relu};
    use crate::model::layers::rules::same_bytes;
    use crate::{ElementKind, Init, Layer, Loss, ModelSpec, ModelSpecError, Shape};

    #[test]
    fn the_wire_form_is_what_it_was() {
        let json = r#"{"type":"embedding","width":300}"#;
        same_bytes(json, Embedding { width: 300 }, "82010308ac02");
    }

    #[test]
    fn tokens_become_a_sequence_and_the_layers_behind_work_at_each_position() {
        let layers = vec![
            Embedding { width: 3 }.into(),
            LayerNorm { epsilon: 1e-5 }.into(),
            Relu.into(),
            Linear { outputs: 5 }.into(),
        ];
        let spec = ModelSpec::of_tokens(4, 7, layers.clone(), Loss::SoftmaxCrossEntropy).unwrap();
        assert_eq!(spec.input(), Shape::Tokens { positions: 4, vocabulary: 7 });
        assert_eq!(spec.output(), Shape::Sequence { positions: 4, width: 5 });
        assert_eq!((spec.output_positions(), spec.output_width(), spec.output_len()), (4, 5, 20));
        let shapes: Vec<_> = spec.layout().iter().map(|tensor| tensor.shape.clone()).collect();
        assert_eq!(shapes, [vec![7, 3], vec![3], vec![3], vec![3, 5], vec![5]]);
        assert_eq!(spec.layout()[0].init, Init::Normal);
        assert_eq!(spec.forward_cost().operations, 4 * (3 + 3 + 3 + 5 * 3));
        let layers = [&layers[..1], &[Flatten.into(), Linear { outputs: 5 }.into()]].concat();
        let spec = ModelSpec::of_tokens(4, 7, layers, Loss::SoftmaxCrossEntropy).unwrap();
        assert_eq!((spec.output_positions(), spec.output_width()), (1, 5));
        assert_eq!(spec.layout()[1].shape, [4 * 3, 5]);
    }

    #[test]
    fn a_layer_names_the_kind_of_elements_that_it_takes() {
        let error = |spec: Result<ModelSpec, ModelSpecError>| spec.unwrap_err();
        let dense = vec![Linear { outputs: 2 }.into()];
        let refused = error(ModelSpec::of_tokens(4, 7, dense.clone(), Loss::MeanSquaredError));
        let (takes, given) = (ElementKind::Values, ElementKind::TokenIds);
        let expected = ModelSpecError::Elements { index: 0, layer: "linear", takes, given };
        assert_eq!(refused, expected);
        assert!(refused.to_string().contains("(linear) takes values, not token ids"), "{refused}");
        let embedding = Layer::from(Embedding { width: 2 });
        let twice = vec![embedding.clone(), embedding, dense[0].clone()];
        let refused = error(ModelSpec::of_tokens(4, 7, twice, Loss::MeanSquaredError));
        let expected =
            ModelSpecError::Elements { index: 1, layer: "embedding", takes: given, given: takes };
        assert_eq!(refused, expected);
        let none = vec![Embedding { width: 0 }.into()];
        let refused = error(ModelSpec::of_tokens(4, 7, none, Loss::MeanSquaredError));
        assert!(refused.to_string().contains("width must be at least 1"), "{refused}");
    }
}
