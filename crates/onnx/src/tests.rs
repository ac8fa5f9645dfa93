//! Files, decoded again.

use fedra_protocol::layers::{
    Abs, AvgPool2d, CategoryEmbedding, CausalSelfAttention, Conv1d, Conv2d, Dropout, Elu,
    EmbeddedFeature, Embedding, Flatten, GaussianDerivative, Gelu, GlobalAvgPool, GlobalMaxPool,
    GroupNorm, Gru, LastStep, LayerNorm, LeakyRelu, Linear, Lstm, MaxPool2d, PositionEmbedding,
    Relu, Residual, Sigmoid, Silu, Softplus, Standardize, Tanh, TransformerBlock,
};
use fedra_protocol::{Layer, Loss, ModelSpec, Sha256Hash, TensorInfo};
use prost::Message;

use crate::messages::{
    AttributeProto, Dimension, FLOAT, GraphProto, INT64, ModelProto, NodeProto, TensorProto,
    ValueInfoProto,
};
use crate::{OnnxError, Origin, write};

/// Numbers that tell each tensor's place.
fn parameters(spec: &ModelSpec) -> Vec<f32> {
    (0..spec.parameters()).map(|index| index as f32).collect()
}

fn decoded(spec: &ModelSpec, origin: &Origin) -> ModelProto {
    let file = write(spec, &parameters(spec), origin).unwrap();
    ModelProto::decode(file.as_slice()).unwrap()
}

fn graph(spec: &ModelSpec) -> GraphProto {
    decoded(spec, &Origin::default()).graph.unwrap()
}

/// The nodes of the layer with this index.
fn nodes_of(graph: &GraphProto, index: usize) -> Vec<&NodeProto> {
    let prefix = format!("layers.{index}.");
    graph.node.iter().filter(|node| node.name.starts_with(&prefix)).collect()
}

fn operators(graph: &GraphProto, index: usize) -> Vec<&str> {
    nodes_of(graph, index).iter().map(|node| node.op_type.as_str()).collect()
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> &'a AttributeProto {
    node.attribute.iter().find(|attribute| attribute.name == name).unwrap()
}

fn tensor<'a>(graph: &'a GraphProto, name: &str) -> &'a TensorProto {
    graph.initializer.iter().find(|tensor| tensor.name == name).unwrap()
}

fn floats(tensor: &TensorProto) -> Vec<f32> {
    assert_eq!(tensor.data_type, FLOAT);
    let values = tensor.raw_data.chunks_exact(4);
    values.map(|value| f32::from_le_bytes(value.try_into().unwrap())).collect()
}

/// Element type and dimensions.
fn shape(value: &ValueInfoProto) -> (i32, Vec<String>) {
    let tensor = value.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
    let dims = tensor.shape.as_ref().unwrap().dim.iter().map(|dim| match &dim.value {
        Some(Dimension::Size(size)) => size.to_string(),
        Some(Dimension::Free(name)) => name.clone(),
        None => panic!("a dimension without a size"),
    });
    (tensor.elem_type, dims.collect())
}

fn images(layers: &[Layer]) -> ModelSpec {
    let end = [Flatten.into(), Linear { outputs: 2 }.into()];
    ModelSpec::new(&[2, 8, 8], [layers, &end].concat(), Loss::MeanSquaredError).unwrap()
}

fn features(layers: &[Layer]) -> ModelSpec {
    let layers = [&[Linear { outputs: 3 }.into()], layers].concat();
    ModelSpec::new(&[4], layers, Loss::MeanSquaredError).unwrap()
}

