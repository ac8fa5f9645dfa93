//! Embedding of the categories among an example's features.

use serde::{Deserialize, Serialize};

use super::rules::{positive, within};
use super::{LayerRule, Output};
use crate::limits::MAX_VOCABULARY;
use crate::model::{Init, Shape};
use crate::wire;

/// A row of `W: [categories, width]` in place of each feature that is the number of a
/// category (Guo and Berkhahn 2016): `[features]` to `[features']`.
///
/// The rows stand where their features did, and the other features pass. As a model's first
/// layer it takes the data themselves, whose numbers are checked before they get here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategoryEmbedding {
    /// Features that are numbers of categories, by increasing place.
    pub features: Vec<EmbeddedFeature>,
}

/// A feature that is the number of a category, a whole number from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedFeature {
    /// Place among an example's features, from 0.
    pub place: u32,
    /// Categories, at most [`MAX_VOCABULARY`].
    pub categories: u32,
    /// Values that stand for a category.
    pub width: u32,
}

impl LayerRule for CategoryEmbedding {
    fn output(&self, input: Shape) -> Result<Output, String> {
        let Shape::Features(features) = input else {
            return Err(format!("it takes features, not {:?}", input.dims()));
        };
        if self.features.is_empty() {
            return Err("it has no features; give it those to embed, or leave it out".into());
        }
        let mut output = Output::of(input);
        let (mut least, mut made) = (0, features);
        for (index, &EmbeddedFeature { place, categories, width }) in
            self.features.iter().enumerate()
        {
            if !(least..features).contains(&place) {
                return Err(format!(
                    "places must increase, and be below the {features} features; one is {place}"
                ));
            }
            within("categories", categories, 1, MAX_VOCABULARY)?;
            positive("width", width)?;
            least = place + 1;
            made = (made - 1).checked_add(width).ok_or("its widths are too large")?;
            output = output.trains(&format!("{index}.weight"), &[categories, width], Init::Normal);
        }
        Ok(Output { shape: Shape::Features(made), ..output })
    }

    fn is_fixed(&self) -> bool {
        false
    }

    fn takes_data(&self) -> bool {
        true
    }
}

impl From<CategoryEmbedding> for wire::CategoryEmbedding {
    fn from(layer: CategoryEmbedding) -> Self {
        let feature = |EmbeddedFeature { place, categories, width }| wire::EmbeddedFeature {
            place,
            categories,
            width,
        };
        Self { features: layer.features.into_iter().map(feature).collect() }
    }
}

impl From<wire::CategoryEmbedding> for CategoryEmbedding {
    fn from(layer: wire::CategoryEmbedding) -> Self {
        let feature = |wire::EmbeddedFeature { place, categories, width }| EmbeddedFeature {
            place,
            categories,
            width,
        };
        Self { features: layer.features.into_iter().map(feature).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::{CategoryEmbedding, EmbeddedFeature};
    use crate::layers::{Linear, Residual};
    use crate::model::layers::rules::same_bytes;
    use crate::{Init, Layer, Loss, ModelSpec, ModelSpecError, Shape};

    fn embedding(features: &[[u32; 3]]) -> CategoryEmbedding {
        let feature =
            |&[place, categories, width]: &[u32; 3]| EmbeddedFeature { place, categories, width };
        CategoryEmbedding { features: features.iter().map(feature).collect() }
    }

    fn model(input: &[u32], layers: Vec<Layer>) -> Result<ModelSpec, ModelSpecError> {
        let last = Linear { outputs: 2 }.into();
        ModelSpec::new(input, [layers, vec![last]].concat(), Loss::SoftmaxCrossEntropy)
    }

    #[test]
    fn the_wire_form_is_what_it_was() {
        let json = r#"{"type":"category_embedding","features":[
            {"place":0,"categories":3,"width":2},{"place":4,"categories":300,"width":8}]}"#;
        let layer = embedding(&[[0, 3, 2], [4, 300, 8]]);
        same_bytes(json, layer, "82020f0a04100318020a07080410ac021808");
    }

    #[test]
    fn rows_of_tables_take_the_places_of_their_features() {
        let layer = embedding(&[[1, 7, 3], [2, 4, 1]]);
        let spec = model(&[5], vec![layer.into()]).unwrap();
        assert_eq!(spec.inputs()[1], Shape::Features(5 - 2 + 3 + 1));
        let tensors: Vec<_> =
            spec.layout().iter().map(|tensor| (&*tensor.name, &tensor.shape[..])).collect();
        let expected = [("layers.0.0.weight", &[7, 3][..]), ("layers.0.1.weight", &[4, 1])];
        assert_eq!(tensors[..2], expected);
        assert_eq!(spec.layout()[0].init, Init::Normal);
        assert_eq!(spec.embedded().len(), 2);
        assert_eq!(model(&[5], vec![]).unwrap().embedded(), []);
    }

    #[test]
    fn features_that_are_not_there_and_tables_without_rows_are_refused() {
        for (input, features, expected) in [
            (&[5][..], &[][..], "it has no features"),
            (&[5], &[[5, 2, 2]], "below the 5 features; one is 5"),
            (&[5], &[[2, 2, 2], [2, 2, 2]], "places must increase"),
            (&[5], &[[2, 2, 2], [1, 2, 2]], "places must increase"),
            (&[5], &[[0, 0, 2]], "categories must be 1 to 16777216; it is 0"),
            (&[5], &[[0, 1 << 25, 2]], "categories must be 1 to 16777216"),
            (&[5], &[[0, 2, 0]], "width must be at least 1"),
            (&[5], &[[0, 1, u32::MAX]], "too large"),
            (&[5, 2], &[[0, 2, 2]], "it takes features, not [1, 5, 2]"),
        ] {
            let error = model(input, vec![embedding(features).into()]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} should say {expected}");
        }
    }

    #[test]
    fn it_is_the_first_layer_of_a_model_and_in_no_other() {
        let layer = || Layer::from(embedding(&[[0, 3, 1]]));
        let later = model(&[5], vec![Linear { outputs: 5 }.into(), layer()]).unwrap_err();
        let within = Residual { layers: vec![layer()], shortcut: vec![] }.into();
        for error in [later, model(&[5], vec![within]).unwrap_err()] {
            assert!(error.to_string().contains("make it the model's first layer"), "{error}");
        }
    }
}
