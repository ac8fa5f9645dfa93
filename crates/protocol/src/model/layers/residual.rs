//! Residual block.

use serde::{Deserialize, Serialize};

use super::{Layer, LayerRule, Output, UnknownLayer};
use crate::model::layout::infer;
use crate::model::{ForwardCost, Shape};
use crate::wire;

/// `f(x) + g(x)`: f is a list of layers, g another one or, if that is empty, x itself (He et
/// al. 2016).
///
/// Names of its tensors go on as those of PyTorch's nested lists do: `layers.3.0.weight` of f,
/// `layers.3.shortcut.0.weight` of g.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Residual {
    /// f, at least one layer.
    pub layers: Vec<Layer>,
    /// g, where the layers make another shape.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shortcut: Vec<Layer>,
}

impl LayerRule for Residual {
    fn output(&self, input: Shape) -> Result<Output, String> {
        if self.layers.is_empty() {
            return Err("it has no layers; give it at least one".into());
        }
        let layers =
            infer("", input, &self.layers).map_err(|error| format!("in its layers, {error}"))?;
        let shortcut = infer("shortcut.", input, &self.shortcut)
            .map_err(|error| format!("in its shortcut, {error}"))?;
        let (shape, added) = (layers.output, shortcut.output);
        if shape != added {
            let (made, added) = (shape.dims(), added.dims());
            return Err(match self.shortcut.is_empty() {
                true => format!(
                    "its layers make {made:?} of {added:?}; give it a shortcut that makes the \
                     same, such as a conv2d with kernel 1 and their channels and stride"
                ),
                false => {
                    format!("its layers make {made:?}, its shortcut {added:?}; make them alike")
                }
            });
        }
        // The input waits for the shortcut, then the layers' output for that.
        let waiting = layers.forward.activations.saturating_add(input.len() as u64);
        let last = shortcut.forward.activations.saturating_add(shape.len() as u64);
        let forward = ForwardCost {
            activations: waiting.max(last),
            operations: layers.forward.operations.saturating_add(shortcut.forward.operations),
        };
        let trained = layers.tensors.into_iter().chain(shortcut.tensors).flatten().collect();
        Ok(Output { shape, trained, forward })
    }

    fn nested(&self) -> Vec<&Layer> {
        self.layers.iter().chain(&self.shortcut).collect()
    }

    fn is_fixed(&self) -> bool {
        self.nested().into_iter().all(Layer::is_fixed)
    }
}

impl From<Residual> for wire::Residual {
    fn from(layer: Residual) -> Self {
        let [layers, shortcut] = [layer.layers, layer.shortcut]
            .map(|layers| layers.into_iter().map(wire::Layer::from).collect());
        Self { layers, shortcut }
    }
}

impl TryFrom<wire::Residual> for Residual {
    type Error = UnknownLayer;

    fn try_from(wire: wire::Residual) -> Result<Self, UnknownLayer> {
        let known = |layers: Vec<wire::Layer>| -> Result<Vec<Layer>, UnknownLayer> {
            layers.into_iter().map(Layer::try_from).collect()
        };
        Ok(Self { layers: known(wire.layers)?, shortcut: known(wire.shortcut)? })
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::Residual;
    use crate::layers::{Conv2d, Dropout, Embedding, Flatten, GroupNorm, Linear, Relu};
    use crate::model::layers::rules::same_bytes;
    use crate::task::{LocalTraining, RawLocalTraining};
    use crate::{Capabilities, CodecName, Layer, Loss, ModelSpec, ModelSpecError, limits, wire};

    fn conv(channels: u32, kernel: u32, stride: u32) -> Layer {
        Conv2d { channels, kernel, stride, padding: kernel / 2 }.into()
    }

    fn residual(layers: Vec<Layer>, shortcut: Vec<Layer>) -> Layer {
        Residual { layers, shortcut }.into()
    }

    fn spec(layers: Vec<Layer>) -> Result<ModelSpec, ModelSpecError> {
        let end = vec![Flatten.into(), Linear { outputs: 2 }.into()];
        ModelSpec::new(&[2, 6, 6], [layers, end].concat(), Loss::SoftmaxCrossEntropy)
    }

    /// `depth` blocks, each in the one before.
    fn nested(depth: usize) -> Layer {
        (0..depth).fold(Relu.into(), |inner, _| residual(vec![inner], vec![]))
    }

    #[test]
    fn the_wire_form_is_what_it_was() {
        let json = r#"{"type":"residual","layers":[{"type":"relu"}]}"#;
        same_bytes(json, residual(vec![Relu.into()], vec![]), "ea01040a022a00");
        let json = r#"{"type":"residual","layers":[{"type":"linear","outputs":2}],
            "shortcut":[{"type":"residual","layers":[{"type":"relu"}]}]}"#;
        let inner = residual(vec![Relu.into()], vec![]);
        let layer = residual(vec![Linear { outputs: 2 }.into()], vec![inner]);
        same_bytes(json, layer, "ea010f0a040a0208021207ea01040a022a00");
    }

