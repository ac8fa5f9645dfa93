//! Causal self-attention.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use fedra_kernels::Activation as Function;
use fedra_protocol::layers as spec;

use super::activation::{Activation, tensor};
use super::linear::{Linear, connected};
use super::parameters::{Parameters, TrainedTensor};
use super::{LayerModule, Mode};
use crate::kernels;

/// The two projections, and what is between them.
#[derive(Module, Debug)]
pub(crate) struct CausalSelfAttention {
    /// To queries, keys and values, `[width, 3 * width]`.
    qkv: Linear,
    projection: Linear,
    heads: usize,
}

impl CausalSelfAttention {
    /// An attention of so many heads.
    pub fn of_heads(heads: u32, parameters: &mut Parameters<'_>) -> Self {
        let (qkv, projection) = (Linear::next(parameters), Linear::next(parameters));
        Self { qkv, projection, heads: heads as usize }
    }
}

impl LayerModule for CausalSelfAttention {
    type Spec = spec::CausalSelfAttention;

    fn build(spec: &spec::CausalSelfAttention, parameters: &mut Parameters<'_>) -> Self {
        Self::of_heads(spec.heads, parameters)
    }

    fn apply(&self, input: Activation, mode: &mut Mode<'_>) -> Activation {
        let qkv = connected(&self.qkv, input, Function::Identity, mode).sequence();
        let [batch, positions, columns] = qkv.dims();
        let (width, size) = (columns / 3, columns / 3 / self.heads);
        // The heads of the queries, then of the keys, then of the values.
        let qkv = qkv.reshape([batch, positions, 3 * self.heads, size]).swap_dims(1, 2);
        let part = |index: usize| qkv.clone().narrow(1, index * self.heads, self.heads);
        let queries = part(0).mul_scalar(1.0 / (size as f32).sqrt());
        let scores = kernels::matmul(queries, part(1).swap_dims(2, 3));
        let mask = causal_mask(positions, &scores);
        let mixed = kernels::matmul(softmax(scores + mask, 3), part(2)).swap_dims(1, 2);
        let mixed = Activation::Sequence(mixed.reshape([batch, positions, width]));
        connected(&self.projection, mixed, Function::Identity, mode)
    }

    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        [self.qkv.trained(), self.projection.trained()].concat()
    }
}

/// Minus infinity for each later position: `[1, 1, positions, positions]`.
fn causal_mask(positions: usize, scores: &Tensor<4>) -> Tensor<4> {
    let later = |index: usize| index % positions > index / positions;
    let value = |index| if later(index) { f32::NEG_INFINITY } else { 0.0 };
    let values = (0..positions * positions).map(value).collect();
    tensor(values, &[1, 1, positions, positions], &scores.device())
}
