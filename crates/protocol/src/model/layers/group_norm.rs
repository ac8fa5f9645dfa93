//! Group normalisation.

use serde::{Deserialize, Serialize};

use super::rules::{channels, norm_epsilon, positive, positive_real, same_fields};
use super::{LayerRule, Output};
use crate::model::{Init, Shape};

/// Normalises each group of channels of an image to mean 0 and variance 1 over all of its
/// pixels, example by example, then scales and shifts each channel (Wu and He 2018). Of a
/// sequence the channels are its width, and the pixels its positions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupNorm {
    /// Groups of neighbouring channels, all of the same size.
    pub groups: u32,
    /// Added to the variance.
    #[serde(default = "norm_epsilon")]
    pub epsilon: f32,
}

impl LayerRule for GroupNorm {
    fn output(&self, input: Shape) -> Result<Output, String> {
        let channels = channels(input).map_err(|error| match input {
            Shape::Features(_) => "it normalises images and sequences, but features come in; \
                                   layer_norm normalises features"
                .into(),
            _ => error,
        })?;
        positive("groups", self.groups)?;
        positive_real("epsilon", self.epsilon)?;
        if !channels.is_multiple_of(self.groups) {
            return Err(format!(
                "groups must divide the {channels} channels; it is {}",
                self.groups
            ));
        }
        Ok(Output::of(input).trains("gamma", &[channels], Init::Ones).trains(
            "beta",
            &[channels],
            Init::Zeros,
        ))
    }

    fn is_fixed(&self) -> bool {
        false
    }
}

same_fields!(GroupNorm = GroupNorm { groups, epsilon });

#[cfg(test)]
mod tests {
    use super::GroupNorm;
    use crate::layers::{Embedding, Flatten, Linear};
    use crate::model::layers::rules::same_bytes;
    use crate::{Init, Layer, Loss, ModelSpec};

    fn norm(groups: u32, epsilon: f32) -> Vec<Layer> {
        let end = [Flatten.into(), Linear { outputs: 2 }.into()];
        [&[GroupNorm { groups, epsilon }.into()], &end[..]].concat()
    }

    #[test]
    fn the_wire_form_is_what_it_was() {
        let json = r#"{"type":"group_norm","groups":8}"#;
        same_bytes(json, GroupNorm { groups: 8, epsilon: 1e-5 }, "da0107080815acc52737");
    }

    #[test]
    fn each_channel_has_a_scale_and_a_shift() {
        let loss = Loss::SoftmaxCrossEntropy;
        let image = ModelSpec::new(&[6, 4, 5], norm(3, 1e-5), loss).unwrap();
        assert_eq!(image.inputs()[0], image.inputs()[1]);
        assert_eq!(image.layout()[0].name, "layers.0.gamma");
        let of = |spec: &ModelSpec, index: usize| {
            (spec.layout()[index].shape.clone(), spec.layout()[index].init)
        };
        assert_eq!(of(&image, 0), (vec![6], Init::Ones));
        assert_eq!(of(&image, 1), (vec![6], Init::Zeros));
        let layers = [vec![Embedding { width: 4 }.into()], norm(2, 1e-5)].concat();
        let sequence = ModelSpec::of_tokens(3, 9, layers, loss).unwrap();
        assert_eq!(of(&sequence, 1), (vec![4], Init::Ones));
    }

    #[test]
    fn groups_divide_the_channels() {
        let error = |input: &[u32], groups, epsilon| {
            let spec = ModelSpec::new(input, norm(groups, epsilon), Loss::MeanSquaredError);
            spec.unwrap_err().to_string()
        };
        assert!(error(&[6, 4, 5], 4, 1e-5).contains("must divide the 6 channels; it is 4"));
        assert!(error(&[6, 4, 5], 0, 1e-5).contains("groups must be at least 1"));
        assert!(error(&[6, 4, 5], 2, 0.0).contains("epsilon must be above 0"));
        assert!(error(&[6], 2, 1e-5).contains("layer_norm normalises features"));
    }
}