#[test]
fn a_file_says_what_it_is_and_names_inputs_and_outputs() {
    let spec = ModelSpec::mnist_cnn();
    let sha256 = Sha256Hash::of(b"a model");
    let model = decoded(&spec, &Origin { round: Some(7), sha256: Some(sha256) });
    assert_eq!((model.ir_version, model.opset_import[0].version), (8, 17));
    assert_eq!(model.opset_import[0].domain, "");
    assert_eq!(model.producer_name, "Fedra");
    assert_eq!(model.producer_version, env!("CARGO_PKG_VERSION"));
    assert!(model.doc_string.contains("1663370 parameters"), "{}", model.doc_string);
    let metadata = model.metadata_props.iter().map(|entry| (&*entry.key, &*entry.value));
    let hash = sha256.to_string();
    let expected = [("fedra.round", "7"), ("fedra.sha256", hash.as_str())];
    assert_eq!(metadata.collect::<Vec<_>>(), expected);
    let graph = model.graph.unwrap();
    let ([input], [output]) = (&graph.input[..], &graph.output[..]) else { panic!("one each") };
    assert_eq!((input.name.as_str(), output.name.as_str()), ("features", "probabilities"));
    let dims = ["batch", "1", "28", "28"].map(str::to_owned).to_vec();
    assert_eq!(shape(input), (FLOAT, dims));
    assert_eq!(shape(output), (FLOAT, vec!["batch".to_owned(), "10".to_owned()]));
    assert!(!input.doc_string.is_empty() && !output.doc_string.is_empty());
    assert!(decoded(&spec, &Origin::default()).metadata_props.is_empty());
}

#[test]
fn tensors_are_the_layouts_and_the_same_model_is_the_same_bytes() {
    for name in ModelSpec::BUILTIN {
        let spec = ModelSpec::builtin(name).unwrap();
        let graph = graph(&spec);
        let mut rest = parameters(&spec);
        let rearranged = |info: &TensorInfo| {
            let names = graph.node.iter().filter(|node| ["GRU", "LSTM"].contains(&&*node.op_type));
            let mut prefixes = names.map(|node| node.name.trim_end_matches("states"));
            prefixes.any(|prefix| info.name.starts_with(prefix))
        };
        for info in spec.layout() {
            let tail = rest.split_off(info.len());
            if rearranged(info) {
                rest = tail;
                continue;
            }
            let tensor = tensor(&graph, &info.name);
            let dims: Vec<usize> = tensor.dims.iter().map(|&size| size as usize).collect();
            assert_eq!((dims, floats(tensor)), (info.shape.clone(), rest), "{name} {}", info.name);
            rest = tail;
        }
        let write = || write(&spec, &parameters(&spec), &Origin::default()).unwrap();
        assert_eq!(write(), write());
    }
}

#[test]
fn every_input_of_a_node_is_known_before_it_and_names_are_unique() {
    let every = every_layer();
    for spec in every.iter().chain(&ModelSpec::BUILTIN.map(|n| ModelSpec::builtin(n).unwrap())) {
        let graph = graph(spec);
        let mut known: Vec<&str> = graph.input.iter().map(|value| value.name.as_str()).collect();
        known.extend(graph.initializer.iter().map(|tensor| tensor.name.as_str()));
        for node in &graph.node {
            for input in &node.input {
                assert!(known.contains(&input.as_str()), "{input} of {}", node.name);
            }
            known.extend(node.output.iter().map(String::as_str));
        }
        assert!(known.contains(&graph.output[0].name.as_str()));
        let names = known.len();
        known.sort_unstable();
        known.dedup();
        assert_eq!(known.len(), names);
    }
}

