//! ONNX files of models.
//!
//! A file has the graph of every layer and the values of its tensors, and computes what
//! Fedra's own prediction does. This crate does no I/O, and the same model gives the same
//! bytes, so a file can be named by its hash.
//!
//! # Example
//!
//! ```
//! use fedra_onnx::{Origin, write};
//! use fedra_protocol::ModelSpec;
//!
//! # fn main() -> Result<(), fedra_onnx::OnnxError> {
//! let spec = ModelSpec::softmax_regression();
//! let file = write(&spec, &vec![0.0; spec.parameters()], &Origin::default())?;
//! assert!(file.len() > 4 * spec.parameters());
//! # Ok(())
//! # }
//! ```

mod layers;
mod messages;
mod nodes;
mod sequences;

#[cfg(test)]
mod tests;

use fedra_protocol::{Loss, ModelSpec, Sha256Hash, Shape};
use prost::Message;

use messages::{
    Dimension, DimensionProto, FLOAT, GraphProto, INT64, IR_VERSION, ModelProto, NodeProto, OPSET,
    OperatorSetIdProto, StringStringEntryProto, TensorShapeProto, TensorTypeProto, TypeProto,
    ValueInfoProto,
};
use nodes::{Nodes, int};

/// Name of the input of a model of values, float32.
pub const FEATURES: &str = "features";
/// Name of the input of a model of token ids, int64.
pub const TOKEN_IDS: &str = "token_ids";
/// Name of the output of a classifier, and of binary cross-entropy.
pub const PROBABILITIES: &str = "probabilities";
/// Name of the output of a regression.
pub const VALUES: &str = "values";
/// Name of the first dimension of inputs and outputs, whose size each run chooses.
pub const BATCH: &str = "batch";

/// Round and file that a model is of, for the metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The round, as `fedra.round`.
    pub round: Option<u64>,
    /// Hash of the model's safetensors file, as `fedra.sha256`.
    pub sha256: Option<Sha256Hash>,
}

/// Parameters that do not make a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    /// The flat parameter vector does not belong to the model.
    #[error(
        "the model has {expected} parameters, but {actual} were given; give all tensors of this \
         model, in the order of its layout"
    )]
    ParameterCount {
        /// Parameters of the model.
        expected: usize,
        /// Length of the vector.
        actual: usize,
    },
    /// A value is infinite or not a number.
    #[error("tensor {tensor}: value {index} is not finite; export the model of an earlier round")]
    NotFinite {
        /// Name of the tensor.
        tensor: String,
        /// The value's place in it, from 0, in row-major order.
        index: usize,
    },
}

/// An ONNX file of the model with these parameters, IR version 8, operator set 17.
///
/// The input is `features`, `[batch, features]` or `[batch, channels, height, width]` of
/// float32, or `token_ids`, `[batch, positions]` of int64, each from 0 and below the
/// vocabulary. The output is `probabilities` of a classifier, after the softmax or, of binary
/// cross-entropy, the sigmoid, or `values` of a regression, `[batch, width]` or `[batch, positions, width]` of float32. Dropout does
/// nothing. `parameters` is the flat vector of all values in the order of
/// [`ModelSpec::tensors`], those of frozen layers included, which must be finite.
///
/// # Errors
///
/// [`OnnxError::ParameterCount`] if the vector is not as long as the model's,
/// [`OnnxError::NotFinite`] for the first value that is not finite.
pub fn write(spec: &ModelSpec, parameters: &[f32], origin: &Origin) -> Result<Vec<u8>, OnnxError> {
    let spec = &spec.unfrozen();
    let (expected, actual) = (spec.parameters(), parameters.len());
    if expected != actual {
        return Err(OnnxError::ParameterCount { expected, actual });
    }
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "Fedra".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        doc_string: description(spec),
        graph: Some(graph(spec, parameters)?),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: metadata(origin),
    };
    Ok(model.encode_to_vec())
}

