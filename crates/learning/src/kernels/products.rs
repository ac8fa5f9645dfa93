//! Products of matrices, by the kernel of linear layers.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use fedra_kernels::{Activation, Kernels, Linear};

use super::{Operand, contiguous, recorded};

/// Products of matrices: `a: [.., rows, inputs]` times `b: [.., inputs, columns]`, whose other
/// dimensions are the same.
///
/// burn's own would bring matrix products of every type of numbers into the module.
pub(crate) fn matmul<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    let (of_a, of_b) = (a.dims(), b.dims());
    let layer = Linear {
        batch: of_a[D - 2],
        inputs: of_a[D - 1],
        outputs: of_b[D - 1],
        activation: Activation::Identity,
    };
    let [a, b] = [Operand::of(a), Operand::of(b)];
    let state = MatmulState { layer, a: a.values().to_contiguous(), b: b.values().to_contiguous() };
    let bias = vec![0.0; layer.outputs];
    let products = state.pairs().flat_map(|(a, b)| Kernels::best().linear(layer, a, b, &bias));
    let mut dims = of_a;
    dims[D - 1] = layer.outputs;
    let output = contiguous(products.collect(), &dims);
    recorded(MatmulStep, [&a, &b], output, state).tensor()
}

#[derive(Debug)]
struct MatmulStep;

#[derive(Clone, Debug)]
struct MatmulState {
    layer: Linear,
    a: FlexTensor,
    b: FlexTensor,
}

impl MatmulState {
    /// Each matrix of `a` with that of `b`.
    fn pairs(&self) -> impl Iterator<Item = (&[f32], &[f32])> {
        let Linear { batch, inputs, outputs, .. } = self.layer;
        let of_a = self.a.storage::<f32>().chunks_exact(batch * inputs);
        of_a.zip(self.b.storage().chunks_exact(inputs * outputs))
    }
}

impl Backward<Flex, 2> for MatmulStep {
    type State = MatmulState;

    fn backward(
        self,
        ops: Ops<MatmulState, 2>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let MatmulState { layer, a, b } = &ops.state;
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let of_outputs = || gradient.storage::<f32>().chunks_exact(layer.batch * layer.outputs);
        let [a_node, b_node] = ops.parents;
        if let Some(node) = a_node {
            let found = ops.state.pairs().zip(of_outputs()).flat_map(|((_, b), gradient)| {
                let found = Kernels::best().linear_gradient(*layer, b, gradient, gradient, true);
                found.input.unwrap_or_default()
            });
            let found = contiguous(found.collect(), a.layout().shape());
            gradients.register::<Flex>(node.id, found);
        }
        if let Some(node) = b_node {
            let found = ops.state.pairs().zip(of_outputs()).flat_map(|((a, _), gradient)| {
                Kernels::best().weight_gradient(*layer, a, gradient)
            });
            let found = contiguous(found.collect(), b.layout().shape());
            gradients.register::<Flex>(node.id, found);
        }
    }
}
