//! Model specifications: sizes from the literature, and what is not a model.

use fedra_protocol::layers::{
    Abs, Conv2d, Dropout, GaussianDerivative, LayerNorm, Linear, MaxPool2d, Relu, Standardize,
};
use fedra_protocol::{
    Capabilities, DecodeError, ElementKind, Layer, Loss, ModelSpec, ModelSpecError, Shape, wire,
};
use prost::Message;

#[test]
fn the_built_in_models_have_the_published_sizes() {
    // McMahan et al. 2017, section 3.
    assert_eq!(ModelSpec::mnist_2nn().parameters(), 199_210);
    assert_eq!(ModelSpec::mnist_cnn().parameters(), 1_663_370);
    assert_eq!(ModelSpec::softmax_regression().parameters(), 7_850);
    // 7 x 7 cells of 4 directions to 10 classes, with biases.
    assert_eq!(ModelSpec::mnist_oriented_gradients().parameters(), (7 * 7 * 4 + 1) * 10);
    // The same cells of 4 directions in 4 directions.
    assert_eq!(ModelSpec::mnist_scattering().parameters(), (7 * 7 * 16 + 1) * 10);
    // 5 x 5 x 6, 5 x 5 x 6 x 16, 400-120-84-10, with biases.
    assert_eq!(ModelSpec::lenet().parameters(), 156 + 2_416 + 48_120 + 10_164 + 850);
    // Kernels of 9 and 1 with biases, and two numbers a channel for each norm.
    let conv = |inputs: usize, outputs, kernel| outputs * (inputs * kernel * kernel + 1 + 2);
    let block = |inputs, outputs| conv(inputs, outputs, 3) + conv(outputs, outputs, 3);
    let stages = 2 * block(16, 16)
        + (block(16, 32) + conv(16, 32, 1) + block(32, 32))
        + (block(32, 64) + conv(32, 64, 1) + block(64, 64));
    let resnet = ModelSpec::cifar_resnet14();
    assert_eq!(resnet.parameters(), conv(3, 16, 3) + stages + 64 * 10 + 10);
    assert_eq!(resnet.parameters(), 175_818);
    for name in ModelSpec::BUILTIN {
        let spec = ModelSpec::builtin(name).unwrap();
        if let Shape::Tokens { .. } = spec.input() {
            continue;
        }
        assert_eq!(spec.output_len(), 10);
        let input = if name.starts_with("cifar") { 3 * 32 * 32 } else { 784 };
        assert_eq!(spec.input().len(), input);
    }
    assert!(ModelSpec::BUILTIN.iter().all(|name| ModelSpec::builtin(name).is_some()));
    assert_eq!(ModelSpec::builtin("no-such-model"), None);
}

#[test]
fn the_built_in_models_of_text_have_the_sizes_of_their_parts() {
    // A table, the gates of a GRU with both biases, and a linear layer.
    let gru = 3 * 256 * (32 + 256) + 2 * 3 * 256;
    assert_eq!(ModelSpec::char_gru().parameters(), 256 * 32 + gru + 257 * 256);
    // Two LSTMs: on vectors of 8 values, and on 256 hidden states.
    let lstm = |inputs: usize| 4 * 256 * (inputs + 256) + 2 * 4 * 256;
    let text = 80 * 8 + lstm(8) + lstm(256) + 257 * 80;
    assert_eq!(ModelSpec::shakespeare_lstm().parameters(), text);
    // Tokens and positions; blocks, whose matrices have 3 + 1 + 4 + 4 squares of the width and
    // whose biases and norms 13 widths; the last norm; the linear layer.
    let gpt = |positions: usize, blocks: usize, width: usize| {
        let block = 12 * width * width + 13 * width;
        (256 + positions) * width + blocks * block + 2 * width + (width + 1) * 256
    };
    assert_eq!(ModelSpec::gpt_nano().parameters(), gpt(64, 3, 48));
    assert_eq!(ModelSpec::gpt_micro().parameters(), gpt(128, 4, 128));
    for (name, positions) in [("char-gru", 80), ("gpt-nano", 64), ("gpt-micro", 128)] {
        let spec = ModelSpec::builtin(name).unwrap();
        assert_eq!(spec.input(), Shape::Tokens { positions, vocabulary: 256 });
        assert_eq!(spec.output(), Shape::Sequence { positions, width: 256 });
    }
    let text = ModelSpec::builtin("shakespeare-lstm").unwrap();
    assert_eq!(text.input(), Shape::Tokens { positions: 80, vocabulary: 80 });
    assert_eq!(text.output(), Shape::Features(80));
}

