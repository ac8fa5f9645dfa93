//! Own kernels as operations that burn records and differentiates.
//!
//! A tensor of the CPU is taken out of burn's dispatch (its feature `extension`), and the
//! output put back with a backward step. Everything else of a model stays burn's, which is
//! also the reference that the tests hold these operations to. Tensors of images keep the
//! kernels' order in memory, channels last, under burn's shape, channels first.
//!
//! The only place of this crate that knows how burn's CPU backend stores a tensor.

mod products;
mod transformer;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{Bytes, DType, Shape, Tensor};
use fedra_kernels::{
    Activation, ConvolutionBlock, Kernels, Linear, MaxPool, MeanPool, Recurrent, Sgd, States,
};

pub(crate) use products::matmul;
pub(crate) use transformer::{attention, gelu, layer_norm};

/// Reason why a tensor is never one of another backend.
const TAKEN: &str = "this crate has tensors of the CPU alone";

/// A tensor of any rank outside of burn's dispatch.
enum Operand {
    Plain(FlexTensor),
    Recorded(FloatTensor<Autodiff<Flex>>),
}

impl Operand {
    fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        if tensor.device().is_autodiff() {
            Self::Recorded(tensor.try_into_primitive::<Autodiff<Flex>>().expect(TAKEN))
        } else {
            Self::Plain(tensor.try_into_primitive::<Flex>().expect(TAKEN))
        }
    }

    fn values(&self) -> &FlexTensor {
        match self {
            Self::Plain(values) => values,
            Self::Recorded(tensor) => tensor.primitive(),
        }
    }

    fn node(&self) -> Option<NodeGuard> {
        match self {
            Self::Plain(_) => None,
            Self::Recorded(tensor) => Some(tensor.node()),
        }
    }

    fn tensor<const D: usize>(self) -> Tensor<D> {
        match self {
            Self::Plain(values) => Tensor::from_primitive::<Flex>(values),
            Self::Recorded(tensor) => Tensor::from_primitive::<Autodiff<Flex>>(tensor),
        }
    }
}