/// Models that have all layers between them.
fn every_layer() -> Vec<ModelSpec> {
    let images = images(&[
        GaussianDerivative { orientations: 3, kernel: 3, sigma: 1.0 }.into(),
        Abs.into(),
        Conv2d { channels: 4, kernel: 3, stride: 2, padding: 1 }.into(),
        Standardize { epsilon: 0.5 }.into(),
        Elu { alpha: 0.5 }.into(),
        MaxPool2d { kernel: 2, stride: 1 }.into(),
        Relu.into(),
        AvgPool2d { kernel: 3, stride: 2 }.into(),
        Tanh.into(),
    ]);
    let layers = vec![
        Embedding { width: 5 }.into(),
        LayerNorm { epsilon: 0.25 }.into(),
        Linear { outputs: 4 }.into(),
        Gelu.into(),
        Dropout { probability: 0.5 }.into(),
        Sigmoid.into(),
        Standardize { epsilon: 1.0 }.into(),
    ];
    let tokens = ModelSpec::of_tokens(3, 9, layers, Loss::SoftmaxCrossEntropy).unwrap();
    let layers = vec![
        Embedding { width: 4 }.into(),
        PositionEmbedding.into(),
        LastStep.into(),
        Linear { outputs: 3 }.into(),
    ];
    let steps = ModelSpec::of_tokens(5, 9, layers, Loss::SoftmaxCrossEntropy).unwrap();
    let layers = vec![
        Embedding { width: 4 }.into(),
        CausalSelfAttention { heads: 2 }.into(),
        TransformerBlock { heads: 1, hidden: Some(3) }.into(),
        Gru { units: 2 }.into(),
        Lstm { units: 1 }.into(),
        Linear { outputs: 3 }.into(),
    ];
    let memory = ModelSpec::of_tokens(3, 9, layers, Loss::SoftmaxCrossEntropy).unwrap();
    let layers = vec![
        Conv2d { channels: 4, kernel: 3, stride: 1, padding: 1 }.into(),
        LeakyRelu { slope: 0.5 }.into(),
        Silu.into(),
        GroupNorm { groups: 2, epsilon: 0.5 }.into(),
        Softplus.into(),
        GlobalAvgPool.into(),
        block(),
        Linear { outputs: 2 }.into(),
    ];
    let blocks = ModelSpec::new(&[2, 8, 8], layers, Loss::BinaryCrossEntropy).unwrap();
    let layers = vec![
        Embedding { width: 5 }.into(),
        Conv1d { channels: 6, kernel: 2, stride: 2, padding: 1, dilation: 2 }.into(),
        GroupNorm { groups: 3, epsilon: 0.5 }.into(),
        GlobalMaxPool.into(),
        Linear { outputs: 2 }.into(),
    ];
    let pooled = ModelSpec::of_tokens(3, 9, layers, Loss::Huber).unwrap();
    let feature = |place, categories, width| EmbeddedFeature { place, categories, width };
    let features = vec![feature(1, 4, 2), feature(2, 3, 1)];
    let layers = vec![CategoryEmbedding { features }.into(), Linear { outputs: 2 }.into()];
    let columns = ModelSpec::new(&[6], layers, Loss::MeanSquaredError).unwrap();
    vec![images, tokens, steps, memory, blocks, pooled, columns]
}

/// A block with a shortcut, and one without inside of it.
fn block() -> Layer {
    let inner = Residual { layers: vec![Tanh.into()], shortcut: vec![] };
    let layers = vec![Linear { outputs: 3 }.into(), inner.into()];
    Residual { layers, shortcut: vec![Linear { outputs: 3 }.into()] }.into()
}

#[test]
fn a_block_is_an_addition_of_its_branches() {
    let graph = graph(&features(&[block()]));
    let nodes = nodes_of(&graph, 1);
    let inputs = |name: &str| {
        let node = nodes.iter().find(|node| node.name == name);
        node.unwrap_or_else(|| panic!("no node {name}")).input.clone()
    };
    let first = ["layers.0.output", "layers.1.0.weight", "layers.1.0.bias"];
    assert_eq!(inputs("layers.1.0.output"), first);
    assert_eq!(inputs("layers.1.1.0.output"), ["layers.1.0.output"]);
    assert_eq!(inputs("layers.1.1.output"), ["layers.1.1.0.output", "layers.1.0.output"]);
    let weights = ["layers.1.shortcut.0.weight", "layers.1.shortcut.0.bias"];
    assert_eq!(inputs("layers.1.shortcut.0.output"), [&first[..1], &weights].concat());
    let sum = ["layers.1.1.output", "layers.1.shortcut.0.output"];
    assert_eq!(inputs("layers.1.output"), sum);
    assert!(nodes.iter().all(|node| node.doc_string == "layer 1, residual"));
}

