//! Embedding of token ids.

use burn::module::Param;
use burn::nn::Embedding;
use burn::tensor::{Bool, Gradients, IndexingUpdateOp, Int, Tensor};
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::example_gradient::{ExampleGradient, GRADIENT, Tap, probed, without};
use super::parameters::{ParameterSum, Parameters, TrainedTensor};
use super::{LayerModule, Mode};

impl LayerModule for Embedding {
    type Spec = spec::Embedding;

    const EXAMPLE_GRADIENT: bool = true;

    fn build(_spec: &spec::Embedding, parameters: &mut Parameters<'_>) -> Self {
        Self { weight: parameters.next() }
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        Activation::Sequence(self.forward(input.tokens()))
    }

    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        vec![&self.weight]
    }

    fn tap(&self, input: Activation, _mode: &mut Mode<'_>) -> (Activation, Option<Box<dyn Tap>>) {
        let tokens = input.tokens();
        let (output, probe) = probed(self.forward(tokens.clone()));
        let tap = EmbeddingTap { weights: self.weight.clone(), tokens: tokens.inner(), probe };
        (Activation::Sequence(output), Some(Box::new(tap)))
    }
}

/// `tokens: [batch, positions]`, and the probe at the output.
struct EmbeddingTap {
    weights: Param<Tensor<2>>,
    tokens: Tensor<2, Int>,
    probe: Tensor<3>,
}

impl Tap for EmbeddingTap {
    /// The gradient of a row of the table is the sum over the positions of its token. It
    /// stands at the first of them, zeros at the others: what is measured is what is added.
    fn gradient(self: Box<Self>, gradients: &Gradients) -> Box<dyn ExampleGradient> {
        let output = self.probe.grad(gradients).expect(GRADIENT);
        let [batch, positions, width] = output.dims();
        let pairs = [batch, positions, positions];
        let tokens = self.tokens;
        let own = tokens.clone().unsqueeze_dim::<3>(2).expand(pairs);
        let same = own.equal(tokens.clone().unsqueeze_dim::<3>(1).expand(pairs)).float();
        // False where the second position comes before the first.
        let later = Tensor::<2, Bool>::tril_mask([positions; 2], -1, &output.device());
        let later = later.unsqueeze_dim::<3>(0).expand(pairs);
        let repeated = same.clone().mask_fill(later, 0.0).sum_dim(2).greater_elem(0.5);
        let rows = same.matmul(output).mask_fill(repeated.expand([batch, positions, width]), 0.0);
        Box::new(EmbeddingGradient { weights: self.weights, tokens, rows })
    }
}

/// `rows: [batch, positions, width]`, each the gradient of the table's row that `tokens`
/// names.
struct EmbeddingGradient {
    weights: Param<Tensor<2>>,
    tokens: Tensor<2, Int>,
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
        let rows: Tensor<2> = (without(rows, spoiled) * scale).flatten(0, 1);
        let table = Tensor::zeros(weights.dims(), &rows.device());
        let sum = table.select_assign(0, tokens.flatten(0, 1), rows, IndexingUpdateOp::Add);
        vec![ParameterSum::of(&weights, sum)]
    }
}
