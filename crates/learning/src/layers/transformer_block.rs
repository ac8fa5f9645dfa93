//! Block of a transformer.

use burn::module::Module;
use fedra_kernels::Activation as Function;
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::causal_self_attention::CausalSelfAttention;
use super::layer_norm::LayerNorm;
use super::linear::{Linear, connected};
use super::parameters::{Parameters, TrainedTensor};
use super::{LayerModule, Mode};
use crate::kernels;

/// An attention and two linear layers, each behind a norm and beside what came in.
#[derive(Module, Debug)]
pub(crate) struct TransformerBlock {
    attention: CausalSelfAttention,
    /// Before the attention, and before the linear layers.
    norms: Vec<LayerNorm>,
    /// To the hidden values, and back.
    linears: Vec<Linear>,
}

impl LayerModule for TransformerBlock {
    type Spec = spec::TransformerBlock;

    fn build(spec: &spec::TransformerBlock, parameters: &mut Parameters<'_>) -> Self {
        let norm = spec::LayerNorm { epsilon: spec::TransformerBlock::EPSILON };
        let mut norms = vec![LayerNorm::build(&norm, parameters)];
        let attention = CausalSelfAttention::of_heads(spec.heads, parameters);
        norms.push(LayerNorm::build(&norm, parameters));
        let linears = vec![Linear::next(parameters), Linear::next(parameters)];
        Self { attention, norms, linears }
    }

    fn apply(&self, input: Activation, mode: &mut Mode<'_>) -> Activation {
        let normed = self.norms[0].apply(input.clone(), mode);
        let attended = self.attention.apply(normed, mode);
        let x = input.sequence() + attended.sequence();
        let normed = self.norms[1].apply(Activation::Sequence(x.clone()), mode);
        let hidden = connected(&self.linears[0], normed, Function::Identity, mode).sequence();
        let hidden = Activation::Sequence(kernels::gelu(hidden));
        let output = connected(&self.linears[1], hidden, Function::Identity, mode);
        Activation::Sequence(x + output.sequence())
    }

    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        [
            self.norms[0].trained(),
            self.attention.trained(),
            self.norms[1].trained(),
            self.linears[0].trained(),
            self.linears[1].trained(),
        ]
        .concat()
    }
}
