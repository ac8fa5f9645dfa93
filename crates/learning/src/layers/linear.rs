//! Fully connected layer.

use burn::nn::Linear;
use burn::tensor::{Bool, Gradients, Tensor};
use fedra_protocol::layers as spec;

use super::activation::{Activation, at_each_rank};
use super::example_gradient::{ExampleGradient, GRADIENT, Tap, WholeGradient, probed, without};
use super::parameters::{ParameterSum, Parameters, TrainedTensor, trained_pair};
use super::{LayerModule, Mode};

impl LayerModule for Linear {
    type Spec = spec::Linear;

    const EXAMPLE_GRADIENT: bool = true;

    fn build(_spec: &spec::Linear, parameters: &mut Parameters<'_>) -> Self {
        Self { weight: parameters.next(), bias: Some(parameters.next()) }
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        at_each_rank!(input, x => self.forward(x))
    }

    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        trained_pair(&self.weight, &self.bias)
    }

    fn tap(&self, input: Activation, _mode: &mut Mode<'_>) -> (Activation, Option<Box<dyn Tap>>) {
        let layer = self.clone();
        if let Activation::Sequence(input) = input {
            let (output, probe) = probed(self.forward(input.clone()));
            let tap = SequenceTap { layer, input: input.inner(), probe };
            return (Activation::Sequence(output), Some(Box::new(tap)));
        }
        let input = input.flatten();
        let (output, probe) = probed(self.forward(input.clone()));
        let tap = LinearTap { layer, input: input.inner(), probe };
        (Activation::Features(output), Some(Box::new(tap)))
    }
}

/// `input: [batch, inputs]`, and the probe at the output.
struct LinearTap {
    layer: Linear,
    input: Tensor<2>,
    probe: Tensor<2>,
}

impl Tap for LinearTap {
    fn gradient(self: Box<Self>, gradients: &Gradients) -> Box<dyn ExampleGradient> {
        let output = self.probe.grad(gradients).expect(GRADIENT);
        Box::new(LinearGradient { layer: self.layer, input: self.input, output })
    }
}

/// `input: [batch, positions, inputs]`, and the probe at the output.
struct SequenceTap {
    layer: Linear,
    input: Tensor<3>,
    probe: Tensor<3>,
}

impl Tap for SequenceTap {
    fn gradient(self: Box<Self>, gradients: &Gradients) -> Box<dyn ExampleGradient> {
        let output = self.probe.grad(gradients).expect(GRADIENT);
        let weight = self.input.swap_dims(1, 2).matmul(output.clone());
        let Linear { weight: weights, bias: biases } = self.layer;
        Box::new(WholeGradient { weights, biases, weight, bias: output.sum_dim(1) })
    }
}

/// The gradient of the weights is the outer product of `input` and `output`.
struct LinearGradient {
    layer: Linear,
    input: Tensor<2>,
    output: Tensor<2>,
}

impl ExampleGradient for LinearGradient {
    fn squared_norms(&self) -> Tensor<2> {
        // |x g^T|^2 = |x|^2 |g|^2, and the bias adds |g|^2.
        let inputs = self.input.clone().square().sum_dim(1).add_scalar(1.0);
        inputs * self.output.clone().square().sum_dim(1)
    }

    fn sum(self: Box<Self>, scale: &Tensor<2>, spoiled: &Tensor<2, Bool>) -> Vec<ParameterSum> {
        let Self { layer, input, output } = *self;
        let outputs = output.dims()[1];
        let output = without(output, spoiled.clone()) * scale.clone();
        let weight = without(input, spoiled.clone()).transpose().matmul(output.clone());
        let bias = output.sum_dim(0).reshape([outputs]);
        let mut sums = vec![ParameterSum::of(&layer.weight, weight)];
        sums.extend(layer.bias.as_ref().map(|param| ParameterSum::of(param, bias)));
        sums
    }
}
