//! Operators of each layer.
//!
//! Formulas of the layers stand in `fedra_protocol::layers`.

use std::f32::consts::SQRT_2;

use fedra_protocol::layers::{
    CategoryEmbedding, Conv1d, Conv2d, EmbeddedFeature, GaussianDerivative, GroupNorm, Residual,
    Standardize,
};
use fedra_protocol::{Layer, Shape};

use crate::messages::INT64;
use crate::nodes::{Nodes, float, int, ints};
use crate::sequences::Cell;
use crate::{OnnxError, sequences};

/// Adds the nodes of a layer that takes `input`, the shape of one example.
///
/// # Errors
///
/// [`OnnxError::NotFinite`] for a trained value that is not finite.
pub fn add(layer: &Layer, input: Shape, nodes: &mut Nodes<'_>) -> Result<(), OnnxError> {
    let value = nodes.value.clone();
    match layer {
        Layer::Linear(_) => linear(input, nodes)?,
        Layer::Conv2d(layer) => conv2d(layer, nodes)?,
        Layer::LayerNorm(layer) => {
            nodes.value = layer_norm("output", layer.epsilon, &value, nodes)?;
        }
        Layer::MaxPool2d(layer) => pool("MaxPool", layer.kernel, layer.stride, nodes),
        Layer::AvgPool2d(layer) => pool("AveragePool", layer.kernel, layer.stride, nodes),
        Layer::Relu(_) => nodes.output("Relu", &[&value], vec![]),
        Layer::Tanh(_) => nodes.output("Tanh", &[&value], vec![]),
        Layer::Gelu(_) => nodes.value = gelu("output", &value, nodes),
        Layer::Sigmoid(_) => nodes.output("Sigmoid", &[&value], vec![]),
        Layer::Flatten(_) => nodes.output("Flatten", &[&value], vec![int("axis", 1)]),
        // It only acts in training.
        Layer::Dropout(_) => nodes.output("Identity", &[&value], vec![]),
        Layer::Abs(_) => nodes.output("Abs", &[&value], vec![]),
        Layer::Standardize(layer) => standardize(layer, input, nodes),
        Layer::GaussianDerivative(layer) => gaussian_derivative(layer, input, nodes),
        Layer::Elu(layer) => nodes.output("Elu", &[&value], vec![float("alpha", layer.alpha)]),
        Layer::LeakyRelu(layer) => {
            nodes.output("LeakyRelu", &[&value], vec![float("alpha", layer.slope)]);
        }
        Layer::Silu(_) => {
            let sigmoid = nodes.step("sigmoid", "Sigmoid", &[&value], vec![]);
            nodes.output("Mul", &[&value, &sigmoid], vec![]);
        }
        Layer::Softplus(_) => nodes.output("Softplus", &[&value], vec![]),
        Layer::GlobalAvgPool(_) => global_pool("ReduceMean", input, nodes),
        Layer::GlobalMaxPool(_) => global_pool("ReduceMax", input, nodes),
        Layer::GroupNorm(layer) => group_norm(layer, input, nodes)?,
        Layer::Conv1d(layer) => conv1d(layer, input, nodes)?,
        Layer::Residual(layer) => residual(layer, input, nodes)?,
        Layer::Embedding(_) => {
            let weight = nodes.trained()?;
            nodes.output("Gather", &[&weight, &value], vec![int("axis", 0)]);
        }
        Layer::CategoryEmbedding(layer) => category_embedding(layer, input, nodes)?,
        Layer::PositionEmbedding(_) => {
            let weight = nodes.trained()?;
            nodes.output("Add", &[&value, &weight], vec![]);
        }
        Layer::LastStep(_) => sequences::last_step(input, nodes),
        Layer::CausalSelfAttention(layer) => {
            nodes.value = sequences::attention(layer.heads, input, &value, nodes)?;
        }
        Layer::TransformerBlock(layer) => sequences::block(layer.heads, input, nodes)?,
        Layer::Gru(layer) => sequences::recurrent(Cell::Gru, layer.units, nodes)?,
        Layer::Lstm(layer) => sequences::recurrent(Cell::Lstm, layer.units, nodes)?,
    }
    Ok(())
}

fn linear(input: Shape, nodes: &mut Nodes<'_>) -> Result<(), OnnxError> {
    let value = nodes.value.clone();
    let (weight, bias) = (nodes.trained()?, nodes.trained()?);
    if let Shape::Sequence { .. } = input {
        let product = nodes.step("product", "MatMul", &[&value, &weight], vec![]);
        nodes.output("Add", &[&product, &bias], vec![]);
    } else {
        nodes.output("Gemm", &[&value, &weight, &bias], vec![]);
    }
    Ok(())
}

fn conv2d(layer: &Conv2d, nodes: &mut Nodes<'_>) -> Result<(), OnnxError> {
    let Conv2d { channels: _, kernel, stride, padding } = *layer;
    let value = nodes.value.clone();
    let (weight, bias) = (nodes.trained()?, nodes.trained()?);
    let attributes = vec![
        ints("kernel_shape", &[kernel; 2]),
        ints("strides", &[stride; 2]),
        ints("pads", &[padding; 4]),
    ];
    nodes.output("Conv", &[&value, &weight, &bias], attributes);
    Ok(())
}

