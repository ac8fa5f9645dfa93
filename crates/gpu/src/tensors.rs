//! Places of the flat parameter vector in the layouts of the buffers.

use fedra_protocol::{ModelSpec, TensorInfo};

use crate::grid::Grid;
use crate::kernels::NodeBuffers;
use crate::lower::{Node, Op};

/// A trained tensor: where its values lie in a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tensor {
    /// First value in the flat vector.
    pub start: usize,
    /// Values.
    pub len: usize,
    /// Buffer of the values.
    pub buffer: usize,
    /// Buffer of the velocity.
    pub velocity: Option<usize>,
    /// Buffer with the same values in the layout of [`Tensor::turned_place`].
    pub turned: Option<usize>,
    map: Map,
}

/// Order of a tensor in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Map {
    /// `[inputs, outputs]`, whose inputs are the features of a grid.
    Linear { input: Grid, outputs: u32, lanes: u32 },
    /// `[channels, inputs, kernel, kernel]`.
    Conv { inputs: u32, kernel: u32, in_lanes: u32, out_lanes: u32 },
    /// A row of features of a grid, from `offset` on.
    Features { input: Grid, offset: usize },
    /// A row as it is, from `offset` on.
    Row { offset: usize },
}

impl Tensor {
    /// Place in the buffer of value `index` of the tensor.
    pub fn place(&self, index: usize) -> usize {
        let i = index as u32;
        match self.map {
            Map::Linear { input, outputs, lanes } => {
                input.feature(i / outputs) as usize * lanes as usize + (i % outputs) as usize
            }
            Map::Conv { inputs, kernel, in_lanes, out_lanes } => {
                let taps = kernel * kernel;
                let (tap, input, output) = (i % taps, i / taps % inputs, i / taps / inputs);
                (tap * in_lanes + input) as usize * out_lanes as usize + output as usize
            }
            Map::Features { input, offset } => offset + input.feature(i) as usize,
            Map::Row { offset } => offset + index,
        }
    }

    /// Place of value `index` in the turned copy: taps from the last to the first, inputs
    /// and outputs exchanged. `None` for what is not turned.
    pub fn turned_place(&self, index: usize) -> Option<usize> {
        let Map::Conv { inputs, kernel, in_lanes, out_lanes } = self.map else { return None };
        let (i, taps) = (index as u32, kernel * kernel);
        let (tap, input, output) = (taps - 1 - i % taps, i / taps % inputs, i / taps / inputs);
        Some((tap * out_lanes + output) as usize * in_lanes as usize + input as usize)
    }
}

/// The trained tensors of a model in the order of its layout.
pub(crate) fn tensors(spec: &ModelSpec, nodes: &[Node], buffers: &[NodeBuffers]) -> Vec<Tensor> {
    let lens = spec.layout().iter().map(TensorInfo::len);
    let trained = nodes.iter().zip(buffers).filter(|(node, _)| node.op.trains());
    let maps = trained.flat_map(|(node, buffers)| maps(node).map(|map| (map, buffers)));
    let mut start = 0;
    maps.zip(lens)
        .map(|((map, buffers), len)| {
            let turned = buffers.turned.filter(|_| matches!(map, Map::Conv { .. }));
            let buffer = buffers.parameters.unwrap_or_default();
            let tensor = Tensor { start, len, buffer, velocity: buffers.velocity, turned, map };
            start += len;
            tensor
        })
        .collect()
}

/// The maps of a node's two tensors.
fn maps(node: &Node) -> [Map; 2] {
    let (rows, quads) = node.parameter_shape();
    let bias = Map::Row { offset: (rows as usize).saturating_sub(1) * quads as usize * 4 };
    let input = node.input;
    match node.op {
        Op::Conv { kernel, .. } => {
            let (in_lanes, out_lanes) = (input.lanes, node.made.lanes);
            [Map::Conv { inputs: input.channels, kernel, in_lanes, out_lanes }, bias]
        }
        Op::Norm { .. } => [0, quads as usize * 4].map(|offset| Map::Features { input, offset }),
        _ => {
            let (outputs, lanes) = (node.made.channels, node.made.lanes);
            [Map::Linear { input, outputs, lanes }, bias]
        }
    }
}