    #[test]
    fn tensors_of_nested_layers_have_the_names_of_nested_lists() {
        let inner = residual(vec![conv(4, 3, 1), Relu.into()], vec![]);
        let block = residual(vec![conv(4, 3, 2), inner], vec![conv(4, 1, 2)]);
        let spec = spec(vec![conv(2, 3, 1), block]).unwrap();
        let names: Vec<_> = spec.layout().iter().map(|tensor| tensor.name.as_str()).collect();
        let weights = ["layers.0", "layers.1.0", "layers.1.1.0", "layers.1.shortcut.0", "layers.3"];
        let expected: Vec<String> =
            weights.iter().flat_map(|of| ["weight", "bias"].map(|x| format!("{of}.{x}"))).collect();
        assert_eq!(names, expected);
        assert_eq!(spec.layout()[6].shape, [4, 2, 1, 1]);
        assert_eq!(spec.output_len(), 2);
    }

    #[test]
    fn a_block_costs_its_layers_and_keeps_its_input() {
        let plain = spec(vec![conv(2, 3, 1), Relu.into()]).unwrap().forward_cost();
        let block = spec(vec![residual(vec![conv(2, 3, 1), Relu.into()], vec![])]).unwrap();
        let cost = block.forward_cost();
        // The addition is one operation a value.
        assert_eq!(cost.operations, plain.operations + 72);
        assert_eq!((plain.activations, cost.activations), (144, 144 + 72));
    }

    #[test]
    fn a_block_is_fixed_if_its_layers_are() {
        let fixed = |layers| spec(vec![residual(layers, vec![])]).unwrap().fixed_layers();
        assert_eq!(fixed(vec![Relu.into(), nested(1)]), 2, "flatten is the other one");
        assert_eq!(fixed(vec![conv(2, 3, 1)]), 0);
        assert_eq!(fixed(vec![residual(vec![Dropout { probability: 0.5 }.into()], vec![])]), 0);
    }

    #[test]
    fn shapes_that_do_not_meet_are_explained() {
        let error = |layers, shortcut| {
            spec(vec![Relu.into(), residual(layers, shortcut)]).unwrap_err().to_string()
        };
        for (message, expected) in [
            (error(vec![], vec![]), "layer 1 (residual): it has no layers; give it at least one"),
            (
                error(vec![conv(4, 3, 2)], vec![]),
                "its layers make [4, 3, 3] of [2, 6, 6]; give it a",
            ),
            (error(vec![conv(4, 3, 2)], vec![conv(4, 1, 1)]), "[4, 3, 3], its shortcut [4, 6, 6]"),
            (
                error(vec![Relu.into(), conv(0, 3, 1)], vec![]),
                "layer 1 (residual): in its layers, layer 1 (conv2d): channels must be at least 1",
            ),
            (
                error(vec![Relu.into()], vec![GroupNorm { groups: 3, epsilon: 1.0 }.into()]),
                "in its shortcut, layer 0 (group_norm): groups must divide",
            ),
            (error(vec![Embedding { width: 2 }.into()], vec![]), "(embedding) takes token ids"),
        ] {
            assert!(message.contains(expected), "{message:?} should say {expected:?}");
        }
    }

    #[test]
    fn nested_layers_count_and_nest_within_limits() {
        let most = limits::MAX_NESTING;
        assert!(spec(vec![nested(most)]).is_ok());
        assert_eq!(spec(vec![nested(most + 1)]), Err(ModelSpecError::Nesting(most + 1)));
        let wide = |count| spec(vec![residual(vec![Relu.into(); count], vec![])]);
        // The block, and the two layers at the end.
        assert!(wide(limits::MAX_LAYERS - 3).is_ok());
        assert_eq!(wide(limits::MAX_LAYERS - 2), Err(ModelSpecError::LayerCount(129)));
    }

    #[test]
    fn a_message_of_blocks_in_blocks_is_refused_without_following_them() {
        let mut bytes = wire::Layer::from(nested(1)).encode_to_vec();
        for _ in 0..10_000 {
            let mut outer = Vec::new();
            for field in [1u32, 29] {
                outer.clear();
                prost::encoding::bytes::encode(field, &bytes, &mut outer);
                bytes.clone_from(&outer);
            }
        }
        assert!(wire::Layer::decode(bytes.as_slice()).is_err());
        let json = r#"{"type":"residual","layers":["#.repeat(10_000);
        assert!(serde_json::from_str::<Layer>(&json).is_err());
    }

    #[test]
    fn a_client_has_to_know_nested_layers_too() {
        let norm = GroupNorm { groups: 2, epsilon: 1e-5 }.into();
        let spec = spec(vec![residual(vec![residual(vec![norm], vec![])], vec![])]).unwrap();
        let training = LocalTraining::new(RawLocalTraining::default()).unwrap();
        let needed = Capabilities::needed(&spec, &training, CodecName::F32, None);
        let missing = Capabilities::version_1().missing(&needed).unwrap();
        assert_eq!(missing, "the layer group_norm, the layer residual");
        let unknown = wire::Residual {
            layers: vec![wire::Layer { kind: None }],
            ..wire::Residual::default()
        };
        let layer = wire::Layer { kind: Some(wire::layer::Kind::Residual(unknown)) };
        assert!(Layer::try_from(layer).is_err());
    }
}
