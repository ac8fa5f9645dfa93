//! Mean of everything at once.

use serde::{Deserialize, Serialize};

use super::rules::{channels, same_fields};
use super::{LayerRule, Output};
use crate::model::Shape;

/// Mean over the pixels of each channel of an image, or over the positions of a sequence:
/// `[channels, height, width]` to `[channels]`, `[positions, width]` to `[width]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GlobalAvgPool;

impl LayerRule for GlobalAvgPool {
    fn output(&self, input: Shape) -> Result<Output, String> {
        Ok(Output::of(Shape::Features(channels(input)?)))
    }

    fn window(&self, input: Shape) -> u64 {
        channels(input).map_or(1, |channels| input.len() as u64 / u64::from(channels))
    }
}

same_fields!(GlobalAvgPool = Unit {});

#[cfg(test)]
mod tests {
    use super::GlobalAvgPool;
    use crate::layers::{Embedding, Linear};
    use crate::model::layers::rules::same_bytes;
    use crate::{Layer, Loss, ModelSpec, Shape};

    #[test]
    fn the_wire_form_is_what_it_was() {
        same_bytes(r#"{"type":"global_avg_pool"}"#, GlobalAvgPool, "ca0100");
    }

    #[test]
    fn a_value_of_each_channel_or_of_each_place_in_the_width_comes_out() {
        let layers: Vec<Layer> = vec![GlobalAvgPool.into(), Linear { outputs: 2 }.into()];
        let loss = Loss::SoftmaxCrossEntropy;
        let image = ModelSpec::new(&[3, 4, 5], layers.clone(), loss).unwrap();
        assert_eq!(image.inputs()[1], Shape::Features(3));
        assert_eq!(image.forward_cost().operations, 3 * 20 + 3 * 2);
        let sequence = [vec![Embedding { width: 6 }.into()], layers.clone()].concat();
        let sequence = ModelSpec::of_tokens(7, 9, sequence, loss).unwrap();
        assert_eq!(sequence.inputs()[2], Shape::Features(6));
        let error = ModelSpec::new(&[4], layers, loss).unwrap_err().to_string();
        assert!(error.contains("features come in; leave this layer out"), "{error}");
    }
}