/// The output as a tensor, recorded with `operation` if the operands are recorded, which
/// then all have to be. The state is what its backward step takes.
fn recorded<O: Backward<Flex, N>, const N: usize>(
    operation: O,
    operands: [&Operand; N],
    output: FlexTensor,
    state: O::State,
) -> Operand {
    let nodes: Vec<NodeGuard> = operands.into_iter().filter_map(Operand::node).collect();
    let Ok(nodes) = <[NodeGuard; N]>::try_from(nodes) else {
        return Operand::Plain(output);
    };
    let prepared = operation.prepare::<NoCheckpointing>(nodes).compute_bound().stateful();
    Operand::Recorded(match prepared {
        OpsKind::Tracked(prepared) => prepared.finish(state, output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    })
}

fn contiguous(values: Vec<f32>, dims: &[usize]) -> FlexTensor {
    let layout = Layout::contiguous(Shape::from(dims.to_vec()));
    FlexTensor::new(Bytes::from_elems(values), layout, DType::F32)
}

/// The images of a tensor `[batch, channels, height, width]` with the channels last, copied
/// if they are not in that order already.
fn channels_last(images: &FlexTensor) -> FlexTensor {
    images.clone().with_layout(images.layout().permute(&[0, 2, 3, 1])).to_contiguous()
}

/// The same tensor in burn's order of dimensions.
fn channels_first(images: FlexTensor) -> FlexTensor {
    let layout = images.layout().permute(&[0, 3, 1, 2]);
    images.with_layout(layout)
}

/// A convolution with its activation and pooling.
///
/// `x: [batch, inputs, height, width]`, `weight: [outputs, inputs, height, width]`.
pub(crate) fn convolution(
    block: ConvolutionBlock,
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
) -> Tensor<4> {
    let [batch, ..] = x.dims();
    let [x, weight, bias] = [Operand::of(x), Operand::of(weight), Operand::of(bias)];
    let state = ConvolutionState {
        block,
        x: channels_last(x.values()),
        weight: weight.values().to_contiguous(),
        output: contiguous(Vec::new(), &[0]),
        chosen: Vec::new(),
    };
    let output = Kernels::best().convolution(
        block,
        state.x.storage(),
        state.weight.storage(),
        bias.values().to_contiguous().storage(),
    );
    let [rows, columns] = block.output();
    let values = contiguous(output.values, &[batch, rows, columns, block.convolution.outputs]);
    let state = ConvolutionState { output: values.clone(), chosen: output.chosen, ..state };
    let output = channels_first(values);
    recorded(ConvolutionStep, [&x, &weight, &bias], output, state).tensor()
}

#[derive(Debug)]
struct ConvolutionStep;

#[derive(Clone, Debug)]
struct ConvolutionState {
    block: ConvolutionBlock,
    x: FlexTensor,
    weight: FlexTensor,
    output: FlexTensor,
    chosen: Vec<u32>,
}

impl Backward<Flex, 3> for ConvolutionStep {
    type State = ConvolutionState;

    fn backward(
        self,
        ops: Ops<ConvolutionState, 3>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let ConvolutionState { block, x, weight, output, chosen } = ops.state;
        let gradient = channels_last(&gradients.consume::<Flex>(&ops.node));
        let [x_node, weight_node, bias_node] = ops.parents;
        let found = Kernels::best().convolution_gradient(
            block,
            x.storage(),
            weight.storage(),
            output.storage(),
            &chosen,
            gradient.storage(),
            x_node.is_some(),
        );
        if let (Some(node), Some(input)) = (x_node, found.input) {
            let input = contiguous(input, x.layout().shape());
            gradients.register::<Flex>(node.id, channels_first(input));
        }
        if let Some(node) = weight_node {
            let weight = contiguous(found.weight, weight.layout().shape());
            gradients.register::<Flex>(node.id, weight);
        }
        if let Some(node) = bias_node {
            let bias = contiguous(found.bias, &[block.convolution.outputs]);
            gradients.register::<Flex>(node.id, bias);
        }
    }
}

/// A fully connected layer with its activation: `x: [batch, inputs]`,
/// `weight: [inputs, outputs]`.
///
/// With a `probe: [batch, outputs]`, whose values do not matter, the gradient of the weights
/// is left as two factors: the input, and what the probe gets as its gradient. Their product
/// is taken by [`weight_step`].
pub(crate) fn linear(
    activation: Activation,
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    probe: Option<Tensor<2>>,
) -> Tensor<2> {
    let ([batch, inputs], [_, outputs]) = (x.dims(), weight.dims());
    let layer = Linear { batch, inputs, outputs, activation };
    let [x, weight, bias] = [Operand::of(x), Operand::of(weight), Operand::of(bias)];
    let (x_values, weight_values) = (x.values().to_contiguous(), weight.values().to_contiguous());
    let output = Kernels::best().linear(
        layer,
        x_values.storage(),
        weight_values.storage(),
        bias.values().to_contiguous().storage(),
    );
    let output = contiguous(output, &[batch, outputs]);
    let state = LinearState { layer, x: x_values, weight: weight_values, output: output.clone() };
    let step = LinearStep { has_probe: probe.is_some() };
    let learns = probe.map_or(weight, Operand::of);
    recorded(step, [&x, &learns, &bias], output, state).tensor()
}

/// The second operand is the weights, or a probe in their place.
#[derive(Debug)]
struct LinearStep {
    has_probe: bool,
}

#[derive(Clone, Debug)]
struct LinearState {
    layer: Linear,
    x: FlexTensor,
    weight: FlexTensor,
    output: FlexTensor,
}

impl Backward<Flex, 3> for LinearStep {
    type State = LinearState;

    fn backward(
        self,
        ops: Ops<LinearState, 3>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let LinearState { layer, x, weight, output } = ops.state;
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let [x_node, learns, bias_node] = ops.parents;
        let found = Kernels::best().linear_gradient(
            layer,
            weight.storage(),
            output.storage(),
            gradient.storage(),
            x_node.is_some(),
        );
        if let (Some(node), Some(input)) = (x_node, found.input) {
            gradients.register::<Flex>(node.id, contiguous(input, &[layer.batch, layer.inputs]));
        }
        if let Some(node) = learns {
            let sums = match found.sums {
                Some(sums) => contiguous(sums, &[layer.batch, layer.outputs]),
                None => gradient,
            };
            let gradient = if self.has_probe {
                sums
            } else {
                let weight = Kernels::best().weight_gradient(layer, x.storage(), sums.storage());
                contiguous(weight, &[layer.inputs, layer.outputs])
            };
            gradients.register::<Flex>(node.id, gradient);
        }
        if let Some(node) = bias_node {
            gradients.register::<Flex>(node.id, contiguous(found.bias, &[layer.outputs]));
        }
    }
}

/// The hidden states of a recurrent layer, `[steps * batch, units]`, one step after the other,
/// from `projected: [steps * batch, gates * units]` and `weight: [units, gates * units]`.
pub(crate) fn recurrent(
    layer: Recurrent,
    projected: Tensor<2>,
    weight: Tensor<2>,
    bias: Tensor<1>,
) -> Tensor<2> {
    let [projected, weight, bias] =
        [Operand::of(projected), Operand::of(weight), Operand::of(bias)];
    let values = weight.values().to_contiguous();
    let mut states = Kernels::best().recurrent(
        layer,
        projected.values().to_contiguous().storage(),
        values.storage(),
        bias.values().to_contiguous().storage(),
    );
    let (rows, units) = (layer.steps * layer.batch, layer.units);
    let output = match projected {
        Operand::Plain(_) => std::mem::take(&mut states.hidden),
        Operand::Recorded(_) => states.hidden.clone(),
    };
    let state = RecurrentState { layer, weight: values, states };
    let output = contiguous(output, &[rows, units]);
    recorded(RecurrentStep, [&projected, &weight, &bias], output, state).tensor()
}

#[derive(Debug)]
struct RecurrentStep;

#[derive(Clone, Debug)]
struct RecurrentState {
    layer: Recurrent,
    weight: FlexTensor,
    states: States,
}

impl Backward<Flex, 3> for RecurrentStep {
    type State = RecurrentState;

    fn backward(
        self,
        ops: Ops<RecurrentState, 3>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let RecurrentState { layer, weight, states } = ops.state;
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let found = Kernels::best().recurrent_gradient(
            layer,
            weight.storage(),
            &states,
            gradient.storage(),
        );
        let (rows, columns) = (layer.steps * layer.batch, found.bias.len());
        let parts = [
            contiguous(found.projected, &[rows, columns]),
            contiguous(found.weight, &[layer.units, columns]),
            contiguous(found.bias, &[columns]),
        ];
        for (node, gradient) in ops.parents.into_iter().zip(parts) {
            if let Some(node) = node {
                gradients.register::<Flex>(node.id, gradient);
            }
        }
    }
}

/// The sum over the rows of the cross-entropy of `logits` against `targets`, both
/// `[rows, width]`. Targets have no gradient.
pub(crate) fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let [_, width] = logits.dims();
    let shape = logits.dims();
    let (logits, targets) = (Operand::of(logits), Operand::of(targets));
    let found = Kernels::best().cross_entropy(
        width,
        logits.values().to_contiguous().storage(),
        targets.values().to_contiguous().storage(),
    );
    let state = contiguous(found.gradient, &shape);
    recorded(LossStep, [&logits], contiguous(vec![found.loss], &[1]), state).tensor()
}

