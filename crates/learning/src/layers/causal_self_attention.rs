//! Causal self-attention.

use burn::module::Module;
use fedra_kernels::{Activation as Function, Attention};
use fedra_protocol::layers as spec;

use super::activation::Activation;
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
        let width = columns / 3;
        let layer = Attention { batch, positions, heads: self.heads, size: width / self.heads };
        let mixed = kernels::attention(layer, qkv.flatten(0, 1));
        let mixed = Activation::Sequence(mixed.reshape([batch, positions, width]));
        connected(&self.projection, mixed, Function::Identity, mode)
    }

    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        [self.qkv.trained(), self.projection.trained()].concat()
    }
}
