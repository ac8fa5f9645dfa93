//! Embedding of token ids.

use burn::module::Param;
use burn::nn::Embedding;
use burn::tensor::{Bool, Gradients, Tensor};
use fedra_protocol::layers as spec;

use super::activation::{Activation, Tokens, tensor};
use super::example_gradient::{ExampleGradient, GRADIENT, Tap, probed, without};
use super::parameters::{ParameterSum, Parameters, TrainedTensor};
use super::{LayerModule, Mode};
use crate::kernels;
use crate::network::read;

impl LayerModule for Embedding {
    type Spec = spec::Embedding;

    const EXAMPLE_GRADIENT: bool = true;

    fn build(_spec: &spec::Embedding, parameters: &mut Parameters<'_>) -> Self {
        Self { weight: parameters.next() }
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        Activation::Sequence(rows(self, &input.tokens()))
    }

    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        vec![&self.weight]
    }

    fn tap(&self, input: Activation, _mode: &mut Mode<'_>) -> (Activation, Option<Box<dyn Tap>>) {
        let tokens = input.tokens();
        let (output, probe) = probed(rows(self, &tokens));
        let tap = EmbeddingTap { weights: self.weight.clone(), tokens, probe };
        (Activation::Sequence(output), Some(Box::new(tap)))
    }
}

/// Rows of the table, `[batch, positions, width]`.
fn rows(layer: &Embedding, tokens: &Tokens) -> Tensor<3> {
    let rows = kernels::rows(layer.weight.val(), &tokens.ids);
    let ([ids, width], positions) = (rows.dims(), tokens.positions);
    rows.reshape([ids / positions, positions, width])
}

/// Token ids, and the probe at the output.
struct EmbeddingTap {
    weights: Param<Tensor<2>>,
    tokens: Tokens,
    probe: Tensor<3>,
}

impl Tap for EmbeddingTap {
    /// The gradient of a row of the table is the sum over the positions of its token. It
    /// stands at the first of them, zeros at the others: what is measured is what is added.
    fn gradient(self: Box<Self>, gradients: &Gradients) -> Box<dyn ExampleGradient> {
        let output = self.probe.grad(gradients).expect(GRADIENT);
        let ([_, positions, width], device) = (output.dims(), output.device());
        let dims = output.dims();
        let mut rows = read(output);
        let examples = rows.chunks_exact_mut(positions * width);
        for (rows, ids) in examples.zip(self.tokens.ids.chunks_exact(positions)) {
            for position in 1..positions {
                let first = ids.iter().position(|id| *id == ids[position]);
                let Some(first) = first.filter(|&first| first < position) else { continue };
                let (before, from) = rows.split_at_mut(position * width);
                let (sum, row) = (&mut before[first * width..][..width], &mut from[..width]);
                sum.iter_mut().zip(&*row).for_each(|(sum, value)| *sum += value);
                row.fill(0.0);
            }
        }
        let rows = tensor(rows, &dims, &device);
        Box::new(EmbeddingGradient { weights: self.weights, tokens: self.tokens, rows })
    }
}

/// `rows: [batch, positions, width]`, each the gradient of the table's row that `tokens`
/// names.
struct EmbeddingGradient {
    weights: Param<Tensor<2>>,
    tokens: Tokens,
    rows: Tensor<3>,
}

impl ExampleGradient for EmbeddingGradient {
    fn squared_norms(&self) -> Tensor<2> {
        let rows: Tensor<2> = self.rows.clone().flatten(1, 2);
        rows.square().sum_dim(1)
    }

    fn sum(self: Box<Self>, scale: &Tensor<2>, spoiled: &Tensor<2, Bool>) -> Vec<ParameterSum> {
        let Self { weights, tokens, rows } = *self;
        let (scale, spoiled) = (scale.clone().unsqueeze_dim(2), spoiled.clone().unsqueeze_dim(2));
        let rows = without(rows, spoiled) * scale;
        let ([vocabulary, width], device) = (weights.dims(), rows.device());
        let sum = kernels::sum_of_rows(&read(rows), &tokens.ids, [vocabulary, width]);
        vec![ParameterSum::of(&weights, tensor(sum, &[vocabulary, width], &device))]
    }
}