/// A convolution with the positions last, as the operator takes them.
fn conv1d(layer: &Conv1d, input: Shape, nodes: &mut Nodes<'_>) -> Result<(), OnnxError> {
    let Conv1d { channels: _, kernel, stride, padding, dilation } = *layer;
    let mut value = nodes.value.clone();
    let (weight, bias) = (nodes.trained()?, nodes.trained()?);
    if let Shape::Image { height, width, .. } = input {
        let sequence = nodes.shape("sequence", &[-1, height.into(), width.into()]);
        value = nodes.step("rows", "Reshape", &[&value, &sequence], vec![]);
    }
    let turned = || vec![ints("perm", &[0, 2, 1])];
    let columns = nodes.step("columns", "Transpose", &[&value], turned());
    let attributes = vec![
        ints("kernel_shape", &[kernel]),
        ints("strides", &[stride]),
        ints("pads", &[padding; 2]),
        ints("dilations", &[dilation]),
    ];
    let windows = nodes.step("windows", "Conv", &[&columns, &weight, &bias], attributes);
    nodes.output("Transpose", &[&windows], turned());
    Ok(())
}

/// Rows of the tables in the places of their features, and the features between them.
fn category_embedding(
    layer: &CategoryEmbedding,
    input: Shape,
    nodes: &mut Nodes<'_>,
) -> Result<(), OnnxError> {
    let value = nodes.value.clone();
    let (mut parts, mut next) = (Vec::new(), 0);
    let between = |from: i64, to: i64, nodes: &mut Nodes<'_>| {
        let places: Vec<i64> = (from..to).collect();
        if places.is_empty() {
            return None;
        }
        let places = nodes.shape(&format!("places_{from}"), &places);
        Some(nodes.step(
            &format!("features_{from}"),
            "Gather",
            &[&value, &places],
            vec![int("axis", 1)],
        ))
    };
    for &EmbeddedFeature { place, .. } in &layer.features {
        let place = i64::from(place);
        parts.extend(between(next, place, nodes));
        next = place + 1;
        let at = nodes.index(&format!("place_{place}"), place);
        let feature =
            nodes.step(&format!("feature_{place}"), "Gather", &[&value, &at], vec![int("axis", 1)]);
        let number = nodes.step(
            &format!("number_{place}"),
            "Cast",
            &[&feature],
            vec![int("to", INT64.into())],
        );
        let table = nodes.trained()?;
        parts.push(nodes.step(
            &format!("row_{place}"),
            "Gather",
            &[&table, &number],
            vec![int("axis", 0)],
        ));
    }
    parts.extend(between(next, input.len() as i64, nodes));
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    nodes.output("Concat", &parts, vec![int("axis", 1)]);
    Ok(())
}

/// Each group as a channel of its own to normalise: operator sets have one operator for it
/// from 18 on.
fn group_norm(layer: &GroupNorm, input: Shape, nodes: &mut Nodes<'_>) -> Result<(), OnnxError> {
    let mut value = nodes.value.clone();
    let (mut gamma, mut beta) = (nodes.trained()?, nodes.trained()?);
    let groups = layer.groups as usize;
    let turned = || vec![ints("perm", &[0, 2, 1])];
    let dims: Vec<i64> = input.dims().into_iter().map(i64::from).collect();
    let is_image = matches!(input, Shape::Image { .. });
    let apart = match dims[..] {
        [positions, width] => {
            value = nodes.step("columns", "Transpose", &[&value], turned());
            vec![-1, width, positions]
        }
        _ => [&[-1], &dims[..]].concat(),
    };
    let (grouped, apart) =
        (nodes.shape("grouped", &[0, layer.groups.into(), -1]), nodes.shape("apart", &apart));
    let one = nodes.fixed("ones", &[groups as i64], &vec![1.0; groups]);
    let zero = nodes.fixed("zeros", &[groups as i64], &vec![0.0; groups]);
    let flat = nodes.step("groups", "Reshape", &[&value, &grouped], vec![]);
    let epsilon = vec![float("epsilon", layer.epsilon)];
    let normalised =
        nodes.step("normalised", "InstanceNormalization", &[&flat, &one, &zero], epsilon);
    let mut channels = nodes.step("channels", "Reshape", &[&normalised, &apart], vec![]);
    if is_image {
        let column = nodes.shape("column", &[dims[0], 1, 1]);
        gamma = nodes.step("scale", "Reshape", &[&gamma, &column], vec![]);
        beta = nodes.step("shift", "Reshape", &[&beta, &column], vec![]);
    } else {
        channels = nodes.step("rows", "Transpose", &[&channels], turned());
    }
    let scaled = nodes.step("scaled", "Mul", &[&channels, &gamma], vec![]);
    nodes.output("Add", &[&scaled, &beta], vec![]);
    Ok(())
}

