//! Fully connected layer.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Bool, Gradients, Tensor};
use fedra_kernels::Activation as Function;
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::example_gradient::{ExampleGradient, GRADIENT, Tap, WholeGradient, probed, without};
use super::parameters::{ParameterSum, Parameters, TrainedTensor};
use super::{LayerModule, Mode};
use crate::kernels;

/// A fully connected layer.
#[derive(Module, Debug)]
pub(crate) struct Linear {
    /// `[inputs, outputs]`.
    pub weight: Param<Tensor<2>>,
    pub bias: Param<Tensor<1>>,
}

impl Linear {
    /// The layer with the next two tensors.
    pub fn next(parameters: &mut Parameters<'_>) -> Self {
        Self { weight: parameters.next(), bias: parameters.next() }
    }
}

impl LayerModule for Linear {
    type Spec = spec::Linear;

    const EXAMPLE_GRADIENT: bool = true;

    fn build(_spec: &spec::Linear, parameters: &mut Parameters<'_>) -> Self {
        Self::next(parameters)
    }

    fn apply(&self, input: Activation, mode: &mut Mode<'_>) -> Activation {
        connected(self, input, Function::Identity, mode)
    }

    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        vec![&self.weight, &self.bias]
    }

    fn tap(&self, input: Activation, mode: &mut Mode<'_>) -> (Activation, Option<Box<dyn Tap>>) {
        let layer = self.clone();
        if let Activation::Sequence(input) = input {
            let output =
                connected(self, Activation::Sequence(input.clone()), Function::Identity, mode);
            let (output, probe) = probed(output.sequence());
            let tap = SequenceTap { layer, input: input.inner(), probe };
            return (Activation::Sequence(output), Some(Box::new(tap)));
        }
        let input = input.flatten();
        let output = connected(self, Activation::Features(input.clone()), Function::Identity, mode);
        let (output, probe) = probed(output.flatten());
        let tap = LinearTap { layer, input: input.inner(), probe };
        (Activation::Features(output), Some(Box::new(tap)))
    }
}

/// Gradient of a linear layer's weights as the two factors of a product.
pub(crate) struct Factors {
    weight: ParamId,
    /// `[batch, inputs]`.
    input: Tensor<2>,
    /// `[batch, outputs]`.
    probe: Tensor<2>,
}

impl Factors {
    /// The weights, and the factors: the input, and the gradient of the sums.
    pub fn gradient(self, gradients: &Gradients) -> (ParamId, [Tensor<2>; 2]) {
        let sums = self.probe.grad(gradients).expect(GRADIENT);
        (self.weight, [self.input, sums])
    }
}

/// Output of the layer with the function after it, for each position of a sequence.
pub(crate) fn connected(
    layer: &Linear,
    input: Activation,
    function: Function,
    mode: &mut Mode<'_>,
) -> Activation {
    let mut row = |x: Tensor<2>| {
        let (weight, bias) = (layer.weight.val(), layer.bias.val());
        let probe = match mode {
            // A frozen layer has no gradient of its weights.
            Mode::Factored(_, factors) if weight.is_require_grad() => {
                // One value in memory, because none of them matters.
                let dims = [x.dims()[0], weight.dims()[1]];
                let probe = Tensor::<2>::zeros([1, 1], &x.device()).expand(dims).require_grad();
                let input = x.clone().inner();
                factors.push(Factors { weight: layer.weight.id, input, probe: probe.clone() });
                Some(probe)
            }
            Mode::Inference | Mode::Training(_) | Mode::Factored(..) => None,
        };
        kernels::linear(function, x, weight, bias, probe)
    };
    match input {
        Activation::Sequence(x) => {
            let [batch, positions, _] = x.dims();
            let y = row(x.flatten(0, 1));
            let width = y.dims()[1];
            Activation::Sequence(y.reshape([batch, positions, width]))
        }
        input => Activation::Features(row(input.flatten())),
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
        let weight = kernels::matmul(self.input.swap_dims(1, 2), output.clone());
        let Linear { weight: weights, bias } = self.layer;
        Box::new(WholeGradient { weights, biases: bias, weight, bias: output.sum_dim(1) })
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
        let input = without(input, spoiled.clone()).transpose();
        let weight = kernels::matmul(input, output.clone());
        let bias = output.sum_dim(0).reshape([outputs]);
        vec![ParameterSum::of(&layer.weight, weight), ParameterSum::of(&layer.bias, bias)]
    }
}