fn graph(spec: &ModelSpec, parameters: &[f32]) -> Result<GraphProto, OnnxError> {
    let input = input(spec);
    let output = output(spec);
    let mut nodes = Nodes::new(spec, parameters, &input.name);
    for (index, (layer, &shape)) in spec.layers().iter().zip(spec.inputs()).enumerate() {
        nodes.begin(index);
        let first = nodes.nodes.len();
        layers::add(layer, shape, &mut nodes)?;
        describe(&mut nodes.nodes[first..], index, layer.type_name());
    }
    let (operator, attribute) = match spec.loss() {
        Loss::SoftmaxCrossEntropy => ("Softmax", vec![int("axis", -1)]),
        Loss::BinaryCrossEntropy => ("Sigmoid", vec![]),
        Loss::MeanSquaredError | Loss::Huber => ("Identity", vec![]),
    };
    let Nodes { nodes: mut node, initializers: initializer, value, .. } = nodes;
    node.push(NodeProto {
        input: vec![value],
        output: vec![output.name.clone()],
        name: output.name.clone(),
        op_type: operator.to_owned(),
        attribute,
        doc_string: String::new(),
    });
    let (input, output) = (vec![input], vec![output]);
    Ok(GraphProto { node, name: "fedra".to_owned(), initializer, input, output })
}

/// Says at each node of a layer which one it is of.
fn describe(nodes: &mut [NodeProto], index: usize, layer: &str) {
    for node in nodes {
        node.doc_string = format!("layer {index}, {layer}");
    }
}

fn input(spec: &ModelSpec) -> ValueInfoProto {
    let shape = spec.input();
    let (name, kind, doc) = match shape {
        Shape::Features(_) => (FEATURES, FLOAT, "Features, a row for each example.".to_owned()),
        Shape::Sequence { .. } | Shape::Image { .. } => {
            let doc = "Values of each example, channel by channel and row by row.";
            (FEATURES, FLOAT, doc.to_owned())
        }
        Shape::Tokens { vocabulary, .. } => {
            let doc = format!("Token ids of each example, from 0 to {}.", vocabulary - 1);
            (TOKEN_IDS, INT64, doc)
        }
    };
    value(name, kind, shape, doc)
}

fn output(spec: &ModelSpec) -> ValueInfoProto {
    let (name, what) = match spec.loss() {
        Loss::SoftmaxCrossEntropy => (PROBABILITIES, "Class probabilities"),
        Loss::BinaryCrossEntropy => (PROBABILITIES, "Probability of yes for each output"),
        Loss::MeanSquaredError | Loss::Huber => (VALUES, "Values of the regression"),
    };
    let place = match spec.output() {
        Shape::Sequence { .. } => "at each position of each example",
        _ => "of each example",
    };
    value(name, FLOAT, spec.output(), format!("{what} {place}."))
}

/// An input or output whose examples have this shape.
fn value(name: &str, elem_type: i32, shape: Shape, doc_string: String) -> ValueInfoProto {
    let batch = Dimension::Free(BATCH.to_owned());
    let sizes = shape.dims().into_iter().map(|size| Dimension::Size(size.into()));
    let dim = std::iter::once(batch).chain(sizes);
    let dim = dim.map(|value| DimensionProto { value: Some(value) }).collect();
    let shape = Some(TensorShapeProto { dim });
    let r#type = Some(TypeProto { tensor_type: Some(TensorTypeProto { elem_type, shape }) });
    ValueInfoProto { name: name.to_owned(), r#type, doc_string }
}

fn description(spec: &ModelSpec) -> String {
    let kind = match spec.loss() {
        Loss::SoftmaxCrossEntropy => "Classifier",
        Loss::BinaryCrossEntropy => "Classifier by yes and no",
        Loss::MeanSquaredError | Loss::Huber => "Regression",
    };
    let (elements, parameters) = (spec.input().elements(), spec.parameters());
    format!("{kind} of {elements} with {parameters} parameters, trained with Fedra.")
}

fn metadata(origin: &Origin) -> Vec<StringStringEntryProto> {
    let round = origin.round.map(|round| ("fedra.round", round.to_string()));
    let sha256 = origin.sha256.map(|sha256| ("fedra.sha256", sha256.to_string()));
    let entries = round.into_iter().chain(sha256);
    entries.map(|(key, value)| StringStringEntryProto { key: key.to_owned(), value }).collect()
}