#[test]
fn all_types_of_layers_are_tested() {
    let specs = every_layer();
    let layers = specs.iter().flat_map(ModelSpec::layers).map(Layer::type_name);
    let tested: std::collections::BTreeSet<_> = layers.collect();
    assert_eq!(tested, Layer::TYPE_NAMES.iter().copied().collect());
}

#[test]
fn windows_have_the_sizes_of_their_layers() {
    let graph = graph(&every_layer()[0]);
    let ints = |index, name| attribute(nodes_of(&graph, index)[0], name).ints.clone();
    assert_eq!(operators(&graph, 2), ["Conv"]);
    assert_eq!(nodes_of(&graph, 2)[0].input[1..], ["layers.2.weight", "layers.2.bias"]);
    assert_eq!(ints(2, "kernel_shape"), [3, 3]);
    assert_eq!(ints(2, "strides"), [2, 2]);
    assert_eq!(ints(2, "pads"), [1, 1, 1, 1]);
    assert_eq!((operators(&graph, 5), ints(5, "kernel_shape")), (vec!["MaxPool"], vec![2, 2]));
    assert_eq!(ints(5, "strides"), [1, 1]);
    assert_eq!((operators(&graph, 7), ints(7, "kernel_shape")), (vec!["AveragePool"], vec![3, 3]));
    assert_eq!(ints(7, "strides"), [2, 2]);
}