/// A loss of the output y with this index and its target t, and its derivative by y.
pub(crate) type Term<'a> = dyn Fn(usize, f64, f64) -> (f64, f64) + 'a;

/// The sum over all values of a loss that looks at each by itself: `term` gives the loss of
/// an output and its target, and the derivative by the output. Targets have no gradient.
pub(crate) fn sum_of_terms(outputs: Tensor<2>, targets: Tensor<2>, term: &Term<'_>) -> Tensor<1> {
    let shape = outputs.dims();
    let (outputs, targets) = (Operand::of(outputs), Operand::of(targets));
    let (values, wanted) = (outputs.values().to_contiguous(), targets.values().to_contiguous());
    let pairs = values.storage::<f32>().iter().zip(wanted.storage::<f32>());
    let mut sum = 0.0;
    let slopes = pairs.enumerate().map(|(index, (&output, &target))| {
        let (loss, slope) = term(index % shape[1], output.into(), target.into());
        sum += loss;
        slope as f32
    });
    let state = contiguous(slopes.collect(), &shape);
    recorded(LossStep, [&outputs], contiguous(vec![sum as f32], &[1]), state).tensor()
}

#[derive(Debug)]
struct LossStep;

impl Backward<Flex, 1> for LossStep {
    /// Gradient of the sum by the outputs.
    type State = FlexTensor;

