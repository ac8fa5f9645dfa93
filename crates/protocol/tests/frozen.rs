//! Frozen layers: what is trained, how they are written, and which clients know them.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use fedra_protocol::layers::{Dropout, Embedding, Linear, Relu, Residual};
use fedra_protocol::{
    Capabilities, CodecName, Layer, LocalTraining, Loss, ModelSpec, ModelSpecError, TensorInfo,
    wire,
};
use prost::Message;

fn linear(outputs: u32) -> Layer {
    Linear { outputs }.into()
}

fn three() -> ModelSpec {
    let layers = vec![linear(4), Relu.into(), linear(3), linear(2)];
    ModelSpec::new(&[5], layers, Loss::SoftmaxCrossEntropy).unwrap()
}

fn names<'a>(tensors: impl IntoIterator<Item = &'a TensorInfo>) -> Vec<&'a str> {
    tensors.into_iter().map(|tensor| tensor.name.as_str()).collect()
}

#[test]
fn frozen_tensors_stand_beside_the_trained_ones_under_the_names_of_their_layers() {
    let whole = three();
    let spec = whole.clone().with_frozen(&[3, 0]).unwrap();
    assert_eq!(spec.frozen_layers(), [0, 3]);
    assert_eq!(names(spec.layout()), ["layers.2.weight", "layers.2.bias"]);
    assert_eq!(spec.parameters(), 4 * 3 + 3);
    let frozen = ["layers.0.weight", "layers.0.bias", "layers.3.weight", "layers.3.bias"];
    assert_eq!(names(spec.frozen_layout()), frozen);
    assert_eq!(spec.frozen_parameters(), 5 * 4 + 4 + 3 * 2 + 2);
    let in_order = spec.tensors();
    assert_eq!(names(in_order.iter().map(|(tensor, _)| *tensor)), names(whole.layout()));
    let is_frozen: Vec<bool> = in_order.iter().map(|(_, is_frozen)| *is_frozen).collect();
    assert_eq!(is_frozen, [true, true, false, false, true, true]);
    assert_eq!(spec.unfrozen(), whole);
    assert_eq!(spec.with_frozen(&[]).unwrap(), whole);
}

#[test]
fn a_frozen_prefix_is_fixed_unless_it_is_random() {
    assert_eq!(three().with_frozen(&[0]).unwrap().fixed_layers(), 2);
    assert_eq!(three().with_frozen(&[2]).unwrap().fixed_layers(), 0);
    let block = |inner: Layer| {
        let block = Residual { layers: vec![linear(5), inner], shortcut: vec![] };
        let layers = vec![block.into(), linear(2)];
        let spec = ModelSpec::new(&[5], layers, Loss::SoftmaxCrossEntropy).unwrap();
        spec.with_frozen(&[0]).unwrap().fixed_layers()
    };
    assert_eq!(block(Relu.into()), 1);
    assert_eq!(block(Dropout { probability: 0.5 }.into()), 0);
    let layers = vec![Embedding { width: 2 }.into(), linear(2)];
    let spec = ModelSpec::of_tokens(4, 3, layers, Loss::SoftmaxCrossEntropy).unwrap();
    assert_eq!(spec.with_frozen(&[0]).unwrap().fixed_layers(), 1);
}

#[test]
fn what_cannot_be_frozen_is_told() {
    let fail = |frozen: &[usize]| three().with_frozen(frozen).unwrap_err();
    assert_eq!(fail(&[0, 2, 3]), ModelSpecError::NothingToTrain);
    assert_eq!(fail(&[1]), ModelSpecError::NothingToFreeze { index: 1, layer: "relu" });
    assert!(fail(&[1]).to_string().contains("layer 1 (relu) has no parameter to freeze"));
    assert_eq!(fail(&[4]), ModelSpecError::NoSuchLayer(4));
}

/// A model as in a config file, with these layers.
fn read(layers: &str) -> Result<ModelSpec, String> {
    let json = format!(r#"{{"input":[5],"layers":[{layers}],"loss":"softmax_cross_entropy"}}"#);
    serde_json::from_str(&json).map_err(|error| error.to_string())
}

#[test]
fn trainable_is_written_beside_a_layers_own_fields() {
    let layers = r#"{"type":"linear","outputs":4,"trainable":false},{"type":"relu"},
        {"trainable":true,"outputs":3,"type":"linear"},
        {"type":"linear","trainable":false,"outputs":2}"#;
    let spec = read(layers).unwrap();
    assert_eq!(spec, three().with_frozen(&[0, 3]).unwrap());
    let again = serde_json::to_value(&spec).unwrap();
    assert_eq!(again["layers"][0]["trainable"], false);
    assert_eq!(again["layers"][1], serde_json::json!({ "type": "relu" }));
    assert_eq!(again["layers"][2], serde_json::json!({ "type": "linear", "outputs": 3 }));
    assert_eq!(serde_json::from_value::<ModelSpec>(again).unwrap(), spec);
    for (wrong, problem) in [
        (r#"{"type":"linear","outputs":4,"trainable":0}"#, "expected a boolean"),
        (r#"{"type":"linear","outputs":4,"trained":true}"#, "unknown field `trained`"),
        (r#"{"type":"linear","trainable":true}"#, "missing field `outputs`"),
        (r#"{"outputs":4}"#, "missing field `type`"),
        (r#"["linear"]"#, "a layer with its type"),
        (
            r#"{"type":"residual","layers":[{"type":"linear","outputs":5,"trainable":false}]}"#,
            "unknown field `trainable`",
        ),
        (r#"{"type":"linear","outputs":4,"trainable":false}"#, "no trainable parameter"),
        (r#"{"type":"relu","trainable":false}"#, "leave its trainable = false out"),
    ] {
        let error = read(wrong).unwrap_err();
        assert!(error.contains(problem), "{error:?} should say {problem:?}");
    }
}

#[test]
fn a_frozen_layer_is_one_that_an_older_client_does_not_know() {
    let spec = three().with_frozen(&[0, 3]).unwrap();
    let message = wire::ModelSpec::from(spec.clone());
    let bytes = message.encode_to_vec();
    let golden = concat!(
        "0a0105",             // input 5
        "1207c202040a020804", // frozen, linear: 4
        "12022a00",           // relu
        "12040a020803",       // linear: 3
        "1207c202040a020802", // frozen, linear: 2
        "1801",               // softmax cross-entropy
    );
    assert_eq!(hex::encode(&bytes), golden);
    let decoded = wire::ModelSpec::decode(bytes.as_slice()).unwrap();
    assert_eq!(ModelSpec::try_from(decoded), Ok(spec));
    let frozen = |layer: &wire::Layer| wire::Layer {
        kind: Some(wire::layer::Kind::Frozen(Box::new(layer.clone()))),
    };
    for (index, problem) in [(0, "a layer of the model"), (1, "no parameter"), (2, "trainable")] {
        let mut changed = message.clone();
        changed.layers[index] = frozen(&changed.layers[index]);
        let error = ModelSpec::try_from(changed).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn a_client_that_does_not_know_frozen_layers_is_not_enough() {
    let training = LocalTraining::default();
    let missing = |spec: &ModelSpec| {
        let needed = Capabilities::needed(spec, &training, CodecName::F32, None);
        assert_eq!(Capabilities::all().missing(&needed), None);
        Capabilities::version_1().missing(&needed)
    };
    assert_eq!(missing(&three()), None);
    let frozen = three().with_frozen(&[0]).unwrap();
    assert_eq!(missing(&frozen).unwrap(), "the setting of a layer trainable");
}
