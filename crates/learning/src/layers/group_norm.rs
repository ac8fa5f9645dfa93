//! Group normalisation.

use burn::module::{Module, Param};
use burn::tensor::{Gradients, Tensor};
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::example_gradient::{ExampleGradient, GRADIENT, Tap, WholeGradient, probed};
use super::parameters::{Parameters, TrainedTensor};
use super::standardize::standardized;
use super::{LayerModule, Mode};

#[derive(Module, Debug)]
pub(crate) struct GroupNorm {
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
    groups: usize,
    epsilon: f32,
}

impl LayerModule for GroupNorm {
    type Spec = spec::GroupNorm;

    const EXAMPLE_GRADIENT: bool = true;

    fn build(spec: &spec::GroupNorm, parameters: &mut Parameters<'_>) -> Self {
        Self {
            gamma: parameters.next(),
            beta: parameters.next(),
            groups: spec.groups as usize,
            epsilon: spec.epsilon,
        }
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        let (is_image, x) = (matches!(input, Activation::Image(_)), input.planes());
        let dims = x.dims();
        let output = self.scaled(self.normalised(x)).reshape(dims);
        if is_image { Activation::Image(output) } else { Activation::positions_of(output) }
    }

    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        vec![&self.gamma, &self.beta]
    }

    fn tap(&self, input: Activation, _mode: &mut Mode<'_>) -> (Activation, Option<Box<dyn Tap>>) {
        let (is_image, x) = (matches!(input, Activation::Image(_)), input.planes());
        let dims = x.dims();
        let normalised = self.normalised(x);
        let (output, probe) = probed(self.scaled(normalised.clone()));
        let tap = GroupNormTap { layer: self.clone(), normalised: normalised.inner(), probe };
        let output = output.reshape(dims);
        let output =
            if is_image { Activation::Image(output) } else { Activation::positions_of(output) };
        (output, Some(Box::new(tap)))
    }
}

impl GroupNorm {
    /// `[batch, channels, pixels]` before scale and shift.
    fn normalised(&self, x: Tensor<4>) -> Tensor<3> {
        let [batch, channels, height, width] = x.dims();
        let (pixels, groups) = (height * width, self.groups);
        let grouped = x.reshape([batch, groups, channels / groups * pixels]);
        standardized(grouped, 2, self.epsilon).reshape([batch, channels, pixels])
    }

    fn scaled(&self, normalised: Tensor<3>) -> Tensor<3> {
        let channels = normalised.dims()[1];
        let [gamma, beta] = [&self.gamma, &self.beta].map(|x| x.val().reshape([1, channels, 1]));
        normalised * gamma + beta
    }
}

/// Values to scale and shift, and the probe at the output, both `[batch, channels, pixels]`.
struct GroupNormTap {
    layer: GroupNorm,
    normalised: Tensor<3>,
    probe: Tensor<3>,
}

impl Tap for GroupNormTap {
    fn gradient(self: Box<Self>, gradients: &Gradients) -> Box<dyn ExampleGradient> {
        let output = self.probe.grad(gradients).expect(GRADIENT);
        let weight = (self.normalised * output.clone()).sum_dim(2);
        let GroupNorm { gamma: weights, beta: biases, .. } = self.layer;
        Box::new(WholeGradient { weights, biases, weight, bias: output.sum_dim(2) })
    }
}