    fn backward(
        self,
        ops: Ops<FlexTensor, 1>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let scale = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let scale = scale.storage::<f32>()[0];
        let [node] = ops.parents;
        let mut gradient = ops.state;
        gradient.storage_mut::<f32>().iter_mut().for_each(|value| *value *= scale);
        if let Some(node) = node {
            gradients.register::<Flex>(node.id, gradient);
        }
    }
}

/// Maximum over windows: `x: [batch, channels, height, width]`.
pub(crate) fn max_pool(pool: MaxPool, x: Tensor<4>) -> Tensor<4> {
    let (dims, x) = (x.dims(), Operand::of(x));
    let images = channels_last(x.values());
    let (values, chosen) = pool.pool([dims[2], dims[3]], dims[1], images.storage());
    let output = pooled(values, dims, pool.output([dims[2], dims[3]]));
    recorded(MaxPoolStep, [&x], output, MaxPoolState { pool, dims, chosen }).tensor()
}

#[derive(Debug)]
struct MaxPoolStep;

#[derive(Clone, Debug)]
struct MaxPoolState {
    pool: MaxPool,
    dims: [usize; 4],
    chosen: Vec<u32>,
}

impl Backward<Flex, 1> for MaxPoolStep {
    type State = MaxPoolState;

    fn backward(
        self,
        ops: Ops<MaxPoolState, 1>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let MaxPoolState { pool, dims, chosen } = ops.state;
        let gradient = channels_last(&gradients.consume::<Flex>(&ops.node));
        if let [Some(node)] = ops.parents {
            let size = [dims[2], dims[3]];
            let images = pool.gradient(size, dims[1], &chosen, gradient.storage());
            gradients.register::<Flex>(node.id, pooled(images, dims, size));
        }
    }
}

/// Mean over windows: `x: [batch, channels, height, width]`.
pub(crate) fn mean_pool(pool: MeanPool, x: Tensor<4>) -> Tensor<4> {
    let (dims, x) = (x.dims(), Operand::of(x));
    let values = pool.pool([dims[2], dims[3]], dims[1], channels_last(x.values()).storage());
    let output = pooled(values, dims, pool.output([dims[2], dims[3]]));
    recorded(MeanPoolStep, [&x], output, MeanPoolState { pool, dims }).tensor()
}

#[derive(Debug)]
struct MeanPoolStep;

#[derive(Clone, Debug)]
struct MeanPoolState {
    pool: MeanPool,
    dims: [usize; 4],
}

impl Backward<Flex, 1> for MeanPoolStep {
    type State = MeanPoolState;