#[test]
fn edge_filters_are_applied_to_each_channel_by_itself() {
    let layer = GaussianDerivative { orientations: 3, kernel: 3, sigma: 1.0 };
    let graph = graph(&images(&[layer.into()]));
    assert_eq!(operators(&graph, 0), ["Reshape", "Conv", "Reshape"]);
    let shape = |name| {
        let tensor = tensor(&graph, name);
        assert_eq!(tensor.data_type, INT64);
        let sizes = tensor.raw_data.chunks_exact(8);
        sizes.map(|size| i64::from_le_bytes(size.try_into().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(shape("layers.0.apart"), [-1, 1, 8, 8]);
    assert_eq!(shape("layers.0.together"), [-1, 6, 8, 8]);
    let filters = tensor(&graph, "layers.0.filters");
    assert_eq!((filters.dims.as_slice(), floats(filters)), (&[3, 1, 3, 3][..], layer.filters()));
    assert_eq!(attribute(nodes_of(&graph, 0)[1], "pads").ints, [1; 4]);
    let one = ModelSpec::mnist_oriented_gradients();
    assert_eq!(operators(&self::graph(&one), 0), ["Conv"]);
}

#[test]
fn functions_are_one_operator_or_their_formula() {
    let layers = [
        Relu.into(),
        Tanh.into(),
        Sigmoid.into(),
        Abs.into(),
        Dropout { probability: 0.5 }.into(),
        Elu { alpha: 0.5 }.into(),
        Gelu.into(),
        Standardize { epsilon: 0.25 }.into(),
        LayerNorm { epsilon: 0.125 }.into(),
    ];
    let graph = graph(&features(&layers));
    for (index, operator) in
        ["Relu", "Tanh", "Sigmoid", "Abs", "Identity", "Elu"].iter().enumerate()
    {
        assert_eq!(operators(&graph, index + 1), [*operator]);
    }
    assert_eq!(attribute(nodes_of(&graph, 6)[0], "alpha").f, Some(0.5));
    assert_eq!(operators(&graph, 7), ["Div", "Erf", "Add", "Mul", "Mul"]);
    let standardized = ["ReduceMean", "Sub", "Mul", "ReduceMean", "Add", "Sqrt", "Div"];
    assert_eq!(operators(&graph, 8), standardized);
    assert_eq!(attribute(nodes_of(&graph, 8)[0], "axes").ints, [1]);
    assert_eq!(floats(tensor(&graph, "layers.8.epsilon")), [0.25]);
    let norm = nodes_of(&graph, 9)[0];
    assert_eq!(
        (norm.op_type.as_str(), &norm.input[1..]),
        ("LayerNormalization", &["layers.9.gamma".to_owned(), "layers.9.beta".to_owned()][..])
    );
    assert_eq!((attribute(norm, "axis").i, attribute(norm, "epsilon").f), (Some(-1), Some(0.125)));
    assert_eq!(norm.doc_string, "layer 9, layer_norm");
}

#[test]
fn token_ids_are_int64_and_layers_work_at_each_position() {
    let graph = graph(&every_layer()[1]);
    let (input, output) = (&graph.input[0], &graph.output[0]);
    let dims = |dims: &[&str]| dims.iter().map(|&dim| dim.to_owned()).collect::<Vec<_>>();
    assert_eq!((input.name.as_str(), shape(input)), ("token_ids", (INT64, dims(&["batch", "3"]))));
    assert!(input.doc_string.contains("from 0 to 8"), "{}", input.doc_string);
    assert_eq!(shape(output), (FLOAT, dims(&["batch", "3", "4"])));
    assert_eq!(operators(&graph, 0), ["Gather"]);
    assert_eq!(nodes_of(&graph, 0)[0].input, ["layers.0.weight", "token_ids"]);
    assert_eq!(operators(&graph, 2), ["MatMul", "Add"]);
    assert_eq!(attribute(nodes_of(&graph, 6)[0], "axes").ints, [2]);
    let last = graph.node.last().unwrap();
    assert_eq!((last.op_type.as_str(), attribute(last, "axis").i), ("Softmax", Some(-1)));
}

#[test]
fn positions_are_added_and_the_last_one_is_chosen() {
    let graph = graph(&every_layer()[2]);
    assert_eq!(operators(&graph, 1), ["Add"]);
    assert_eq!(nodes_of(&graph, 1)[0].input[1], "layers.1.weight");
    let last = nodes_of(&graph, 2)[0];
    assert_eq!((last.op_type.as_str(), attribute(last, "axis").i), ("Gather", Some(1)));
    let index = tensor(&graph, &last.input[1]);
    assert_eq!((index.data_type, &index.dims[..]), (INT64, &[][..]));
    assert_eq!(index.raw_data, 4i64.to_le_bytes());
    assert_eq!(operators(&graph, 3), ["Gemm"]);
}

#[test]
fn an_attention_hides_later_positions() {
    let graph = graph(&every_layer()[3]);
    let shape = |name| {
        let sizes = tensor(&graph, name).raw_data.chunks_exact(8);
        sizes.map(|size| i64::from_le_bytes(size.try_into().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(shape("layers.1.apart"), [-1, 3, 3, 2, 2]);
    assert_eq!(shape("layers.1.together"), [-1, 3, 4]);
    let mask = tensor(&graph, "layers.1.mask");
    assert_eq!(mask.dims, [3, 3]);
    let hidden = floats(mask).iter().map(|&value| value < -1e20).collect::<Vec<_>>();
    assert_eq!(hidden, [false, true, true, false, false, true, false, false, false]);
    assert_eq!(floats(tensor(&graph, "layers.1.scale")), [1.0 / 2f32.sqrt()]);
    let count =
        |index, operator| operators(&graph, index).iter().filter(|o| **o == operator).count();
    assert_eq!(
        (count(1, "MatMul"), count(1, "Softmax"), count(1, "LayerNormalization")),
        (4, 1, 0)
    );
    assert_eq!(
        (count(2, "MatMul"), count(2, "Softmax"), count(2, "LayerNormalization")),
        (6, 1, 2)
    );
    assert_eq!(tensor(&graph, "layers.2.hidden.weight").dims, [4, 3]);
}

#[test]
fn recurrent_layers_have_their_tensors_in_the_order_of_onnx() {
    let spec = &every_layer()[3];
    let graph = graph(spec);
    let start = |name: &str| {
        let before = spec.layout().iter().take_while(|tensor| tensor.name != name);
        before.map(TensorInfo::len).sum::<usize>() as f32
    };
    let operator = |index, kind: &str| {
        assert_eq!(operators(&graph, index), ["Transpose", kind, "Squeeze", "Transpose"]);
        nodes_of(&graph, index)[1]
    };
    let gru = operator(3, "GRU");
    assert_eq!(attribute(gru, "linear_before_reset").i, Some(1));
    assert_eq!(attribute(gru, "hidden_size").i, Some(2));
    let places = |name: &str, of: &str, index: usize| {
        let start = start(&format!("layers.{index}.{of}"));
        let tensor = tensor(&graph, &format!("layers.{index}.{name}"));
        let places = floats(tensor).iter().map(|value| value - start).collect::<Vec<_>>();
        (tensor.dims.clone(), places)
    };
    // Of 2 units, columns 0 and 1 are those of r, 2 and 3 of z, 4 and 5 of n; a row of the
    // weights has 6 columns. ONNX has z, r, n, and the rows of a gate in 2 rows.
    let (dims, r) = places("R", "hidden_weight", 3);
    assert_eq!(dims, [1, 6, 2]);
    assert_eq!(r, [2., 8., 3., 9., 0., 6., 1., 7., 4., 10., 5., 11.]);
    assert_eq!(places("W", "input_weight", 3).0, [1, 6, 4]);
    let (dims, b) = places("B", "input_bias", 3);
    // The biases of the hidden state come behind 12 weights.
    assert_eq!(dims, [1, 12]);
    assert_eq!(b, [2., 3., 0., 1., 4., 5., 20., 21., 18., 19., 22., 23.]);
    let lstm = operator(4, "LSTM");
    assert_eq!(attribute(lstm, "hidden_size").i, Some(1));
    // i, f, g, o to i, o, f, c.
    assert_eq!(places("R", "hidden_weight", 4), (vec![1, 4, 1], vec![0., 3., 1., 2.]));
    assert_eq!(places("B", "input_bias", 4).1, [0., 3., 1., 2., 8., 11., 9., 10.]);
    let (dims, w) = places("W", "input_weight", 4);
    assert_eq!((dims, w), (vec![1, 4, 2], vec![0., 4., 3., 7., 1., 5., 2., 6.]));
}

#[test]
fn a_regression_has_values_without_a_softmax() {
    let graph = graph(&features(&[]));
    assert_eq!(operators(&graph, 0), ["Gemm"]);
    let last = graph.node.last().unwrap();
    assert_eq!((last.op_type.as_str(), last.output[0].as_str()), ("Identity", "values"));
    assert_eq!(graph.output[0].name, "values");
}

#[test]
fn a_graph_ends_in_what_the_loss_predicts() {
    for (loss, operator, output, kind) in [
        (Loss::SoftmaxCrossEntropy, "Softmax", "probabilities", "Classifier of"),
        (Loss::BinaryCrossEntropy, "Sigmoid", "probabilities", "Classifier by yes and no"),
        (Loss::MeanSquaredError, "Identity", "values", "Regression"),
        (Loss::Huber, "Identity", "values", "Regression"),
    ] {
        let spec = ModelSpec::new(&[4], vec![Linear { outputs: 3 }.into()], loss).unwrap();
        let model = decoded(&spec, &Origin::default());
        let graph = model.graph.unwrap();
        let last = graph.node.last().unwrap();
        assert_eq!((last.op_type.as_str(), last.output[0].as_str()), (operator, output));
        assert_eq!(graph.output[0].name, output);
        assert!(model.doc_string.starts_with(kind), "{}", model.doc_string);
    }
}

#[test]
fn a_global_pool_is_over_pixels_or_positions() {
    let every = every_layer();
    let (images, sequence) = (graph(&every[4]), graph(&every[5]));
    assert_eq!(
        (operators(&images, 5), operators(&sequence, 3)),
        (vec!["ReduceMean"], vec!["ReduceMax"])
    );
    assert_eq!(attribute(nodes_of(&images, 5)[0], "axes").ints, [2, 3]);
    assert_eq!(attribute(nodes_of(&sequence, 3)[0], "axes").ints, [1]);
    assert_eq!(operators(&images, 2), ["Sigmoid", "Mul"]);
    assert_eq!(attribute(nodes_of(&images, 1)[0], "alpha").f, Some(0.5));
}

#[test]
fn norms_and_convolutions_of_positions_turn_sequences_to_channels_and_back() {
    let every = every_layer();
    let (images, sequence) = (graph(&every[4]), graph(&every[5]));
    let norm = ["Reshape", "InstanceNormalization", "Reshape"];
    let of_images = [&norm[..], &["Reshape", "Reshape", "Mul", "Add"]].concat();
    assert_eq!(operators(&images, 3), of_images);
    assert_eq!(floats(tensor(&images, "layers.3.ones")), [1.0; 2]);
    assert_eq!(attribute(nodes_of(&images, 3)[1], "epsilon").f, Some(0.5));
    let of_positions = [&["Transpose"], &norm[..], &["Transpose", "Mul", "Add"]].concat();
    assert_eq!(operators(&sequence, 2), of_positions);
    assert_eq!(operators(&sequence, 1), ["Transpose", "Conv", "Transpose"]);
    let conv = nodes_of(&sequence, 1)[1];
    assert_eq!(attribute(conv, "kernel_shape").ints, [2]);
    assert_eq!(attribute(conv, "strides").ints, [2]);
    assert_eq!(attribute(conv, "pads").ints, [1, 1]);
    assert_eq!(attribute(conv, "dilations").ints, [2]);
    let series = vec![Conv1d { channels: 2, kernel: 3, stride: 1, padding: 0, dilation: 1 }.into()];
    let series = ModelSpec::new(&[8, 4], series, Loss::MeanSquaredError).unwrap();
    assert_eq!(operators(&graph(&series), 0), ["Reshape", "Transpose", "Conv", "Transpose"]);
}

#[test]
fn categories_are_rows_between_the_other_features() {
    let graph = graph(&every_layer()[6]);
    let row = ["Gather", "Cast", "Gather"];
    assert_eq!(operators(&graph, 0), [&["Gather"][..], &row, &row, &["Gather", "Concat"]].concat());
    let nodes = nodes_of(&graph, 0);
    assert_eq!(nodes[3].input, ["layers.0.0.weight", "layers.0.number_1"]);
    assert_eq!(attribute(nodes[2], "to").i, Some(INT64.into()));
    let parts =
        ["features_0", "row_1", "row_2", "features_3"].map(|part| format!("layers.0.{part}"));
    assert_eq!(nodes[8].input, parts);
}

#[test]
fn parameters_must_be_the_models_and_finite() {
    let spec = ModelSpec::softmax_regression();
    let refused = |values: &[f32]| write(&spec, values, &Origin::default()).unwrap_err();
    let expected = OnnxError::ParameterCount { expected: 7850, actual: 3 };
    assert_eq!(refused(&[0.0; 3]), expected);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut values = vec![0.0; 7850];
        values[7842] = bad;
        let expected = OnnxError::NotFinite { tensor: "layers.0.bias".to_owned(), index: 2 };
        assert_eq!(refused(&values), expected);
    }
}