fn residual(layer: &Residual, input: Shape, nodes: &mut Nodes<'_>) -> Result<(), OnnxError> {
    let value = nodes.value.clone();
    nested("", &layer.layers, input, nodes)?;
    let output = std::mem::replace(&mut nodes.value, value);
    nested("shortcut.", &layer.shortcut, input, nodes)?;
    let added = nodes.value.clone();
    nodes.output("Add", &[&output, &added], vec![]);
    Ok(())
}

/// The nodes of layers in another one.
fn nested(
    name: &str,
    layers: &[Layer],
    input: Shape,
    nodes: &mut Nodes<'_>,
) -> Result<(), OnnxError> {
    let mut shape = input;
    for (index, layer) in layers.iter().enumerate() {
        let outer = nodes.enter(&format!("{name}{index}"));
        add(layer, shape, nodes)?;
        nodes.leave(outer);
        shape = layer.output(shape).expect("a checked specification has layers that fit");
    }
    Ok(())
}

fn pool(operator: &str, kernel: u32, stride: u32, nodes: &mut Nodes<'_>) {
    let value = nodes.value.clone();
    let attributes = vec![ints("kernel_shape", &[kernel; 2]), ints("strides", &[stride; 2])];
    nodes.output(operator, &[&value], attributes);
}

/// Over the pixels of an image, or the positions of a sequence.
fn global_pool(operator: &str, input: Shape, nodes: &mut Nodes<'_>) {
    let axes: &[u32] = if let Shape::Sequence { .. } = input { &[1] } else { &[2, 3] };
    let value = nodes.value.clone();
    nodes.output(operator, &[&value], vec![ints("axes", axes), int("keepdims", 0)]);
}

/// `x (1 + erf(x / sqrt 2)) / 2`; operator sets have one operator for it from 20 on.
pub fn gelu(name: &str, value: &str, nodes: &mut Nodes<'_>) -> String {
    let root = nodes.number("root_of_two", SQRT_2);
    let (one, half) = (nodes.number("one", 1.0), nodes.number("half", 0.5));
    let scaled = nodes.step("scaled", "Div", &[value, &root], vec![]);
    let error = nodes.step("erf", "Erf", &[&scaled], vec![]);
    let twice = nodes.step("sum", "Add", &[&error, &one], vec![]);
    let product = nodes.step("product", "Mul", &[value, &twice], vec![]);
    nodes.step(name, "Mul", &[&product, &half], vec![])
}

/// Layer normalisation with the next two tensors.
pub fn layer_norm(
    name: &str,
    epsilon: f32,
    value: &str,
    nodes: &mut Nodes<'_>,
) -> Result<String, OnnxError> {
    let (gamma, beta) = (nodes.trained()?, nodes.trained()?);
    let attributes = vec![int("axis", -1), float("epsilon", epsilon)];
    Ok(nodes.step(name, "LayerNormalization", &[value, &gamma, &beta], attributes))
}

/// `(x - mean) / sqrt(variance + epsilon)` along one axis.
fn standardize(layer: &Standardize, input: Shape, nodes: &mut Nodes<'_>) {
    let axis = if let Shape::Sequence { .. } = input { 2 } else { 1 };
    let along = || vec![ints("axes", &[axis]), int("keepdims", 1)];
    let value = nodes.value.clone();
    let epsilon = nodes.number("epsilon", layer.epsilon);
    let mean = nodes.step("mean", "ReduceMean", &[&value], along());
    let centred = nodes.step("centred", "Sub", &[&value, &mean], vec![]);
    let squares = nodes.step("squares", "Mul", &[&centred, &centred], vec![]);
    let variance = nodes.step("variance", "ReduceMean", &[&squares], along());
    let raised = nodes.step("raised", "Add", &[&variance, &epsilon], vec![]);
    let deviation = nodes.step("deviation", "Sqrt", &[&raised], vec![]);
    nodes.output("Div", &[&centred, &deviation], vec![]);
}

/// A convolution of each channel by itself, as if it were an example.
fn gaussian_derivative(layer: &GaussianDerivative, input: Shape, nodes: &mut Nodes<'_>) {
    let [orientations, kernel] = [layer.orientations, layer.kernel].map(i64::from);
    let dims = [orientations, 1, kernel, kernel];
    let filters = nodes.fixed("filters", &dims, &layer.filters());
    let attributes =
        vec![ints("kernel_shape", &[layer.kernel; 2]), ints("pads", &[layer.kernel / 2; 4])];
    let value = nodes.value.clone();
    let [channels, height, width] = image(input);
    if channels == 1 {
        nodes.output("Conv", &[&value, &filters], attributes);
        return;
    }
    let apart = nodes.shape("apart", &[-1, 1, height, width]);
    let together = nodes.shape("together", &[-1, channels * orientations, height, width]);
    let planes = nodes.step("planes", "Reshape", &[&value, &apart], vec![]);
    let filtered = nodes.step("filtered", "Conv", &[&planes, &filters], attributes);
    nodes.output("Reshape", &[&filtered, &together], vec![]);
}

/// `[channels, height, width]` of an image.
fn image(shape: Shape) -> [i64; 3] {
    match shape {
        Shape::Image { channels, height, width } => [channels, height, width].map(i64::from),
        _ => unreachable!("a checked specification gives this layer an image"),
    }
}
