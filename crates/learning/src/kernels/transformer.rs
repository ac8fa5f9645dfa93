//! Layers of transformers: causal self-attention, layer normalisation and GELU.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use fedra_kernels::{Attention, Kernels};

use super::{Operand, contiguous, recorded};

/// Output of the heads of a causal self-attention, `[batch * positions, width]`, from queries,
/// keys and values side by side: `projected: [batch * positions, 3 * width]`.
pub(crate) fn attention(layer: Attention, projected: Tensor<2>) -> Tensor<2> {
    let projected = Operand::of(projected);
    let values = projected.values().to_contiguous();
    let output = Kernels::best().attention(layer, values.storage());
    let dims = [layer.batch * layer.positions, layer.heads * layer.size];
    let state = AttentionState { layer, projected: values };
    recorded(AttentionStep, [&projected], contiguous(output, &dims), state).tensor()
}

#[derive(Debug)]
struct AttentionStep;

#[derive(Clone, Debug)]
struct AttentionState {
    layer: Attention,
    projected: FlexTensor,
}

impl Backward<Flex, 1> for AttentionStep {
    type State = AttentionState;

    fn backward(
        self,
        ops: Ops<AttentionState, 1>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let AttentionState { layer, projected } = ops.state;
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        if let [Some(node)] = ops.parents {
            let kernels = Kernels::best();
            let found = kernels.attention_gradient(layer, projected.storage(), gradient.storage());
            gradients.register::<Flex>(node.id, contiguous(found, projected.layout().shape()));
        }
    }
}

/// The last dimension of `x` with mean 0 and variance 1, times `gamma` and plus `beta`.
pub(crate) fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f32,
) -> Tensor<D> {
    layer_norm_of(&Operand::of(x), [Operand::of(gamma), Operand::of(beta)], epsilon).tensor()
}

fn layer_norm_of(x: &Operand, [gamma, beta]: [Operand; 2], epsilon: f32) -> Operand {
    let state = LayerNormState {
        x: x.values().to_contiguous(),
        gamma: gamma.values().to_contiguous(),
        epsilon,
    };
    let output = Kernels::best().layer_norm(
        state.x.storage(),
        state.gamma.storage(),
        beta.values().to_contiguous().storage(),
        epsilon,
    );
    let output = contiguous(output, state.x.layout().shape());
    recorded(LayerNormStep, [x, &gamma, &beta], output, state)
}

#[derive(Debug)]
struct LayerNormStep;

#[derive(Clone, Debug)]
struct LayerNormState {
    x: FlexTensor,
    gamma: FlexTensor,
    epsilon: f32,
}

impl Backward<Flex, 3> for LayerNormStep {
    type State = LayerNormState;

    fn backward(
        self,
        ops: Ops<LayerNormState, 3>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let LayerNormState { x, gamma, epsilon } = ops.state;
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let found = Kernels::best().layer_norm_gradient(
            x.storage(),
            gamma.storage(),
            gradient.storage(),
            epsilon,
        );
        let width = gamma.layout().shape();
        let parts = [
            contiguous(found.input, x.layout().shape()),
            contiguous(found.gamma, width),
            contiguous(found.beta, width),
        ];
        for (node, gradient) in ops.parents.into_iter().zip(parts) {
            if let Some(node) = node {
                gradients.register::<Flex>(node.id, gradient);
            }
        }
    }
}

/// GELU of each value.
pub(crate) fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    gelu_of(&Operand::of(x)).tensor()
}

fn gelu_of(x: &Operand) -> Operand {
    let values = x.values().to_contiguous();
    let output = contiguous(Kernels::best().gelu(values.storage()), values.layout().shape());
    recorded(GeluStep, [x], output, values)
}

#[derive(Debug)]
struct GeluStep;

impl Backward<Flex, 1> for GeluStep {
    /// The input.
    type State = FlexTensor;

    fn backward(
        self,
        ops: Ops<FlexTensor, 1>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        if let [Some(node)] = ops.parents {
            let x = ops.state;
            let found = Kernels::best().gelu_gradient(x.storage(), gradient.storage());
            gradients.register::<Flex>(node.id, contiguous(found, x.layout().shape()));
        }
    }
}
