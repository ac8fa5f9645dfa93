//! Operators of layers that look at more than one position of a sequence.

use fedra_protocol::Shape;
use fedra_protocol::layers::TransformerBlock;

use crate::OnnxError;
use crate::layers::{gelu, layer_norm};
use crate::nodes::{Nodes, int, ints};

/// Number added to the scores of later positions: the softmax makes 0 of it, and nothing
/// overflows.
const LATER: f32 = -1e30;

/// The features at the last position.
pub fn last_step(input: Shape, nodes: &mut Nodes<'_>) {
    let [positions, _] = dims(input);
    let (value, last) = (nodes.value.clone(), nodes.index("last", i64::from(positions) - 1));
    nodes.output("Gather", &[&value, &last], vec![int("axis", 1)]);
}

/// Causal self-attention to `value`; returns its output.
pub fn attention(
    heads: u32,
    input: Shape,
    value: &str,
    nodes: &mut Nodes<'_>,
) -> Result<String, OnnxError> {
    let [positions, width] = dims(input);
    let size = width / heads;
    let [p, w, h, s] = [positions, width, heads, size].map(i64::from);
    let qkv = projected("qkv", value, nodes)?;
    // Queries, keys and values of the heads: [batch, positions, 3, heads, size], then
    // [3, batch, heads, positions, size].
    let apart = nodes.shape("apart", &[-1, p, 3, h, s]);
    let apart = nodes.step("heads", "Reshape", &[&qkv, &apart], vec![]);
    let parts = nodes.step("parts", "Transpose", &[&apart], vec![ints("perm", &[2, 0, 3, 1, 4])]);
    let mut part = |name: &str, index: i64| {
        let index = nodes.index(&format!("{name}_part"), index);
        nodes.step(name, "Gather", &[&parts, &index], vec![int("axis", 0)])
    };
    let (queries, keys, values) = (part("queries", 0), part("keys", 1), part("values", 2));
    let scale = nodes.number("scale", 1.0 / (size as f32).sqrt());
    let scaled = nodes.step("scaled_queries", "Mul", &[&queries, &scale], vec![]);
    let perm = vec![ints("perm", &[0, 1, 3, 2])];
    let keys = nodes.step("transposed_keys", "Transpose", &[&keys], perm);
    let scores = nodes.step("scores", "MatMul", &[&scaled, &keys], vec![]);
    let mask: Vec<f32> = (0..positions)
        .flat_map(|at| (0..positions).map(move |to| if to > at { LATER } else { 0.0 }))
        .collect();
    let mask = nodes.fixed("mask", &[p, p], &mask);
    let masked = nodes.step("masked", "Add", &[&scores, &mask], vec![]);
    let weights = nodes.step("weights", "Softmax", &[&masked], vec![int("axis", -1)]);
    let mixed = nodes.step("mixed", "MatMul", &[&weights, &values], vec![]);
    let perm = vec![ints("perm", &[0, 2, 1, 3])];
    let mixed = nodes.step("positions", "Transpose", &[&mixed], perm);
    let together = nodes.shape("together", &[-1, p, w]);
    let together = nodes.step("side_by_side", "Reshape", &[&mixed, &together], vec![]);
    projected("projection", &together, nodes)
}

/// A block of a transformer.
pub fn block(heads: u32, input: Shape, nodes: &mut Nodes<'_>) -> Result<(), OnnxError> {
    let value = nodes.value.clone();
    let epsilon = TransformerBlock::EPSILON;
    let normed = layer_norm("attention_norm", epsilon, &value, nodes)?;
    let attended = attention(heads, input, &normed, nodes)?;
    let value = nodes.step("attended", "Add", &[&value, &attended], vec![]);
    let normed = layer_norm("norm", epsilon, &value, nodes)?;
    let hidden = projected("hidden", &normed, nodes)?;
    let hidden = gelu("gelu", &hidden, nodes);
    let added = projected("linear", &hidden, nodes)?;
    nodes.output("Add", &[&value, &added], vec![]);
    Ok(())
}

/// `value` times the next trained tensor, with the one after it as bias.
fn projected(name: &str, value: &str, nodes: &mut Nodes<'_>) -> Result<String, OnnxError> {
    let (weight, bias) = (nodes.trained()?, nodes.trained()?);
    let product = nodes.step(&format!("{name}_product"), "MatMul", &[value, &weight], vec![]);
    Ok(nodes.step(name, "Add", &[&product, &bias], vec![]))
}

/// Kind of a recurrent layer.
#[derive(Clone, Copy)]
pub enum Cell {
    Gru,
    Lstm,
}

/// A recurrent layer. Its tensors are rearranged: ONNX has the gates in another order, the
/// outputs of weights before their inputs, and both biases in one tensor.
pub fn recurrent(cell: Cell, units: u32, nodes: &mut Nodes<'_>) -> Result<(), OnnxError> {
    // Places of ONNX's gates, zrn and iofc, among ours, rzn and ifgo.
    let (operator, order): (_, &[usize]) = match cell {
        Cell::Gru => ("GRU", &[1, 0, 2]),
        Cell::Lstm => ("LSTM", &[0, 3, 1, 2]),
    };
    let ([input, input_bias], [hidden, hidden_bias]) =
        ([nodes.next()?.1, nodes.next()?.1], [nodes.next()?.1, nodes.next()?.1]);
    let size = units as usize;
    let width = order.len() * size;
    let columns = || order.iter().flat_map(move |gate| gate * size..(gate + 1) * size);
    let transposed = |weight: &[f32]| -> Vec<f32> {
        let column = |column| weight.iter().skip(column).step_by(width).copied();
        columns().flat_map(column).collect()
    };
    let bias = [input_bias, hidden_bias].map(|bias| columns().map(move |at| bias[at]));
    let bias: Vec<f32> = bias.into_iter().flatten().collect();
    let inputs = input.len() / width;
    let [rows, inputs, units] = [width, inputs, size].map(|size| size as i64);
    let w = nodes.fixed("W", &[1, rows, inputs], &transposed(input));
    let r = nodes.fixed("R", &[1, rows, units], &transposed(hidden));
    let b = nodes.fixed("B", &[1, 2 * rows], &bias);
    // One position after the other: [positions, batch, width]. Out of the operator come
    // [positions, directions, batch, units].
    let value = nodes.value.clone();
    let x = nodes.step("steps", "Transpose", &[&value], vec![ints("perm", &[1, 0, 2])]);
    let mut attributes = vec![int("hidden_size", units)];
    if let Cell::Gru = cell {
        attributes.push(int("linear_before_reset", 1));
    }
    let y = nodes.step("states", operator, &[&x, &w, &r, &b], attributes);
    let direction = nodes.shape("direction", &[1]);
    let y = nodes.step("forward", "Squeeze", &[&y, &direction], vec![]);
    nodes.output("Transpose", &[&y], vec![ints("perm", &[1, 0, 2])]);
    Ok(())
}

/// `[positions, width]` of a sequence.
fn dims(shape: Shape) -> [u32; 2] {
    match shape {
        Shape::Sequence { positions, width } => [positions, width],
        _ => unreachable!("a checked specification gives this layer a sequence"),
    }
}
