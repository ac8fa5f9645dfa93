//! Embedding of positions.

use burn::module::{Module, Param};
use burn::tensor::{Bool, Gradients, Tensor};
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::example_gradient::{ExampleGradient, GRADIENT, Tap, probed, without};
use super::parameters::{ParameterSum, Parameters, TrainedTensor};
use super::{LayerModule, Mode};

/// A vector for each position.
#[derive(Module, Debug)]
pub(crate) struct PositionEmbedding {
    /// `[positions, width]`.
    weight: Param<Tensor<2>>,
}

impl LayerModule for PositionEmbedding {
    type Spec = spec::PositionEmbedding;

    const EXAMPLE_GRADIENT: bool = true;

    fn build(_spec: &spec::PositionEmbedding, parameters: &mut Parameters<'_>) -> Self {
        Self { weight: parameters.next() }
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        Activation::Sequence(input.sequence() + self.weight.val().unsqueeze())
    }

    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        vec![&self.weight]
    }

    fn tap(&self, input: Activation, mode: &mut Mode<'_>) -> (Activation, Option<Box<dyn Tap>>) {
        let (output, probe) = probed(self.apply(input, mode).sequence());
        let tap = PositionTap { weights: self.weight.clone(), probe };
        (Activation::Sequence(output), Some(Box::new(tap)))
    }
}

/// The probe at the output, `[batch, positions, width]`.
struct PositionTap {
    weights: Param<Tensor<2>>,
    probe: Tensor<3>,
}

impl Tap for PositionTap {
    fn gradient(self: Box<Self>, gradients: &Gradients) -> Box<dyn ExampleGradient> {
        let rows = self.probe.grad(gradients).expect(GRADIENT);
        Box::new(PositionGradient { weights: self.weights, rows })
    }
}

/// The gradient of an example is that of its output: `rows: [batch, positions, width]`.
struct PositionGradient {
    weights: Param<Tensor<2>>,
    rows: Tensor<3>,
}

impl ExampleGradient for PositionGradient {
    fn squared_norms(&self) -> Tensor<2> {
        let rows: Tensor<2> = self.rows.clone().flatten(1, 2);
        rows.square().sum_dim(1)
    }

    fn sum(self: Box<Self>, scale: &Tensor<2>, spoiled: &Tensor<2, Bool>) -> Vec<ParameterSum> {
        let Self { weights, rows } = *self;
        let (scale, spoiled) = (scale.clone().unsqueeze_dim(2), spoiled.clone().unsqueeze_dim(2));
        let sum = (without(rows, spoiled) * scale).sum_dim(0).reshape(weights.dims());
        vec![ParameterSum::of(&weights, sum)]
    }
}