#[test]
fn a_forward_pass_costs_its_widest_layer_and_the_work_of_all() {
    let cost = |spec: ModelSpec| (spec.forward_cost().activations, spec.forward_cost().operations);
    assert_eq!(cost(ModelSpec::softmax_regression()), (794, 7_840));
    // 784-200-200-10; each ReLU looks at 200 values.
    let work = 784 * 200 + 200 * 200 + 200 * 10 + 2 * 200;
    assert_eq!(cost(ModelSpec::mnist_2nn()), (984, work));
    // The first ReLU has 32 channels of 28 x 28 on both sides.
    let convolutions = 28 * 28 * 32 * 25 + 14 * 14 * 64 * 32 * 25;
    let elementwise = 28 * 28 * 32 + 14 * 14 * 64 + 7 * 7 * 64 + 512;
    let pools = 4 * (14 * 14 * 32 + 7 * 7 * 64);
    let linear = 7 * 7 * 64 * 512 + 512 * 10;
    let work = convolutions + elementwise + pools + linear;
    assert_eq!(cost(ModelSpec::mnist_cnn()), (2 * 28 * 28 * 32, work));
}

#[test]
fn a_specification_reads_like_a_config_file() {
    let json = r#"{"input":[1,28,28],"layers":[
        {"type":"conv2d","channels":4,"kernel":3},{"type":"relu"},{"type":"max_pool2d","kernel":2,"stride":2},
        {"type":"flatten"},{"type":"layer_norm"},{"type":"dropout","probability":0.1},
        {"type":"linear","outputs":10}],"loss":"softmax_cross_entropy"}"#;
    let spec: ModelSpec = serde_json::from_str(json).unwrap();
    let names: Vec<&str> = spec.layout().iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "layers.0.weight",
            "layers.0.bias",
            "layers.4.gamma",
            "layers.4.beta",
            "layers.6.weight",
            "layers.6.bias"
        ]
    );
    assert_eq!(spec.layout()[4].shape, [4 * 13 * 13, 10]);
    let again: ModelSpec = serde_json::from_value(serde_json::to_value(&spec).unwrap()).unwrap();
    assert_eq!(again, spec);
}

