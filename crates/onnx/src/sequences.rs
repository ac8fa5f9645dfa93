//! Operators of layers that look at more than one position of a sequence.

use fedra_protocol::Shape;

use crate::nodes::{Nodes, int};

/// The features at the last position.
pub fn last_step(input: Shape, nodes: &mut Nodes<'_>) {
    let [positions, _] = dims(input);
    let (value, last) = (nodes.value.clone(), nodes.index("last", positions - 1));
    nodes.output("Gather", &[&value, &last], vec![int("axis", 1)]);
}

/// `[positions, width]` of a sequence.
fn dims(shape: Shape) -> [i64; 2] {
    match shape {
        Shape::Sequence { positions, width } => [positions, width].map(i64::from),
        _ => unreachable!("a checked specification gives this layer a sequence"),
    }
}