    fn backward(
        self,
        ops: Ops<MeanPoolState, 1>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let MeanPoolState { pool, dims } = ops.state;
        let gradient = channels_last(&gradients.consume::<Flex>(&ops.node));
        if let [Some(node)] = ops.parents {
            let size = [dims[2], dims[3]];
            let images = pool.gradient(size, dims[1], gradient.storage());
            gradients.register::<Flex>(node.id, pooled(images, dims, size));
        }
    }
}

/// Images of another size than `dims` from their values, channels last.
fn pooled(values: Vec<f32>, dims: [usize; 4], [height, width]: [usize; 2]) -> FlexTensor {
    channels_first(contiguous(values, &[dims[0], height, width, dims[1]]))
}

/// Rows of a table by their numbers: `table: [rows, width]`, output `[ids, width]`. Panics on
/// a number beyond the table.
pub(crate) fn rows(table: Tensor<2>, ids: &[u32]) -> Tensor<2> {
    let dims = table.dims();
    let table = Operand::of(table);
    let values = table.values().to_contiguous();
    let output =
        contiguous(fedra_data::rows(values.storage(), dims[1], ids), &[ids.len(), dims[1]]);
    recorded(RowsStep, [&table], output, RowsState { ids: ids.to_vec(), dims }).tensor()
}

#[derive(Debug)]
struct RowsStep;

#[derive(Clone, Debug)]
struct RowsState {
    ids: Vec<u32>,
    dims: [usize; 2],
}

impl Backward<Flex, 1> for RowsStep {
    type State = RowsState;

    fn backward(
        self,
        ops: Ops<RowsState, 1>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let RowsState { ids, dims } = ops.state;
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let [node] = ops.parents;
        if let Some(node) = node {
            let table = sum_of_rows(gradient.storage(), &ids, dims);
            gradients.register::<Flex>(node.id, contiguous(table, &dims));
        }
    }
}

/// A table of zeros with each of `rows` added to the row that `ids` names.
pub(crate) fn sum_of_rows(rows: &[f32], ids: &[u32], [count, width]: [usize; 2]) -> Vec<f32> {
    let mut table = vec![0.0; count * width];
    for (row, &id) in rows.chunks_exact(width).zip(ids) {
        let sum = &mut table[id as usize * width..][..width];
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    table
}

/// `weights` without autodiff after `update` of their values along a gradient, in place unless
/// another tensor shares them.
pub(crate) fn updated<const D: usize>(
    weights: Tensor<D>,
    gradient: Tensor<D>,
    update: impl FnOnce(&mut [f32], &[f32]),
) -> Tensor<D> {
    let gradient = plain(gradient);
    let mut weights = plain(weights);
    update(weights.storage_mut(), gradient.storage());
    Tensor::from_primitive::<Flex>(weights)
}

/// Sum of the squares of a tensor without autodiff.
pub(crate) fn square_sum<const D: usize>(tensor: Tensor<D>) -> f64 {
    let tensor = plain(tensor);
    let mut sums = [0.0; 8];
    for values in tensor.storage::<f32>().chunks(sums.len()) {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    sums.iter().sum()
}

/// `weights` without autodiff after a step of SGD along a gradient that is the product of `x: [batch, inputs]`, transposed, with
/// `sums: [batch, outputs]`.
pub(crate) fn weight_step<const D: usize>(
    step: Sgd,
    weights: Tensor<D>,
    [x, sums]: [Tensor<2>; 2],
    velocity: Option<&mut [f32]>,
) -> Tensor<D> {
    let (mut weights, x, sums) = (plain(weights), plain(x), plain(sums));
    let [[batch, inputs], [_, outputs]] = [&x, &sums].map(|rows| rows.layout().shape().dims());
    let layer = Linear { batch, inputs, outputs, activation: Activation::Identity };
    let values = weights.storage_mut();
    Kernels::best().weight_step(layer, step, x.storage(), sums.storage(), values, velocity);
    Tensor::from_primitive::<Flex>(weights)
}

/// A tensor without autodiff outside of burn's dispatch.
fn plain<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    tensor.try_into_primitive::<Flex>().expect(TAKEN).to_contiguous()
}