#[test]
fn the_names_of_layers_and_losses_are_those_that_are_read() {
    // serde lists the names that it expects between backquotes, after the one it got.
    fn expected<T: serde::de::DeserializeOwned>(json: &str) -> Vec<String> {
        let Err(error) = serde_json::from_str::<T>(json) else { panic!("{json} is known") };
        error.to_string().split('`').skip(3).step_by(2).map(str::to_string).collect()
    }
    assert_eq!(expected::<Layer>(r#"{"type":"none such"}"#), Layer::TYPE_NAMES);
    assert_eq!(expected::<Loss>(r#""none such""#), Loss::NAMES);
    assert_eq!(expected::<ElementKind>(r#""none such""#), ElementKind::NAMES);
}

#[test]
fn the_manual_has_every_layer_and_loss_and_the_first_version_no_other() {
    let manual = include_str!("../../../docs/OPERATIONS.md");
    let rows = |heading: &str| -> Vec<&str> {
        let (_, section) = manual.split_once(heading).unwrap();
        let section = section.split("\n### ").next().unwrap();
        let row = |line: &'static str| Some(line.strip_prefix("| `")?.split_once('`')?.0);
        section.lines().filter_map(row).collect()
    };
    assert_eq!(rows("\n### The layers of a model\n"), Layer::TYPE_NAMES);
    assert_eq!(rows("\n### The losses of a model\n"), Loss::NAMES);
    let known = [Layer::TYPE_NAMES, &Layer::SETTINGS].concat();
    let known: Vec<String> = known.into_iter().map(str::to_owned).collect();
    assert!(Capabilities::version_1().layers.iter().all(|name| known.contains(name)));
    assert_eq!(Capabilities::all().layers, known.into_iter().collect());
}

#[test]
fn a_layer_is_read_with_its_fields_and_no_others() {
    let read = |json: &str| serde_json::from_str::<Layer>(json);
    let conv = Conv2d { channels: 2, kernel: 3, stride: 1, padding: 0 };
    assert_eq!(read(r#"{"type":"conv2d","channels":2,"kernel":3}"#).unwrap(), conv.into());
    assert_eq!(read(r#"{"type":"relu"}"#).unwrap(), Relu.into());
    assert_eq!(serde_json::to_string(&Layer::from(Relu)).unwrap(), r#"{"type":"relu"}"#);
    for (wrong, named) in [
        (r#"{"type":"linear","outputs":1,"bias":true}"#, "unknown field `bias`"),
        (r#"{"type":"linear"}"#, "missing field `outputs`"),
        (r#"{"type":"relu","slope":1}"#, "Relu"),
    ] {
        let error = read(wrong).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

/// A convolution of nothing but fixed filters, then two linear layers.
const FIXED: &str = r#"{"input":[2,5,4],"layers":[
    {"type":"gaussian_derivative","orientations":3,"kernel":5,"sigma":0.75},{"type":"abs"},
    {"type":"standardize","epsilon":0.5},{"type":"flatten"},{"type":"linear","outputs":4},
    {"type":"abs"},{"type":"standardize"},{"type":"linear","outputs":2}],
    "loss":"mean_squared_error"}"#;

#[test]
fn fixed_layers_keep_the_size_and_add_no_parameters() {
    let spec: ModelSpec = serde_json::from_str(FIXED).unwrap();
    let shapes: Vec<_> = spec.layout().iter().map(|tensor| tensor.shape.clone()).collect();
    assert_eq!(shapes, [vec![2 * 3 * 5 * 4, 4], vec![4], vec![4, 2], vec![2]]);
    assert_eq!(spec.layers()[6], Layer::Standardize(Standardize { epsilon: 1e-5 }));
    // The fixed layers after the first trained one are not counted.
    assert_eq!(spec.fixed_layers(), 4);
    assert_eq!(ModelSpec::mnist_oriented_gradients().fixed_layers(), 6);
    assert_eq!(ModelSpec::mnist_2nn().fixed_layers(), 0);
    let dropout =
        vec![Layer::Dropout(Dropout { probability: 0.5 }), Layer::Linear(Linear { outputs: 2 })];
    let dropout = ModelSpec::new(&[4], dropout, Loss::MeanSquaredError).unwrap();
    assert_eq!(dropout.fixed_layers(), 0, "dropout is random");
}

#[test]
fn the_wire_form_of_fixed_layers_is_what_it_was() {
    let spec: ModelSpec = serde_json::from_str(FIXED).unwrap();
    let message = wire::ModelSpec::from(spec.clone());
    let bytes = message.encode_to_vec();
    let golden = concat!(
        "0a03020504",                 // input 2, 5, 4
        "120b7209080310051d0000403f", // gaussian_derivative: 3, 5, 0.75
        "12026200",                   // abs
        "12076a050d0000003f",         // standardize: 0.5
        "12024a00",                   // flatten
        "12040a020804",               // linear: 4
        "12026200",                   // abs
        "12076a050dacc52737",         // standardize: 1e-5
        "12040a020802",               // linear: 2
        "1802",                       // mean squared error
    );
    assert_eq!(hex::encode(&bytes), golden);
    let decoded = wire::ModelSpec::decode(bytes.as_slice()).unwrap();
    assert_eq!(ModelSpec::try_from(decoded), Ok(spec));
    // A client from before a layer was added refuses the model: to it, the
    // layer has no kind.
    let mut unknown = message;
    unknown.layers[1].kind = None;
    let error = ModelSpec::try_from(unknown).unwrap_err().to_string();
    assert!(error.contains("does not know"), "{error}");
}

/// A next-token model.
const TOKENS: &str = r#"{"input":[16],"elements":"token_ids","vocabulary":300,"layers":[
    {"type":"embedding","width":8},{"type":"linear","outputs":300}],
    "loss":"softmax_cross_entropy"}"#;

#[test]
fn a_model_of_token_ids_reads_like_a_config_file_and_its_wire_form_is_what_it_was() {
    let spec: ModelSpec = serde_json::from_str(TOKENS).unwrap();
    assert_eq!(spec.input(), Shape::Tokens { positions: 16, vocabulary: 300 });
    assert_eq!((spec.output_positions(), spec.output_width()), (16, 300));
    let again: ModelSpec = serde_json::from_value(serde_json::to_value(&spec).unwrap()).unwrap();
    assert_eq!(again, spec);
    let golden = concat!(
        "0a0110",         // input 16
        "12058201020808", // embedding: 8
        "12050a0308ac02", // linear: 300
        "1801",           // softmax cross-entropy
        "2001",           // token ids
        "28ac02",         // vocabulary: 300
    );
    let message = wire::ModelSpec::from(spec.clone());
    let bytes = message.encode_to_vec();
    assert_eq!(hex::encode(&bytes), golden);
    let decoded = wire::ModelSpec::decode(bytes.as_slice()).unwrap();
    assert_eq!(ModelSpec::try_from(decoded), Ok(spec));
    let later = wire::ModelSpec { elements: 99, ..message };
    let unsupported = DecodeError::Unsupported { what: "the kind of the model's input" };
    assert_eq!(ModelSpec::try_from(later), Err(unsupported));
}

#[test]
fn the_input_of_a_model_is_of_values_or_of_token_ids() {
    let with = |elements: &str| {
        let json = TOKENS.replacen(r#""elements":"token_ids","vocabulary":300"#, elements, 1);
        serde_json::from_str::<ModelSpec>(&json).unwrap_err().to_string()
    };
    for (elements, expected) in [
        (r#""elements":"values""#, "layer 0 (embedding) takes token ids, not values"),
        (r#""vocabulary":300"#, "a model of values has no vocabulary"),
        (r#""elements":"token_ids""#, "the vocabulary missing"),
        (r#""elements":"token_ids","vocabulary":0"#, "the vocabulary 0"),
        (r#""elements":"token_ids","vocabulary":16777217"#, "1 to 16777216"),
        (r#""elements":"bytes","vocabulary":256"#, "unknown variant `bytes`"),
    ] {
        let error = with(elements);
        assert!(error.contains(expected), "{error:?} should say {expected:?}");
    }
    let two = TOKENS.replacen("[16]", "[4,4]", 1);
    let error = serde_json::from_str::<ModelSpec>(&two).unwrap_err().to_string();
    assert!(error.contains("[positions]"), "{error}");
}

#[test]
fn mistakes_in_a_specification_are_explained() {
    use Loss::{MeanSquaredError, SoftmaxCrossEntropy};
    let linear = |outputs| Layer::Linear(Linear { outputs });
    let pool = |kernel, stride| Layer::MaxPool2d(MaxPool2d { kernel, stride });
    let conv = |padding| Layer::Conv2d(Conv2d { channels: 1, kernel: 3, stride: 1, padding });
    let filters = |orientations, kernel, sigma| {
        Layer::GaussianDerivative(GaussianDerivative { orientations, kernel, sigma })
    };
    let standardize = |epsilon| Layer::Standardize(Standardize { epsilon });
    let cases: Vec<(&[u32], Vec<Layer>, Loss, &str)> = vec![
        (&[], vec![linear(2)], SoftmaxCrossEntropy, "input shape"),
        (&[0], vec![linear(2)], SoftmaxCrossEntropy, "input shape"),
        (&[1, 1, 28, 28], vec![linear(2)], SoftmaxCrossEntropy, "input shape"),
        (&[4], vec![], SoftmaxCrossEntropy, "1 to 128 layers"),
        (&[4], vec![Layer::Relu(Relu); 129], SoftmaxCrossEntropy, "1 to 128 layers"),
        (&[4], vec![linear(0)], MeanSquaredError, "outputs must be at least 1"),
        (&[4], vec![linear(1)], SoftmaxCrossEntropy, "at least 2 outputs"),
        (&[4], vec![Layer::Relu(Relu)], MeanSquaredError, "no trainable parameter"),
        (&[1, 8, 8], vec![linear(2)], MeanSquaredError, "flatten"),
        (&[4], vec![conv(0)], MeanSquaredError, "takes an image"),
        (&[1, 8, 8], vec![conv(1)], MeanSquaredError, "ends in an image"),
        (&[1, 8, 8], vec![conv(3)], MeanSquaredError, "padding 3 must be smaller"),
        (&[1, 8, 8], vec![pool(9, 1)], MeanSquaredError, "larger than the image"),
        (&[1, 8, 8], vec![pool(2, 0)], MeanSquaredError, "stride must be at least 1"),
        (&[4], vec![Layer::Dropout(Dropout { probability: 1.0 })], MeanSquaredError, "below 1"),
        (&[4], vec![Layer::LayerNorm(LayerNorm { epsilon: 0.0 })], MeanSquaredError, "epsilon"),
        (&[1, 8, 8], vec![filters(0, 3, 1.0)], MeanSquaredError, "orientations must be 1 to 64"),
        (&[1, 8, 8], vec![filters(65, 3, 1.0)], MeanSquaredError, "it is 65"),
        (&[1, 8, 8], vec![filters(4, 4, 1.0)], MeanSquaredError, "kernel must be odd"),
        (&[1, 8, 8], vec![filters(4, 1, 1.0)], MeanSquaredError, "kernel must be 3 to 31"),
        (&[1, 8, 8], vec![filters(4, 33, 1.0)], MeanSquaredError, "kernel must be 3 to 31"),
        (&[1, 8, 8], vec![filters(4, 3, 0.2)], MeanSquaredError, "sigma must be between"),
        (&[1, 8, 8], vec![filters(4, 3, f32::NAN)], MeanSquaredError, "sigma must be between"),
        (&[4], vec![filters(4, 3, 1.0)], MeanSquaredError, "takes an image"),
        (&[1 << 20, 8, 8], vec![filters(64, 3, 1.0)], MeanSquaredError, "too large"),
        (&[4], vec![standardize(0.0)], MeanSquaredError, "epsilon must be above 0"),
        (&[4], vec![standardize(f32::INFINITY)], MeanSquaredError, "epsilon must be above 0"),
        (&[4], vec![standardize(1.0), Layer::Abs(Abs)], MeanSquaredError, "no trainable parameter"),
        (&[60_000_000], vec![linear(2)], MeanSquaredError, "more than 67108864 parameters"),
        (&[4], vec![linear(u32::MAX), linear(u32::MAX)], MeanSquaredError, "too large"),
    ];
    for (input, layers, loss, expected) in cases {
        let error = ModelSpec::new(input, layers, loss).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} should say {expected:?}");
    }
    let third = ModelSpec::new(&[4], vec![linear(3), Layer::Relu(Relu), conv(0)], MeanSquaredError);
    assert!(matches!(third, Err(ModelSpecError::Layer { index: 2, layer: "conv2d", .. })));
    let unknown =
        r#"{"input":[4],"layers":[{"type":"lineal","outputs":2}],"loss":"mean_squared_error"}"#;
    assert!(serde_json::from_str::<ModelSpec>(unknown).is_err());
}
